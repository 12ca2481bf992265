"""Questions with the paragraphs that answer them, in the official HotpotQA schema or as Hugging Face ships it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pyarrow.parquet as pq
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

from bench.errors import DataError
from bench.formats.files import atomic, members, readable, require
from bench.formats.json_text import checked, documents


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One page: its title and its sentences, as they follow each other (all but the first begin with a space)."""

    title: str
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """A question, its answer, and the pages it is asked over.

    Attributes:
        id: unique in its file; the name of the task instance.
        kind: bridge or comparison.
        level: easy, medium or hard.
        supporting: (title, index of the sentence) of the facts that answer it.
        paragraphs: gold pages and distractors, 10 as a rule.
    """

    id: str
    question: str
    answer: str
    kind: str
    level: str
    supporting: tuple[tuple[str, int], ...]
    paragraphs: tuple[Paragraph, ...]


def _pairs(columns: Any) -> Any:
    """Hugging Face stores lists of pairs as columns: {"title": [...], "sentences" or "sent_id": [...]}."""
    if isinstance(columns, dict) and "title" in columns:
        others = [columns[key] for key in ("sentences", "sent_id") if key in columns]
        if len(others) == 1 and len(others[0]) == len(columns["title"]):
            return list(zip(columns["title"], others[0], strict=True))
    return columns


class _Row(BaseModel):
    model_config = ConfigDict(strict=False)

    id: str = Field(validation_alias=AliasChoices("_id", "id"), min_length=1)
    question: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    type: str = ""
    level: str = ""
    supporting_facts: Annotated[list[tuple[str, int]], BeforeValidator(_pairs)] = []
    context: Annotated[list[tuple[str, list[str]]], BeforeValidator(_pairs), Field(min_length=1)]


def read_questions(path: Path | str) -> tuple[Question, ...]:
    """Reads a question file: a JSON list, JSON lines, or Parquet; official or Hugging Face schema.

    Raises:
        DataError: naming file and place: not such a file, a question without answer or paragraphs, an id that is there
            twice.
    """
    path = Path(path)
    require(path)
    found: dict[str, Question] = {}
    for where, value in _rows(path):
        row = checked(_Row, value, where)
        if row.id in found:
            raise DataError(f"{where}: question id {row.id!r} occurs twice; ids must be unique.")
        pages = tuple(Paragraph(title, tuple(sentences)) for title, sentences in row.context)
        facts = tuple(row.supporting_facts)
        found[row.id] = Question(row.id, row.question, row.answer, row.type, row.level, facts, pages)
    if not found:
        raise DataError(f"{path}: holds no question.")
    return tuple(found.values())


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Every question of a file, with its place."""
    if path.suffix == ".parquet":
        with readable(path):
            rows = _parquet(path)
        yield from ((f"{path}, row {number}", row) for number, row in enumerate(rows))
        return
    for member in members(path):
        for where, value in documents(member):
            if isinstance(value, list):
                yield from ((f"{where}, question {number}", row) for number, row in enumerate(value))
            else:
                yield where, value


def _parquet(path: Path) -> list[dict[str, Any]]:
    try:
        return pq.read_table(path).to_pylist()
    except ValueError as error:  # pyarrow's own errors derive from it
        raise DataError(f"{path}: not a Parquet file, or damaged ({error}).") from error


def official(question: Question) -> dict[str, Any]:
    """A question as a JSON object of the official files."""
    return {
        "_id": question.id,
        "question": question.question,
        "answer": question.answer,
        "type": question.kind,
        "level": question.level,
        "supporting_facts": [list(fact) for fact in question.supporting],
        "context": [[page.title, list(page.sentences)] for page in question.paragraphs],
    }


def write_questions(questions: Sequence[Question], path: Path) -> None:
    """Writes an official JSON file."""
    with atomic(path) as part:
        part.write_text(json.dumps([official(q) for q in questions], ensure_ascii=False), encoding="utf-8")
