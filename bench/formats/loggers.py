"""Who wrote a log, where only the path of its file says so."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

_IN_ARCHIVE = re.compile(r"^.*\.(?:tar(?:\.\w+)?|tgz):")


def loggers_by_file(names: Sequence[str]) -> dict[str, str]:
    """A name of the agent behind each file: the path below what all of them share, without its suffix.

    Args:
        names: of files, as `bench.formats.files.members` gives them.
    """
    paths = {name: PurePosixPath(Path(_IN_ARCHIVE.sub("", name.removesuffix(".gz"))).as_posix()) for name in names}
    folders = [path.parent.parts for path in paths.values()]
    shared = 0
    while folders and all(len(f) > shared and f[shared] == folders[0][shared] for f in folders):
        shared += 1
    return {name: str(PurePosixPath(*path.parts[shared:]).with_suffix("")) for name, path in paths.items()}
