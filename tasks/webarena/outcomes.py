"""Outcomes kept apart from episodes: a table of task ids and rewards or human labels, or WebArena's PASS / FAIL log.

Tables are CSV with a column `task_id` and one of `OUTCOME_COLUMNS`, or JSON: `{"21": 1.0}`, or a list of rows. Where
a table names agents, only the episodes of that agent take its rows. A table speaks for the folder it lies in and those
below; the nearest one that knows the task counts.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from bench.errors import DataError
from bench.formats.files import Member
from bench.formats.json_text import decoded, documents
from tasks.webarena.logged import place, task_key

OUTCOME_COLUMNS = ("reward", "score", "success", "passed", "trajectory_success", "label")
AGENT_COLUMNS = ("agent", "model_name", "model", "policy", "logger")
_WORDS = {"successful": 1.0, "unsuccessful": 0.0, "true": 1.0, "false": 0.0, "pass": 1.0, "fail": 0.0, "yes": 1.0}
_WORDS |= {"no": 0.0, "success": 1.0, "failure": 0.0}
_UNKNOWN = {"", "unsure", "none", "null", "nan", "unknown"}
_LINE = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[,.\d]*) - INFO - \[Result\] \((PASS|FAIL)\) (\S+)", re.M)
_IS_LOG = re.compile(rb"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[,.\d]* - INFO - \[(?:Config file|Result|Intent)\]", re.M)
_IS_MAP = re.compile(rb'^\s*\{\s*"(?:webarena\.)?\d+"\s*:\s*(?:true|false|null|-?[\d.]+)\s*[,}]')
_IS_ROWS = re.compile(rb'^\s*\[\s*\{[^{}\[\]]*"task_id"\s*:')


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row: a reward, None where the row says that it is not known."""

    task: str
    agent: str
    reward: float | None


@dataclass
class Outcomes:
    """The tables among the files of a log.

    Attributes:
        tables: by the folder each speaks for.
        repeated: rows that say something about a task and agent that an earlier row had already said.
    """

    tables: dict[PurePosixPath, dict[tuple[str, str], float | None]] = field(default_factory=dict)
    repeated: int = 0

    def add(self, member: Member) -> bool:
        """Takes a file if it is such a table; says whether it was.

        Raises:
            DataError: it is, and has a row that cannot be read; names file and line.
        """
        if not is_table(member.content):
            return False
        folder = place(member.name).parent
        table = self.tables.setdefault(folder.parent if folder.name == "log_files" else folder, {})
        is_log = _IS_LOG.search(member.content) is not None
        for row in rows(member):
            key = row.task, row.agent
            if key in table:
                self.repeated += 1
            if key not in table or is_log:  # the first label counts; of repeated runs, the last, whose pages remain
                table[key] = row.reward
        return True

    def reward(self, folder: PurePosixPath, task: str, agent: str) -> float | None:
        """The outcome of a task in a folder; None where no table knows it.

        Args:
            agent: name of the agent; a table that names agents must name this one, or the last part of it.
        """
        names = ("", agent, PurePosixPath(agent).name)
        for above in (folder, *folder.parents):
            table = self.tables.get(above, {})
            for name in names:
                if (task_key(task), name) in table:
                    return table[task_key(task), name]
        return None


def is_table(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a table of outcomes."""
    if _IS_LOG.search(head) or _IS_MAP.match(head) or _IS_ROWS.match(head):
        return not _IS_ROWS.match(head) or any(f'"{column}"'.encode() in head for column in OUTCOME_COLUMNS)
    columns = _columns(head.removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0])
    return "task_id" in columns and any(column in columns for column in OUTCOME_COLUMNS)


def _columns(line: bytes) -> list[str]:
    return [name.strip().strip('"') for name in line.decode("utf-8", "replace").split(",")]


def rows(member: Member) -> Iterator[Outcome]:
    """The rows of a table; those of other benchmarks are left out."""
    if _IS_LOG.search(member.content):
        found = sorted(_LINE.findall(decoded(member)))
        yield from (Outcome(task_key(PurePosixPath(file).stem), "", float(word == "PASS")) for _, word, file in found)
        return
    for where, row in _records(member):
        if str(row.get("benchmark") or "webarena") == "webarena":
            agent = next((str(row[c]) for c in AGENT_COLUMNS if row.get(c)), "")
            column = next((c for c in OUTCOME_COLUMNS if c in row), None)
            if column is None or row.get("task_id") in (None, ""):
                raise DataError(f"{where}: a row needs task_id and one of {', '.join(OUTCOME_COLUMNS)}.")
            yield Outcome(task_key(row["task_id"]), agent, _reward(row[column], f"{where}, {column}"))


def _records(member: Member) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if member.content.lstrip()[:1] in (b"{", b"["):
        for where, value in documents(member):
            items = [{"task_id": k, "reward": v} for k, v in value.items()] if isinstance(value, dict) else value
            for number, row in enumerate(items):
                if not isinstance(row, dict):
                    raise DataError(f"{where}, row {number}: {json.dumps(row)[:60]} is not an object.")
                yield f"{where}, row {number}", row
        return
    reader = csv.DictReader(io.StringIO(decoded(member), newline=""), skipinitialspace=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise DataError(f"{member.name}, line {reader.line_num}: not as many fields as the header names.")
            yield f"{member.name}, line {reader.line_num}", {k.strip(): v for k, v in row.items()}
    except csv.Error as error:
        raise DataError(f"{member.name}, line {reader.line_num}: {error}.") from error


def _reward(value: Any, where: str) -> float | None:
    """A reward in [0, 1], or a word for one; None where it is said to be unknown."""
    if value is None or str(value).strip().lower() in _UNKNOWN:
        return None
    text = str(value).strip().lower()
    try:
        reward = _WORDS[text] if text in _WORDS else float(text)
    except ValueError:
        reward = -1.0
    if not 0 <= reward <= 1:
        raise DataError(f"{where}: {value!r} is neither a number between 0 and 1 nor a label such as Successful.")
    return reward
