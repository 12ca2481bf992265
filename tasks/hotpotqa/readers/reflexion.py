"""Reflexion's trial text: `BEGIN TRIAL k`, then sections of correct, incorrect and halted agents, one episode each.

The outcome is the section, the only place that records it. Later trials begin with reflections on the failures before
them: each trial is an agent of its own, and only questions that failed are tried again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.errors import DataError
from bench.formats.files import Member
from bench.formats.json_text import decoded
from bench.formats.log import Import
from tasks.hotpotqa.agent_files import AgentFiles
from tasks.hotpotqa.logged import AnswerLog
from tasks.hotpotqa.react_text import Transcript, parse_text

REPRINT = "reprint of an episode solved in an earlier trial (it was not played again)"
LISTED_TWICE = "listed twice in one trial (as incorrect and as halted)"
_MARK = re.compile(rb"^BEGIN TRIAL \d+\s*\nTrial summary: Correct: \d+", re.M)
_TRIAL = re.compile(r"^BEGIN TRIAL (\d+)[ \t]*$", re.M)
_SECTION = re.compile(r"^-+ BEGIN (CORRECT|INCORRECT|HALTED) AGENTS -+[ \t]*$", re.M)
_ANSWER = re.compile(r"^Correct answer:[ \t]*(.*)$", re.M)
FILES = AgentFiles(lambda head: _MARK.search(head) is not None)
sniff = FILES.sniff


@dataclass(frozen=True, slots=True)
class _Block:
    """One episode as printed, with its place."""

    trial: str
    section: str
    text: str
    answer: str
    where: str


def read(path: Path) -> Import:
    """Reads them; each trial of each file is an agent.

    Raises:
        DataError: naming file and line.
    """
    log = AnswerLog(
        "Reflexion trials",
        "em",
        "the outcome is the section: correct 1, incorrect and halted 0; halted episodes are truncated",
        "trials after the first hold only questions that failed before: no fair sample of the questions",
    )
    for member, logger in FILES.read(path, log.builder):
        _read_file(log, member, logger)
    return log.log()


def _read_file(log: AnswerLog, member: Member, name: str) -> None:
    solved: set[tuple[str, str]] = set()
    for trial, blocks in _trials(member):
        listed: set[str] = set()
        earlier = frozenset(solved)
        for block in blocks:
            episode = parse_text(block.text)
            identity = episode.question, block.text.strip()
            if block.section == "CORRECT":
                solved.add(identity)
            if identity in earlier:
                log.builder.drop(REPRINT)
            elif block.text in listed:
                log.builder.drop(LISTED_TWICE)
            else:
                listed.add(block.text)
                _add(log, episode, block, f"{name} trial {trial}")


def _add(log: AnswerLog, episode: Transcript, block: _Block, logger: str) -> None:
    right, halted = block.section == "CORRECT", block.section == "HALTED"
    log.add(episode, logger, float(right), block.answer, halted, {"success": right, "halted": halted})


def _trials(member: Member) -> Iterator[tuple[str, list[_Block]]]:
    text = decoded(member)
    marks = list(_TRIAL.finditer(text))
    for mark, following in zip(marks, [*marks[1:], None], strict=False):
        end = following.start() if following else len(text)
        yield mark[1], list(_blocks(member.name, text, mark[1], mark.end(), end))


def _blocks(name: str, text: str, trial: str, start: int, end: int) -> Iterator[_Block]:
    """The episodes of a trial; each ends with its line `Correct answer:`."""
    sections = list(_SECTION.finditer(text, start, end))
    if not sections:
        raise DataError(f"{name}, line {text.count(chr(10), 0, start) + 1}: trial {trial} has no section of agents.")
    for section, following in zip(sections, [*sections[1:], None], strict=False):
        at, stop = section.end(), following.start() if following else end
        for answer in _ANSWER.finditer(text, at, stop):
            where = f"{name}, line {text.count(chr(10), 0, at) + 2}"
            yield _Block(trial, section[1], text[at : answer.start()].strip("\n"), answer[1].strip(), where)
            at = answer.end()
        if text[at:stop].strip(" \n#"):
            line = text.count("\n", 0, at) + 2
            raise DataError(f"{name}, line {line}: an episode without its line 'Correct answer:'; the file is cut off.")
