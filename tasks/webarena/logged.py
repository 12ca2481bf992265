"""Where a logged episode lies: its folder says the agent and the task; archives count as folders."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

NO_STEP = "crashed before its first step"
CRASHED = "crashed: the log says that an error ended it (an error of the harness, not a failure of the agent)"
NO_OUTCOME = "no outcome: neither the log nor a table beside it has one"
_ARCHIVE = re.compile(r"\.(?:tar(?:\.\w+)?|tgz):")
_TASK = re.compile(r"(?:webarena(?:_verified)?\.|task_)?(\d+)")


def place(name: str) -> PurePosixPath:
    """The path of a file as the readers name it; an archive stands for the folder it was packed from."""
    return PurePosixPath(Path(_ARCHIVE.sub("/", name, count=1)).as_posix())


def labels(folders: Iterable[PurePosixPath]) -> dict[PurePosixPath, str]:
    """Names for folders: the path below what all of them share, or the last part where nothing is left."""
    known = dict.fromkeys(folders)
    parts = [folder.parts for folder in known]
    shared = 0
    while parts and all(len(p) > shared and p[shared] == parts[0][shared] for p in parts):
        shared += 1
    return {f: str(PurePosixPath(*f.parts[shared:])) if len(f.parts) > shared else f.name or "unknown" for f in known}


def task_key(value: object) -> str:
    """A task id as tables and logs share it: `webarena.21`, `task_21`, 21 and "21" are the same task."""
    text = str(value).strip()
    found = _TASK.fullmatch(text)
    return str(int(found[1])) if found else text
