"""The canonical log: strict, documented in docs/bring-your-logs.md, as JSONL or Parquet, alone or in folders."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Literal

from bench.data import LoggedDataset, Step, Trajectory
from bench.errors import DataError
from bench.formats.files import require
from bench.formats.jsonl import read_jsonl, write_jsonl
from bench.formats.log import Extras, Header, Import
from bench.formats.parquet import read_parquet, write_parquet

__all__ = [
    "Extras",
    "Header",
    "Import",
    "is_canonical_name",
    "read_canonical",
    "read_log",
    "write_jsonl",
    "write_parquet",
]

_READERS = {".jsonl": read_jsonl, ".jsonl.gz": read_jsonl, ".parquet": read_parquet}


def is_canonical_name(path: Path) -> bool:
    """Whether a file's name ends like a canonical log."""
    return path.name.endswith(tuple(_READERS))


def read_log(path: Path | str, *, actions: Literal["raw", "canonical"] = "raw") -> LoggedDataset:
    """Reads a canonical log, ready for estimators.

    Args:
        path: a .jsonl, .jsonl.gz or .parquet file, or a folder of these.
        actions: `raw` takes the text the agent wrote; `canonical` the normal form, where the log has one. Several raw
            texts may share a normal form, so a step whose action changes loses its log-probabilities and token ids.

    Raises:
        DataError: naming file and line or row; also where episodes lack an outcome, because leaving them out changes
            the estimand and must be announced: `import` does it and says how many.
    """
    log = read_canonical(path)
    if log.dropped:
        reasons = "; ".join(f"{count} episodes: {why}" for why, count in log.dropped.items())
        raise DataError(
            f"{path}: {reasons}. Run `python run_bench.py import` on it, which leaves them out, says so, and writes "
            "a log that can be estimated from."
        )
    if actions == "canonical":
        log = replace(log, episodes=[_with_canonical_actions(t, log.extras.get(t.id)) for t in log.episodes])
    return log.dataset()


def read_canonical(path: Path | str) -> Import:
    """Reads a canonical log with all it says beyond `LoggedDataset`, and an account of what was left out.

    Raises:
        DataError: naming file and line or row.
    """
    path = Path(path)
    require(path)
    if path.is_dir():
        return _merged(
            path, [(f, _read_file(f)) for f in sorted(path.iterdir()) if f.is_file() and is_canonical_name(f)]
        )
    return _read_file(path)


def _read_file(path: Path) -> Import:
    for suffix, read in _READERS.items():
        if path.name.endswith(suffix):
            return read(path)
    raise DataError(
        f"{path}: a canonical log ends in {', '.join(_READERS)}. Other formats go through `run_bench.py import`."
    )


def _merged(folder: Path, parts: list[tuple[Path, Import]]) -> Import:
    """One log out of the files of a folder."""
    if not parts:
        raise DataError(f"{folder}: holds no file that ends in {', '.join(_READERS)}.")
    owner: dict[str, Path] = {}
    for file, part in parts:
        for trajectory in part.episodes:
            if trajectory.id in owner:
                raise DataError(
                    f"{file}: episode id {trajectory.id!r} is also in {owner[trajectory.id]}. Ids must be unique."
                )
            owner[trajectory.id] = file
    return Import(
        format=" + ".join(sorted({part.format for _, part in parts})),
        episodes=[t for _, part in parts for t in part.episodes],
        header=_merged_header(parts),
        extras={k: v for _, part in parts for k, v in part.extras.items()},
        dropped=sum((part.dropped for _, part in parts), Counter()),
        notes=(f"{len(parts)} files",),
    )


def _merged_header(parts: list[tuple[Path, Import]]) -> Header:
    """What the headers agree on; loggers are joined unless their order carries meaning."""
    merged: dict[str, object] = {}
    for name in ("task", "gamma", "horizon", "fixed_instances"):
        values = {getattr(part.header, name) for _, part in parts} - {None}
        if len(values) > 1:
            files = ", ".join(f"{file.name}: {getattr(part.header, name)}" for file, part in parts)
            raise DataError(f"{parts[0][0].parent}: the files differ in {name} ({files}). Read them one by one.")
        merged[name] = values.pop() if values else None
    orders = {part.header.loggers for _, part in parts}
    has_logps = any(s.logger_logps is not None for _, part in parts for t in part.episodes for s in t.steps)
    if len(orders) > 1 and has_logps:
        raise DataError(f"{parts[0][0].parent}: the files name different loggers, so logger_logps cannot be joined.")
    if orders == {None}:
        return Header(**merged, loggers=None)
    named = [name for _, part in parts for name in part.header.loggers or ()]
    found = [t.logger for _, part in parts for t in part.episodes]
    return Header(**merged, loggers=tuple(dict.fromkeys(named + found)))


def _with_canonical_actions(trajectory: Trajectory, extra: Extras | None) -> Trajectory:
    if extra is None or not extra.action_canonical:
        return trajectory
    pairs = zip(trajectory.steps, extra.action_canonical, strict=True)
    steps = tuple(s if a is None or a == s.action else Step(s.observation, a, s.reward) for s, a in pairs)
    return replace(trajectory, steps=steps)
