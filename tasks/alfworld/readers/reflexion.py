"""Reflexion's trial_<k>.log: blocks `Environment #n:`, a ReAct prompt with the episode, `STATUS: OK` or `STATUS: FAIL`.

Each file is a trial, and each trial an agent of its own: later ones begin with reflections on the failures before them,
and play only what failed before. What was solved in an earlier trial is only listed (`Environment #n: Success`).
"""

from __future__ import annotations

import re
from pathlib import Path

from bench.errors import DataError
from bench.formats.files import Member, heads, members
from bench.formats.json_text import decoded
from bench.formats.log import Import
from bench.formats.loggers import loggers_by_file
from tasks.alfworld.logged import CUT_OFF, EpisodeLog
from tasks.alfworld.transcripts import has_task, parse_prompt

CARRIED = "listed as solved in an earlier trial (it was not played again)"
_HEAD = re.compile(r"^#####\s*\n\s*\nEnvironment #(\d+):[ \t]*(Success)?[ \t]*$", re.M)
_HEAD_BYTES = re.compile(_HEAD.pattern.encode(), re.M)
_STATUS = re.compile(r"^STATUS: (\w+)[ \t]*$", re.M)


def fits(head: bytes) -> bool:
    """Whether the first bytes of a file are those of such a log."""
    return _HEAD_BYTES.search(head) is not None


def sniff(path: Path) -> bool:
    """Whether `path` holds such logs."""
    return any(fits(head) for _, head in heads(path))


def read(path: Path) -> Import:
    """Reads them; an instance is the environment's number with its task, the same in all trials of a run.

    Raises:
        DataError: naming file and line.
    """
    log = EpisodeLog(
        "Reflexion trials",
        "thoughts are steps of their own: the environment answers them with OK.",
        "trials after the first hold only environments that failed before: no fair sample of them",
    )
    loggers = loggers_by_file([name for name, head in heads(path) if fits(head)])
    for member in members(path):
        if member.name in loggers:
            _read_file(log, member, loggers[member.name])
        else:
            log.builder.pass_over(member.name)
    return log.log()


def _read_file(log: EpisodeLog, member: Member, logger: str) -> None:
    text = decoded(member).replace("\r\n", "\n")
    marks = list(_HEAD.finditer(text))
    for mark, following in zip(marks, [*marks[1:], None], strict=False):
        if mark[2]:
            log.builder.drop(CARRIED)
            continue
        block = text[mark.end() : following.start() if following else None]
        statuses = list(_STATUS.finditer(block))
        if not statuses:
            log.builder.drop(CUT_OFF)
            continue
        where = f"{member.name}, line {text.count(chr(10), 0, mark.end()) + 1}"
        said, played = statuses[-1][1], block[: statuses[-1].start()]
        if said not in ("OK", "FAIL"):
            raise DataError(f"{where}: environment {mark[1]} ends with STATUS {said!r}, neither OK nor FAIL.")
        if not has_task(played):
            raise DataError(f"{where}: environment {mark[1]} states no task.")
        episode = parse_prompt(played)
        log.add(episode, logger, f"environment-{mark[1]}: {episode.goal}", float(said == "OK"))
