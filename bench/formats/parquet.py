"""The canonical log as Parquet: one row per step, episode columns repeated (dictionary encoding makes that free)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.data import LoggedDataset, Step, Trajectory
from bench.errors import DataError
from bench.formats.files import atomic, refuse_pickle, require
from bench.formats.jsonl import NO_OUTCOME, header_object, parse_header
from bench.formats.log import Extras, Header, Import
from bench.formats.parquet_rows import TEXTS, Rows, check_schema

_KEY = b"ope-log"


def write_parquet(data: LoggedDataset, path: Path | str, extras: Mapping[str, Extras] | None = None) -> None:
    """Writes a data set as canonical Parquet, atomically; what is read back is bit-exact.

    Raises:
        DataError: a text cannot be encoded, a token id is out of range, or metadata is not JSON.
    """
    path = Path(path)
    try:
        table = _table(data, extras or {})
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:  # UnicodeEncodeError is a ValueError
        raise DataError(
            f"{path}: the log of task {data.task!r} cannot be written ({error}). Nothing was written."
        ) from error
    leaves = {"behavior_logp": "behavior_logp", "logger_logps": "logger_logps.list.element"}
    with atomic(path) as temporary:
        pq.write_table(
            table,
            temporary,
            compression="zstd",
            compression_level=15,
            use_dictionary=[*(c for c in table.column_names if c in TEXTS), "reward", "action_tokens.list.element"],
            column_encoding={leaves[c]: "BYTE_STREAM_SPLIT" for c in leaves if c in table.column_names},
            dictionary_pagesize_limit=1 << 28,  # beyond it every repeated observation would be stored again
            write_page_checksum=True,
        )


def _table(data: LoggedDataset, extras: Mapping[str, Extras]) -> pa.Table:
    trajectories = data.trajectories
    lengths = [len(t.steps) for t in trajectories]
    rows = np.repeat(np.arange(len(trajectories)), lengths)
    steps = [s for t in trajectories for s in t.steps]

    def text(values: Sequence[str | None]) -> pa.Array:
        return pa.array(values, pa.string()).take(pa.array(rows))

    def optional(name: str) -> list[str | None]:
        per_episode = ((t, getattr(extras.get(t.id), name, ())) for t in trajectories)
        return list(chain.from_iterable(values or (None,) * len(t.steps) for t, values in per_episode))

    metadata = (extras[t.id].metadata if t.id in extras else None for t in trajectories)
    columns = {
        "episode_id": text([t.id for t in trajectories]),
        "turn": pa.array(np.concatenate([np.arange(n) for n in lengths]), pa.int32()),
        "instance": text([t.instance for t in trajectories]),
        "goal": text([t.goal for t in trajectories]),
        "logger": text([t.logger for t in trajectories]),
        "terminated": pa.array(np.array([bool(t.terminated) for t in trajectories])[rows]),
        "truncated": pa.array(np.array([bool(t.truncated) for t in trajectories])[rows]),
        "final_observation": text([t.final_observation for t in trajectories]),
        "metadata": text([json.dumps(dict(m), allow_nan=False) if m else None for m in metadata]),
        "observation": pa.array([s.observation for s in steps], pa.string()),
        "action": pa.array([s.action for s in steps], pa.string()),
        "reward": pa.array([float(s.reward) for s in steps], pa.float64()),
        "action_canonical": pa.array(optional("action_canonical"), pa.string()),
        "thought": pa.array(optional("thought"), pa.string()),
        "behavior_logp": _narrowed(pa.array([s.behavior_logp for s in steps], pa.float64())),
        "action_tokens": pa.array([s.action_tokens for s in steps], pa.list_(pa.int32())),
        "logger_logps": _narrowed(pa.array([s.logger_logps for s in steps], pa.list_(pa.float64()))),
    }
    kept = {name: column for name, column in columns.items() if column.null_count < len(column)}
    return pa.table(kept).replace_schema_metadata({_KEY: json.dumps(header_object(data))})


def _narrowed(array: pa.Array) -> pa.Array:
    """The column in single precision where that loses nothing: it takes half the space."""
    narrow = pa.list_(pa.float32()) if pa.types.is_list(array.type) else pa.float32()
    single = array.cast(narrow)
    return single if single.cast(array.type).equals(array) else array


def read_parquet(path: Path | str) -> Import:
    """Reads a canonical Parquet file.

    Raises:
        DataError: naming file, column and row (rows count from 0).
    """
    path = Path(path)
    header, table = _open(path)
    try:
        rows = Rows(path, header, table)
        return _assemble(rows)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise DataError(f"{path}: damaged, or its text is not UTF-8 ({error}). Copy or write it again.") from error


def _open(path: Path) -> tuple[Header, pa.Table]:
    """The header and the table, after its columns were checked by name and type."""
    require(path)
    try:
        with path.open("rb") as handle:
            refuse_pickle(path, handle.read(2))
        schema = pq.read_schema(path)
        check_schema(path, schema)
        texts = [f.name for f in schema if f.name in TEXTS]
        with pq.ParquetFile(path, read_dictionary=texts, page_checksum_verification=True) as file:
            table = file.read().unify_dictionaries()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: not a readable Parquet file, or cut off ({error}). Copy or write it again."
        ) from error
    stored = (schema.metadata or {}).get(_KEY)
    header = parse_header(stored, f"{path}, schema metadata {_KEY.decode()!r}") if stored else Header()
    return header, table


def _assemble(rows: Rows) -> Import:
    """Episodes, extras and the count of what has no outcome."""
    names = ("observation", "action", "reward", "action_tokens", "behavior_logp", "logger_logps")
    steps = [Step(*values) for values in zip(*(rows.values(name) for name in names), strict=True)]
    heads = ("episode_id", "instance", "goal", "final_observation", "terminated", "truncated", "logger", "metadata")
    of_episode = zip(*(rows.values(name, rows.starts) for name in heads), strict=True)
    has_extras = bool({"metadata", "action_canonical", "thought"} & set(rows.columns))
    canonical, thought = rows.values("action_canonical"), rows.values("thought")
    ends = [*rows.starts[1:].tolist(), rows.n]
    episodes, extras, dropped = [], {}, Counter()
    for a, b, head in zip(rows.starts.tolist(), ends, of_episode, strict=True):
        name, instance, goal, final, terminated, truncated, logger, metadata = head
        if not rows.known[a]:  # its rewards may be empty, so it must not get further than this
            dropped[NO_OUTCOME] += 1
            continue
        episodes.append(Trajectory(name, instance, goal, tuple(steps[a:b]), final, terminated, truncated, logger))
        if has_extras:
            extra = Extras(tuple(canonical[a:b]), tuple(thought[a:b]), _metadata(rows, metadata, a))
            if extra:
                extras[name] = extra
    return Import("canonical Parquet", episodes, rows.header, extras, dropped)


def _metadata(rows: Rows, text: str | None, row: int) -> dict[str, Any]:
    try:
        value = json.loads(text) if text else {}
    except (ValueError, RecursionError) as error:
        raise rows.error(row, "metadata", f"is not JSON ({error}).") from error
    if not isinstance(value, dict):
        raise rows.error(row, "metadata", "must be a JSON object.")
    return value
