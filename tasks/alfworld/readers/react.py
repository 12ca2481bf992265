"""Console output of ReAct's ALFWorld notebook, as ESALA's slurm-*.out: game, room, `Act k:`, `Obs k:`, a tally line.

    pick_and_place_simple-Mug-None-Desk-308/trial_T20190908_000000_000000
    <room>
    Your task is to: put a mug in desk.
    Act 1: think: First I need to find a mug.
    Obs 1: OK.
    Act 2: go to desk 1
    Obs 2: On the desk 1, you see a mug 1.
    2 r 0 rs [0, 0] cnts [1, 0] sum(rs)/sum(cnts) 0.0

The tally is the only place that records the outcome. Dumps of what the model wrote, which repeat the prompt with its
examples, and what other programs printed between the lines are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from bench.errors import DataError
from bench.formats.files import heads, members
from bench.formats.json_text import decoded
from bench.formats.log import Import
from bench.formats.loggers import loggers_by_file
from tasks.alfworld.logged import CUT_OFF, GAME, EpisodeLog
from tasks.alfworld.transcripts import Transcript, has_task, opening_of, turns_of

_GAME_LINE = re.compile(rf"^{GAME.pattern}[ \t]*\r?$", re.M)
_GAME_BYTES = re.compile(_GAME_LINE.pattern.encode(), re.M)
_ACT_BYTES = re.compile(rb"^Act \d+:", re.M)
_MODEL = re.compile(r"^Model name: *(\S+)[ \t]*\r?$", re.M)
_DUMP = re.compile(r"^-+ ?(\w+ LLM output) start-+$.*?(?:^-+ ?\1 end-+$|\Z)", re.M | re.S)
_SAID = re.compile(r"^(Act|Obs) (\d+):[ \t]?(.*)$")
_TALLY = re.compile(r"^\d+ r (\S+) rs \[.*\] cnts \[.*\] sum\(rs\)/sum\(cnts\) \S+\s*$")
_OUTCOMES = {"True": 1.0, "1": 1.0, "False": 0.0, "0": 0.0}


def fits(head: bytes) -> bool:
    """Whether the first bytes of a file are those of such a log."""
    return _GAME_BYTES.search(head) is not None and _ACT_BYTES.search(head) is not None


def sniff(path: Path) -> bool:
    """Whether `path` holds such logs."""
    return any(fits(head) for _, head in heads(path))


def read(path: Path) -> Import:
    """Reads them; each file is an agent, named by its model (where the file says) and its own name.

    Raises:
        DataError: naming file and line.
    """
    log = EpisodeLog("ReAct console output", "thoughts are steps of their own: the environment answers them with OK.")
    loggers = loggers_by_file([name for name, head in heads(path) if fits(head)])
    noise = 0
    for member in members(path):
        if member.name not in loggers:
            log.builder.pass_over(member.name)
            continue
        text = decoded(member)
        model = _MODEL.search(text)
        logger = f"{model[1]} {Path(loggers[member.name]).name}" if model else loggers[member.name]
        for game, line, block in _games(text):
            noise += _add(log, logger, game, block, member.name, line)
    if noise:
        log.builder.notes.append(f"{noise} lines that other programs printed between the steps were left out")
    return log.log()


def _games(text: str) -> Iterator[tuple[str, int, str]]:
    """Name, line and text of every game; dumps are blanked, their line breaks kept so that lines can be counted."""
    text = _DUMP.sub(lambda dump: "\n" * dump[0].count("\n"), text)
    marks = list(_GAME_LINE.finditer(text))
    for mark, following in zip(marks, [*marks[1:], None], strict=False):
        line = text.count("\n", 0, mark.start()) + 1
        yield mark[1], line, text[mark.end() : following.start() if following else None]


def _add(log: EpisodeLog, logger: str, game: str, block: str, file: str, line: int) -> int:
    """Adds or drops the episode of a game; returns how many lines were of other programs."""
    events: list[tuple[bool, str]] = []
    shown: list[str] = []
    noise, expected, outcome = 0, None, None
    for number, text in enumerate(block.split("\n"), line):
        said, tally = _SAID.match(text), _TALLY.match(text)
        if said:
            step = int(said[2])
            if expected is None and step > 1 or expected is not None and step not in (expected, expected + 1):
                raise DataError(f"{file}, line {number}: step {step} follows step {expected}; lines are missing.")
            expected = step
            events.append((said[1] == "Act", said[3].strip()))
        elif tally:
            if tally[1] not in _OUTCOMES:
                raise DataError(f"{file}, line {number}: outcome {tally[1]!r} is neither True, False, 1 nor 0.")
            outcome = _OUTCOMES[tally[1]]
            break
        elif events:
            noise += bool(text.strip())
        else:
            shown.append(text.rstrip())
    opening = "\n".join(shown)
    if not has_task(opening):
        raise DataError(f"{file}, line {line}: game {game} states no task.")
    if outcome is None:
        log.builder.drop(CUT_OFF)
    else:
        log.add(Transcript(*opening_of(opening), tuple(turns_of(events))), logger, game, outcome)
    return noise
