"""AgentBoard's console log as AgentSquare runs keep it: wandb/<run>/files/output.log, loguru text, one run per file.

    <time> | GOAL | tasks.scienceworld | Example 0 | Goal: task_name: boil, var: 3, <goal>
    <time> | INFO | tasks.scienceworld | Step 00 - Observation: <text of one or more lines>
    <time> | INFO | tasks.scienceworld | Step 01 - Action: <text>
    <time> | INFO | tasks.scienceworld | Step 01 - Observation: <text>
    <time> | INFO | tasks.scienceworld | Step 01 - Progress Rate: 0.0
    <time> | FINISH | tasks.scienceworld | Example 0 | Success: False , Progress Rate: 0.0 , Steps: 2

AgentSquare counts its steps from 1 and reports one more than it took; lengths here are the steps that were logged.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from bench.data import Step, Trajectory
from bench.errors import DataError
from bench.formats.building import LogBuilder
from bench.formats.files import Member, heads, members
from bench.formats.json_text import decoded
from bench.formats.log import Extras, Import

SKIPPED = "crashed: the run says that it failed and was skipped (an error of the harness, not a failure of the agent)"
NO_STEP = "crashed before its first step"
FAILED_CALL = "crashed: its last action was never executed"
NO_OUTCOME = "no outcome: the log ends, or goes on with another episode, before its FINISH line"
_NOTES = (
    "rewards are changes of AgentBoard's progress rate (its own sub-goal score); returns equal the final progress rate",
    "unfinished episodes were ended by the agent's plan or the harness, not by the environment: marked truncated",
)
_MARK = re.compile(rb"\| GOAL +\| tasks\.scienceworld +\| ")
_HEADER = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? \| (\w+) +\| (\S+) +\| (.*)")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_NOISE = re.compile(r"completion_tokens:\d+, prompt_tokens:\d+, price=\S*")
_SKIPPED = re.compile(r"Task \S+ \(index: (\d+)\) failed, skipping to the next task\.")
_GOAL = re.compile(r"Example (\d+) \| Goal: task_name: (.+?), var: (\d+), (.*)", re.S)
_STEP = re.compile(r"Step \d+ - (Action|Observation|Progress Rate): ?(.*)", re.S)
_FINISH = re.compile(r"Example (\d+) \| Success: (True|False) , Progress Rate: (\S+) , Steps: (\d+)")


@dataclass
class _Message:
    """One record of the log: everything up to the next time stamp."""

    where: str
    level: str
    text: str


@dataclass
class _Episode:
    """An episode as far as the log has told it; `None` stands for a line that is not there."""

    example: int
    task: str
    variation: int
    goal: str
    first: str | None = None
    actions: list[str] = field(default_factory=list)
    observations: list[str | None] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    @property
    def waiting(self) -> bool:
        """An action has been written and its progress rate has not."""
        return len(self.actions) > len(self.rates)

    def take(self, kind: str, text: str, where: str) -> None:
        """Enters a Step line."""
        if kind == "Action":
            if self.waiting:
                raise DataError(
                    f"{where}: a second action before the progress rate of the first; this variant is not supported."
                )
            self.actions.append(text)
            self.observations.append(None)
        elif kind == "Observation" and self.actions:
            self.observations[-1] = text
        elif kind == "Observation":
            self.first = text
        elif self.waiting:
            self.rates.append(_rate(text, where))
        else:
            raise DataError(f"{where}: a progress rate without an action before it.")


def sniff(path: Path) -> bool:
    """Whether `path` holds such logs."""
    return any(_MARK.search(head) for _, head in heads(path))


def read(path: Path) -> Import:
    """Reads them; the run's name is the logger's.

    Raises:
        DataError: naming file and line.
    """
    builder = LogBuilder("AgentBoard console log (scienceworld)", *_NOTES)
    lost = 0
    for member in members(path):
        if _MARK.search(member.content):
            lost += _read_run(builder, member)
        else:
            builder.pass_over(member.name)
    if lost:
        builder.notes.append(f"{lost} observations are missing in the log; they read as empty text here")
    return builder.log()


def _read_run(builder: LogBuilder, member: Member) -> int:
    """Adds the episodes of one file; returns how many of their observations the log lacks."""
    text = _ANSI.sub("", decoded(member))
    skipped = {int(number) for number in _SKIPPED.findall(text)}
    logger, current, lost = _logger(member), None, 0
    for message in _messages(member.name, text):
        if message.level == "GOAL":
            if current is not None:
                builder.drop(NO_OUTCOME)
            example, task, variation, goal = _parsed(_GOAL, message)
            current = _Episode(int(example), task, int(variation), goal)
        elif current is None:
            raise DataError(f"{message.where}: a {message.level} line outside of any episode (no GOAL line before it).")
        elif message.level == "FINISH":
            lost += _finish(builder, current, message, logger, skipped)
            current = None
        elif step := _STEP.match(message.text):
            current.take(step[1], step[2], message.where)
    if current is not None:
        builder.drop(NO_OUTCOME)
    return lost


def _messages(name: str, text: str) -> Iterator[_Message]:
    """The records of the environment, their continuation lines joined; other loggers and token counts left out."""
    message: _Message | None = None
    for number, line in enumerate(text.split("\n"), 1):
        header = _HEADER.match(line)
        if header:
            if message is not None:
                yield message
            mine = header[2] == "tasks.scienceworld"
            message = _Message(f"{name}, line {number}", header[1], header[3]) if mine else None
        elif message is not None and not _NOISE.match(line) and not _SKIPPED.match(line):
            message.text += "\n" + line
    if message is not None:
        yield message


def _finish(builder: LogBuilder, episode: _Episode, message: _Message, logger: str, skipped: set[int]) -> int:
    """Adds or drops a finished episode; returns how many of its observations the log lacks."""
    example, success, rate, counted = _parsed(_FINISH, message)
    if int(example) != episode.example:
        raise DataError(f"{message.where}: ends example {example}, but example {episode.example} is running.")
    if episode.example in skipped or not episode.actions or episode.waiting:
        builder.drop(SKIPPED if episode.example in skipped else FAILED_CALL if episode.actions else NO_STEP)
        return 0
    if _rate(rate, message.where) != episode.rates[-1]:
        raise DataError(f"{message.where}: progress rate {rate} differs from {episode.rates[-1]} at the last step.")
    seen = [episode.first, *episode.observations]
    texts = [(text or "").rstrip() for text in seen]
    rates = [0.0, *episode.rates]
    steps = tuple(Step(texts[t], a.rstrip(), rates[t + 1] - rates[t]) for t, a in enumerate(episode.actions))
    trajectory = Trajectory(
        id=f"{logger}/{episode.example}",
        instance=f"{episode.task}/{episode.variation}",
        goal=episode.goal.rstrip(),
        steps=steps,
        final_observation=texts[-1],
        terminated=success == "True",
        truncated=success != "True",
        logger=logger,
    )
    metadata = {"success": success == "True", "example": episode.example, "reported_steps": int(counted)}
    builder.add(trajectory, Extras((), (), metadata))
    return seen.count(None)


def _parsed(pattern: re.Pattern[str], message: _Message) -> tuple[str, ...]:
    match = pattern.match(message.text)
    if match is None:
        raise DataError(f"{message.where}: cannot read this {message.level} line: {message.text[:80]!r}.")
    return match.groups()


def _rate(text: str, where: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 <= rate <= 1:
        raise DataError(f"{where}: progress rate {text.strip()[:40]!r} is not a number between 0 and 1.")
    return rate


def _logger(member: Member) -> str:
    """`<run>/files/output.log` or `<run>/output.log`; the file's own name where somebody renamed it."""
    file = PurePosixPath(Path(member.name.removesuffix(".gz")).as_posix())
    if file.stem != "output":
        return file.stem
    return (file.parent.parent if file.parent.name == "files" else file.parent).name or file.stem
