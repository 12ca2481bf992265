"""KnowAgent JSON lines: {name, result, traj}, the trajectory as ReAct text with thoughts and action paths.

Thoughts and action paths are not answered, so they belong to the command after them. `result` is true or false, or the
number 0 where an exception of the harness ended the episode.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from bench.errors import DataError
from bench.formats.files import heads, members
from bench.formats.json_text import checked, documents
from bench.formats.log import Import
from bench.formats.loggers import loggers_by_file
from tasks.alfworld.logged import EpisodeLog
from tasks.alfworld.transcripts import ROOM, has_task, parse_prompt

_KEYS = (b'"name"', b'"result"', b'"traj"', ROOM.encode())


class _Row(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str
    result: bool | int
    traj: str


def fits(head: bytes) -> bool:
    """Whether the first bytes of a file are those of such a log."""
    return head.lstrip()[:1] == b"{" and all(key in head for key in _KEYS)


def sniff(path: Path) -> bool:
    """Whether `path` holds such logs."""
    return any(fits(head) for _, head in heads(path))


def read(path: Path) -> Import:
    """Reads them; each file is an agent.

    Raises:
        DataError: naming file and line.
    """
    log = EpisodeLog("KnowAgent JSON lines")
    loggers = loggers_by_file([name for name, head in heads(path) if fits(head)])
    stopped = 0
    for member in members(path):
        if member.name not in loggers:
            log.builder.pass_over(member.name)
            continue
        for where, value in documents(member):
            row = checked(_Row, value, where)
            if row.result not in (0, 1):
                raise DataError(f"{where}: result {row.result} is neither true nor false.")
            if not has_task(row.traj):
                raise DataError(f"{where}: traj states no task.")
            stopped += not isinstance(row.result, bool)
            kind = "exception" if not isinstance(row.result, bool) else "success" if row.result else "step limit"
            log.add(parse_prompt(row.traj), loggers[member.name], row.name, float(row.result), {"ended_by": kind})
    if stopped:
        log.builder.notes.append(
            f"{stopped} episodes have result 0 instead of false: an exception stopped them (their last words are cut, "
            "as by a full context window); kept as truncated, metadata.ended_by tells them apart"
        )
    return log.log()
