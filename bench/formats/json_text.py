"""JSON as people write it: one document, or several one after another; every error names file and line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from bench.errors import DataError
from bench.formats.files import Member

_SPACE = re.compile(r"\s*")
Model = TypeVar("Model", bound=BaseModel)


def decoded(member: Member) -> str:
    """The text of a file.

    Raises:
        DataError: it is not UTF-8; names the line.
    """
    try:
        return member.content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = member.content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{member.name}, line {line}: not UTF-8 (byte {error.start}). Re-encode the file as UTF-8."
        ) from error


def documents(member: Member) -> Iterator[tuple[str, Any]]:
    """Every JSON document of a file, however many there are and however they are laid out.

    Yields:
        Where it begins ("<file>, line <n>", lines from 1), and its value.

    Raises:
        DataError: cut off, or not JSON.
    """
    text = decoded(member)
    decoder = json.JSONDecoder()
    position, line = 0, 1
    while True:
        start = _SPACE.match(text, position).end()
        if start == len(text):
            return
        line += text.count("\n", position, start)
        where = f"{member.name}, line {line}"
        try:
            value, end = decoder.raw_decode(text, start)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{member.name}, line {error.lineno}, column {error.colno}: {error.msg} (in the JSON document that "
                f"begins on line {line}). The file is cut off or damaged; nothing was taken from it."
            ) from error
        except RecursionError as error:
            raise DataError(f"{where}: nested too deeply to be a log.") from error
        yield where, value
        line += text.count("\n", start, end)
        position = end


def checked(model: type[Model], value: Any, where: str) -> Model:
    """A value as a model.

    Raises:
        DataError: naming the first thing that does not fit.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise DataError(f"{where}: {first_problem(error)}.") from error


def first_problem(error: ValidationError) -> str:
    """The first thing a model objected to, with its place, and how many more there are."""
    first, more = error.errors()[0], error.error_count() - 1
    place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in first["loc"]).lstrip(".")
    message = first["msg"].replace(
        " at line 1 column", " at column"
    )  # a line of its own to the parser, not to the user
    return f"{place + ': ' if place else ''}{message}{f' (and {more} more problems)' if more else ''}"
