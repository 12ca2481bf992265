"""Log formats as they lie on disk, and the account of what was read from them. Nothing here knows a task by name."""
