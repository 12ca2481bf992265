"""Answers of studies: kept in `<results>/studies/<name>.json`, figures beside them; and how a study is started."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tyro

from bench.errors import BenchError, DataError
from bench.provenance import take_provenance

RESULTS = Path("results")
FOLDER = "studies"


def answer_path(results: Path, name: str) -> Path:
    """Where the answer of a study is kept."""
    return Path(results) / FOLDER / f"{name}.json"


def figure_folder(results: Path) -> Path:
    """Where studies put their figures: `<name>.svg` and `<name>.png`, or `<name>_<what>.svg` and so on for several."""
    return Path(results) / FOLDER / "figures"


def keep_answer(results: Path, name: str, content: Mapping[str, Any], table: str = "") -> Path:
    """Writes an answer and where it came from.

    Args:
        content: the numbers, JSON without NaN.
        table: the same for people, markdown; kept under "table".
    """
    path = answer_path(results, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    source = take_provenance().model_dump(exclude={"source"})
    source["command"] = f"{_program()} {shlex.join(sys.argv[1:])}".strip()
    shown = {"table": table} if table else {}
    text = json.dumps({**content, **shown, "provenance": source}, indent=1, allow_nan=False) + "\n"
    part = path.with_suffix(f".{os.getpid()}.tmp")  # replaced as a whole: a run that is stopped leaves no half of it
    part.write_text(text, "utf-8")
    part.replace(path)
    return path


def made_now() -> str:
    """Day and commit, for entries of an answer that a later run may keep."""
    source = take_provenance()
    return f"{source.started[:10]}, commit {source.commit[:8]}" if source.commit else source.started[:10]


def refuse_other_settings(name: str, task: str, kept: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> None:
    """Numbers of different settings do not share an answer, and none is thrown away unasked.

    Raises:
        BenchError: an earlier run had other settings on this task.
    """
    if kept is None or dict(kept) == dict(wanted):
        return
    changed = ", ".join(f"{k} {kept.get(k)!r} (now {wanted[k]!r})" for k in wanted if kept.get(k) != wanted[k])
    raise BenchError(
        f"the answer of {name} on {task} was made with {changed}. Run with --again to make it anew, or with another "
        "--results to keep both."
    )


def kept_answer(results: Path, name: str) -> dict[str, Any] | None:
    """The answer of a study; None where it has not been run.

    Raises:
        DataError: the file is damaged.
    """
    path = answer_path(results, name)
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error}). Run `python -m studies.{name}` again.") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: holds no object. Run `python -m studies.{name}` again.")
    return found


def known(value: float | None) -> float | None:
    """A number as JSON holds it: None for one that is undefined."""
    return None if value is None or value != value else float(value)


def start(main: Callable[..., Any]) -> int:
    """Runs a study from the command line; errors that are the user's to mend are printed without a traceback."""
    try:
        return tyro.cli(main, prog=_program()) or 0
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _program() -> str:
    return f"python -m studies.{Path(sys.argv[0]).stem}"
