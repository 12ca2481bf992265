"""Results on disk: one JSON per cell and its arrays beside it; atomic, resumable, mergeable by copying folders."""

from __future__ import annotations

import io
import json
import os
import re
import time
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from bench.cells import Cell, Record
from bench.errors import BenchError, DataError
from bench.task import GroundTruth


class StoreError(BenchError):
    """The results folder cannot be written."""


class Store:
    """Cells under `<results>/cells/<task>/<estimator>/<key>.json`, arrays in `<key>.npz`, truth in `<results>/truth`.

    The path is the identity, so two results folders copied over each other merge. Arrays are written first and the JSON
    last: a cell exists once its JSON does. Every file appears by `os.replace`, never half-written.

    Attributes:
        unreadable: what reading has come across so far, path to reason; nobody is stopped by it.
    """

    def __init__(self, results: Path):
        self.results = Path(results)
        self.cells = self.results / "cells"
        self.unreadable: dict[Path, str] = {}

    def path(self, cell: Cell) -> Path:
        """Where the record of a cell lives."""
        return self.cells / cell.task / cell.estimator / f"{cell.key}.json"

    def load(self, cell: Cell) -> Record | None:
        """The stored record of a cell; None where there is none that can be used."""
        return self._read(
            f"{self.cells}/{cell.task}/{cell.estimator}/{cell.key}.json",
            lambda found: found == cell or found.key == cell.key,
        )

    def records(self) -> Iterator[Record]:
        """All readable records, in the order of their paths; what cannot be read is entered in `unreadable`."""
        for path in sorted(self.cells.glob("*/*/*.json")):
            record = self._read(str(path), lambda found, path=path: self.path(found) == path)
            if record is not None:
                yield record

    def replicates(self, record: Record) -> np.ndarray:
        """(B,) bootstrap values of a record that is done; NaN where a resample leaves the estimator undefined.

        Raises:
            DataError: the file is missing or damaged.
        """
        path = self.path(record.cell).with_suffix(".npz")
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return arrays["replicates"].astype(float)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(
                f"{path}: cannot read the bootstrap values of a stored cell ({error}). "
                f"Delete {path.with_suffix('.json').name} beside it and run again."
            ) from error

    def save(self, record: Record, replicates: np.ndarray | None = None) -> Path:
        """Writes a record, its arrays first.

        Args:
            replicates: (B,) bootstrap values, kept in single precision.

        Raises:
            StoreError: the folder cannot be written; no partial file is left.
        """
        path = self.path(record.cell)
        if replicates is not None:
            buffer = io.BytesIO()
            np.savez(buffer, replicates=np.asarray(replicates, dtype=np.float32))
            _write(path.with_suffix(".npz"), buffer.getvalue())
        _write(path, (record.model_dump_json(indent=1) + "\n").encode())
        return path

    def save_truth(self, task: str, truths: Iterable[GroundTruth]) -> None:
        """Keeps the on-policy returns of a task's targets for the report, which asks no task.

        Raises:
            StoreError: the folder cannot be written.
        """
        content = {
            truth.policy: {
                "mean": truth.mean,
                "stderr": truth.stderr,
                "returns": truth.returns.tolist(),
                "instances": truth.instance.tolist(),
            }
            for truth in truths
        }
        _write(self._truth_path(task), (json.dumps(content, allow_nan=False) + "\n").encode())

    def has_truth(self, task: str, policies: Collection[str]) -> bool:
        """Whether the truth of all these policies is kept, and readable."""
        try:
            return set(policies) <= set(json.loads(self._truth_path(task).read_bytes()))
        except (OSError, ValueError, TypeError):
            return False

    def check_writable(self) -> None:
        """Finds out before hours of work whether results can be kept.

        Raises:
            StoreError: they cannot.
        """
        probe = self.cells / f"probe.{os.getpid()}"
        _write(probe, b"")
        probe.unlink()

    def forget(self, cells: Iterable[Cell]) -> int:
        """Removes stored cells so that they are computed anew; returns how many there were.

        Raises:
            StoreError: the folder cannot be written.
        """
        known = [p for p in map(self.path, cells) if p.exists()]
        for path in known:
            with _explained(path):
                path.unlink()
                path.with_suffix(".npz").unlink(missing_ok=True)
        return len(known)

    def set_aside(self) -> list[Path]:
        """Renames the unreadable files met so far to `*.corrupt`; returns their new paths.

        Raises:
            StoreError: the folder cannot be written.
        """
        moved = []
        for path in self.unreadable:
            moved.append(path.with_name(path.name + ".corrupt"))
            with _explained(path):
                path.replace(moved[-1])
        self.unreadable.clear()
        return moved

    def corrupt_files(self) -> list[Path]:
        """Files that earlier runs set aside."""
        return sorted(self.cells.glob("*/*/*.corrupt"))

    def sweep(self, older_than: float = 3600.0) -> None:
        """Removes what killed processes have left half-written, if last touched more than `older_than` seconds ago.

        Files of processes that are still alive stay, and so does everything that a store does not write.
        """
        for path in (*self.cells.glob("*/*/*.tmp"), *(self.results / "truth").glob("*.tmp")):
            writer = _TEMPORARY.search(path.name)
            try:
                if writer and not _alive(int(writer[1])) and time.time() - path.stat().st_mtime >= older_than:
                    path.unlink()
            except FileNotFoundError:  # its writer has just renamed it
                continue

    def _truth_path(self, task: str) -> Path:
        return self.results / "truth" / f"{task}.json"

    def _read(self, path: str, belongs: Callable[[Cell], bool]) -> Record | None:
        """The record in a file. Strings, not paths: a finished leaderboard has ten thousand, and paths are slow."""
        try:
            with open(path, "rb") as file:  # noqa: PTH123
                record = Record.model_validate_json(file.read())
        except FileNotFoundError:
            return None
        except (ValidationError, OSError) as error:
            first = error.errors()[0] if isinstance(error, ValidationError) else None
            self.unreadable[Path(path)] = (
                f"{'.'.join(map(str, first['loc']))} {first['msg']}".strip() if first else str(error)
            )
            return None
        if not belongs(record.cell):
            self.unreadable[Path(path)] = f"holds the record of another cell ({record.cell.key})"
            return None
        if record.status == "done" and not os.path.exists(f"{path.removesuffix('.json')}.npz"):  # noqa: PTH110
            self.unreadable[Path(path)] = "the .npz beside it is missing"
            return None
        return record


_TEMPORARY = re.compile(r"\.(?:json|npz)\.(\d+)\.tmp$")
"""Names of the files of `_write`, and the process that writes one."""


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns a refusal of the file system into an error that says what to do."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot write {path}: {error.strerror or error}. Free some space, or make the folder writable, or choose "
            "another one with --results. What was finished before is kept; the same command goes on from there."
        ) from error
