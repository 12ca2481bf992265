"""The files of one format, each of which is the log of one agent."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bench.formats.building import LogBuilder
from bench.formats.files import Member, heads, members

Fits = Callable[[bytes], bool]
_IN_ARCHIVE = re.compile(r"^.*\.(?:tar(?:\.\w+)?|tgz):")


@dataclass(frozen=True)
class AgentFiles:
    """How a reader finds its files.

    Attributes:
        fits: whether the first bytes of a file are those of such a log.
    """

    fits: Fits

    def sniff(self, path: Path) -> bool:
        """Whether a file, folder or archive holds such logs."""
        return any(self.fits(head) for _, head in heads(path))

    def read(self, path: Path, builder: LogBuilder) -> Iterator[tuple[Member, str]]:
        """The files that fit, each with the name of its agent; the others are noted as passed over."""
        loggers = loggers_by_file([name for name, head in heads(path) if self.fits(head)])
        for member in members(path):
            if member.name in loggers:
                yield member, loggers[member.name]
            else:
                builder.pass_over(member.name)


def json_with(first: bytes, *keys: bytes) -> Fits:
    """Whether a file begins with this character, white space apart, and soon holds all of these keys."""
    return lambda head: head.lstrip()[:1] == first and all(b'"%b"' % key in head for key in keys)


def loggers_by_file(names: list[str]) -> dict[str, str]:
    """A name of the agent behind each file: the path below what all of them share, without its suffix."""
    paths = {name: PurePosixPath(Path(_IN_ARCHIVE.sub("", name.removesuffix(".gz"))).as_posix()) for name in names}
    folders = [path.parent.parts for path in paths.values()]
    shared = 0
    while folders and all(len(f) > shared and f[shared] == folders[0][shared] for f in folders):
        shared += 1
    return {name: str(PurePosixPath(*path.parts[shared:]).with_suffix("")) for name, path in paths.items()}
