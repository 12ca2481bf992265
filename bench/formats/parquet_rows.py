"""The columns of a canonical Parquet file, checked: whatever passes can become episodes without further questions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bench.errors import DataError
from bench.formats.log import Header

SEE = "The schema is in docs/bring-your-logs.md."
_EPISODE_TEXTS = ("episode_id", "instance", "goal", "logger", "final_observation", "metadata")
_EPISODE_FLAGS = ("terminated", "truncated", "outcome_known")
TEXTS = (*_EPISODE_TEXTS, "observation", "action", "action_canonical", "thought")
_REQUIRED = (
    "episode_id",
    "turn",
    "instance",
    "goal",
    "logger",
    "terminated",
    "truncated",
    "observation",
    "action",
    "reward",
)
_NULLABLE = {
    "final_observation",
    "metadata",
    "action_canonical",
    "thought",
    "behavior_logp",
    "action_tokens",
    "logger_logps",
}

Test = Callable[[pa.DataType], bool]


def _is_text(kind: pa.DataType) -> bool:
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(inner) or pa.types.is_large_string(inner)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)


def _is_list_of(test: Test) -> Test:
    return lambda kind: _is_list(kind) and test(kind.value_type)


_KINDS: dict[str, tuple[str, Test]] = {
    **dict.fromkeys(TEXTS, ("text", _is_text)),
    **dict.fromkeys(_EPISODE_FLAGS, ("true/false", pa.types.is_boolean)),
    **dict.fromkeys(("reward", "behavior_logp"), ("number", _is_number)),
    "turn": ("integer", pa.types.is_integer),
    "action_tokens": ("list of integers", _is_list_of(pa.types.is_integer)),
    "logger_logps": ("list of numbers", _is_list_of(_is_number)),
}


def check_schema(path: Path, schema: pa.Schema) -> None:
    """Column names and types.

    Raises:
        DataError: a column is missing, unknown, there twice, or of the wrong type.
    """
    missing = [c for c in _REQUIRED if c not in schema.names]
    unknown = sorted(set(schema.names) - set(_KINDS))
    twice = sorted({c for c in schema.names if schema.names.count(c) > 1})
    if missing:
        raise DataError(
            f"{path}: missing columns {', '.join(missing)}; found {', '.join(schema.names) or 'none'}. {SEE}"
        )
    if unknown:
        raise DataError(f"{path}: unknown columns {', '.join(unknown)}. Remove them, or put them under metadata. {SEE}")
    if twice:
        raise DataError(f"{path}: columns {', '.join(twice)} occur twice. {SEE}")
    for field in schema:
        kind, test = _KINDS[field.name]
        if not test(field.type):
            raise DataError(f"{path}: column {field.name} is of type {field.type}, must be {kind}. {SEE}")


class Rows:
    """S rows of n episodes.

    Attributes:
        columns: by name, texts dictionary-encoded.
        starts: (n,) first row of each episode.
        known: (S,) whether the outcome of the row's episode is known.

    Raises:
        DataError: on construction, naming file, row (from 0) and column.
    """

    def __init__(self, path: Path, header: Header, table: pa.Table):
        self.path, self.header, self.n = path, header, table.num_rows
        if not self.n:
            raise DataError(f"{path}: holds no row, so no episode.")
        self.columns = {name: _single(table.column(name)) for name in table.column_names}
        for column in self.columns.values():
            column.validate(full=True)  # UTF-8 and offsets
        flag = self.columns.get("outcome_known")
        self.known = np.ones(self.n, dtype=bool) if flag is None else np.asarray(flag.fill_null(True))
        self._check_empty()
        self.starts = self._find_starts()
        self._check_constant()
        self._check_numbers()
        self._check_header()

    def error(self, row: int, column: str, problem: str) -> DataError:
        """A DataError about one value."""
        return DataError(f"{self.path}, row {row}, column {column}: {problem}")

    def values(self, name: str, at: np.ndarray | None = None) -> list[Any]:
        """Python values of a column, of the rows `at` or of all; None where empty or where there is no such column."""
        column = self.columns.get(name)
        if column is None:
            return [None] * (self.n if at is None else len(at))
        column = column if at is None else column.take(pa.array(at))
        if pa.types.is_dictionary(column.type):
            texts = [*column.dictionary.to_pylist(), None]
            return [texts[i] for i in column.indices.fill_null(len(texts) - 1).to_pylist()]
        if _is_list(column.type):
            kind = pa.int64() if name == "action_tokens" else pa.float64()
            flat = np.asarray(column.values.cast(kind)).tolist()
            ends, present = np.asarray(column.offsets).tolist(), np.asarray(column.is_valid()).tolist()
            return [tuple(flat[a:b]) if p else None for a, b, p in zip(ends[:-1], ends[1:], present, strict=True)]
        return (column.cast(pa.float64()) if _is_number(column.type) else column).to_pylist()

    def _fail(self, bad: np.ndarray, column: str, problem: str, owner: np.ndarray | None = None) -> None:
        """Raises for the first True of `bad`; `owner` maps positions to rows."""
        if bad.any():
            first = int(bad.argmax())
            raise self.error(first if owner is None else int(owner[first]), column, problem)

    def _check_empty(self) -> None:
        for name, column in self.columns.items():
            if name not in _NULLABLE:
                hint = "every row needs a value."
                empty = np.asarray(column.is_null())
                if name == "reward":
                    hint += " Or set outcome_known to false: such episodes are counted and left out, never scored 0."
                    empty = empty & self.known
                self._fail(empty, name, f"is empty; {hint}")

    def _find_starts(self) -> np.ndarray:
        """(n,) first rows; turns must count 0, 1, 2, ... and an episode's rows must stand together."""
        turn = np.asarray(self.columns["turn"]).astype(np.int64)
        codes = _codes(self.columns["episode_id"])
        starts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]) | (turn == 0))
        expected = np.arange(self.n) - np.repeat(starts, np.diff(np.append(starts, self.n)))
        self._fail(turn != expected, "turn", "turns of an episode must stand together and count 0, 1, 2, ...")
        _, first = np.unique(codes[starts], return_index=True)
        again = np.ones(len(starts), dtype=bool)
        again[first] = False
        if again.any():
            row = starts[again][:1]
            name = self.values("episode_id", row)[0]
            raise self.error(int(row[0]), "episode_id", f"{name!r} occurs twice; ids must be unique.")
        return starts

    def _check_constant(self) -> None:
        inner = np.ones(self.n, dtype=bool)
        inner[self.starts] = False
        for name in (*_EPISODE_TEXTS, *_EPISODE_FLAGS):
            if name in self.columns:
                codes = _codes(self.columns[name])
                changed = np.concatenate([[False], codes[1:] != codes[:-1]])
                self._fail(inner & changed, name, "changes within an episode; it must be the same in all its rows.")

    def _check_numbers(self) -> None:
        rewards = np.asarray(self.columns["reward"].cast(pa.float64()).fill_null(0.0))
        self._fail(~np.isfinite(rewards) & self.known, "reward", "is not a finite number.")
        if "behavior_logp" in self.columns:
            self._check_logps("behavior_logp", self.columns["behavior_logp"])
        for name in ("logger_logps", "action_tokens"):
            if name in self.columns:
                widths = self._widths(name)
                owner = np.repeat(np.arange(self.n), np.maximum(widths, 0))
                flat = self.columns[name].flatten()
                self._fail(np.asarray(flat.is_null()), name, "holds an empty value.", owner)
                if name == "action_tokens":
                    self._fail(np.asarray(flat) < 0, name, "holds a negative token id.", owner)
                else:
                    self._check_logps(name, flat, owner)

    def _check_logps(self, name: str, values: pa.Array, owner: np.ndarray | None = None) -> None:
        numbers = np.asarray(values.cast(pa.float64()).fill_null(0.0))
        problem = "a log-probability must be finite and not above 0 (natural log). Leave it empty where it is unknown."
        self._fail(~(np.isfinite(numbers) & (numbers <= 1e-6)), name, problem, owner)

    def _check_header(self) -> None:
        """What the header promises."""
        loggers, horizon = self.header.loggers, self.header.horizon
        if horizon is not None:
            lengths = np.diff(np.append(self.starts, self.n))
            self._fail(
                lengths > horizon, "turn", f"the episode exceeds the horizon {horizon} of the header.", self.starts
            )
        if loggers is not None:
            strange = np.array([name not in loggers for name in self.values("logger", self.starts)])
            self._fail(strange, "logger", f"is not among the header's loggers {list(loggers)}.", self.starts)
        if "logger_logps" in self.columns:
            widths, expected = self._widths("logger_logps"), len(loggers or ())
            problem = f"the header names {expected} loggers; give one value per logger, in the header's order."
            self._fail((widths >= 0) & (widths != expected), "logger_logps", problem)

    def _widths(self, name: str) -> np.ndarray:
        """(S,) lengths of the lists of a column; -1 where empty."""
        return np.asarray(self.columns[name].value_lengths().fill_null(-1))


def _single(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array, texts dictionary-encoded."""
    array = column.combine_chunks()
    return array.dictionary_encode() if _is_text(array.type) and not pa.types.is_dictionary(array.type) else array


def _codes(column: pa.Array) -> np.ndarray:
    """(S,) integers that are equal where the values are; -1 where empty."""
    indices = column.indices if pa.types.is_dictionary(column.type) else column.cast(pa.int8())
    return np.asarray(indices.fill_null(-1))
