"""Log formats as they lie on disk. Parsers only: they know no task by name."""
