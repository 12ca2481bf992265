"""The files of one format, each of which is the log of one agent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.formats.building import LogBuilder
from bench.formats.files import Member, heads, members
from bench.formats.loggers import loggers_by_file

Fits = Callable[[bytes], bool]


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
