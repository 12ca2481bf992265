"""Somebody's logs, whatever their format, into one canonical Parquet file and an account of what was understood."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from bench import registry
from bench.canonical import is_canonical_name, read_canonical, write_parquet
from bench.errors import DataError, UnknownNameError
from bench.formats.files import is_archive, require
from bench.formats.log import Import
from bench.formats.summary import summary


class Reader(Protocol):
    """A log format of a task: a module `tasks/<task>/readers/<name>.py` with these two functions.

    The first line of its docstring describes the format. Readers open files only through `bench.formats.files`, never
    unpickle, raise `DataError` naming file and line, leave out what has no outcome, and count what they leave out.
    """

    __doc__: str

    def sniff(self, path: Path) -> bool:
        """Whether a file, folder or archive holds this format; looks at first bytes only."""

    def read(self, path: Path) -> Import:
        """Reads it."""


@dataclass(frozen=True)
class Format:
    """A reader and where it was found."""

    task: str
    name: str
    reader: Reader

    def __str__(self) -> str:
        return f"{self.task}/{self.name}: {(self.reader.__doc__ or '').splitlines()[0]}"


def formats() -> list[Format]:
    """The readers of every task, found by file name."""
    found = []
    for task in registry.task_names():
        if (registry.module_path("tasks", task).parent / "readers" / "__init__.py").exists():
            package = f"tasks.{task}.readers"
            found += [Format(task, n, importlib.import_module(f"{package}.{n}")) for n in registry.names(package)]
    return found


def import_log(path: Path | str, task: str | None, out: Path | str) -> str:
    """Reads a log in any supported format and writes it as canonical Parquet.

    Args:
        path: file, folder or tar archive.
        task: name of the task the log belongs to; None recognizes it.
        out: the .parquet file to write; appears only if everything went well.

    Returns:
        What was understood and what was left out, as text for a terminal.

    Raises:
        DataError: nothing was written; the message names file and line or row.
        UnknownNameError: there is no such task.
    """
    path, out = Path(path), Path(out)
    require(path)
    if out.suffix != ".parquet":
        raise DataError(f"{out}: the output is Parquet; give it a name that ends in .parquet.")
    if out.exists() and out.samefile(path):
        raise DataError(f"{out}: is the log that is to be read. Write to another file.")
    log = read_any(path, task)
    try:
        data = log.dataset()
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    write_parquet(data, out, log.extras)
    return f"{summary(log, data)}\nwrote        {out} ({out.stat().st_size:,} bytes)"


def read_any(path: Path, task: str | None) -> Import:
    """Recognizes the format and reads it; the header names the task.

    Raises:
        DataError: no format fits, or several do, or the file is damaged.
        UnknownNameError: there is no such task.
    """
    known = formats()
    fitting = [f for f in known if f.reader.sniff(path)]
    wanted = [f for f in fitting if task in (None, f.task)]
    if len(wanted) > 1:
        raise DataError(f"{path}: holds logs of several formats, import them one by one:{_lines(wanted)}")
    if wanted:
        log = wanted[0].reader.read(path)
        log = replace(log, header=replace(log.header, task=wanted[0].task))
    elif _may_be_canonical(path) and not fitting:
        log = _with_task(read_canonical(path), task, path)
    else:
        raise _not_recognized(path, task, fitting, known)
    return replace(log, notes=(*log.notes, *_passed_over(path)))


def _may_be_canonical(path: Path) -> bool:
    return any(map(is_canonical_name, path.iterdir())) if path.is_dir() else is_canonical_name(path)


def _with_task(log: Import, task: str | None, path: Path) -> Import:
    """A canonical log as one of this task; the log's own word counts, and a name nobody knows is a slip of the pen."""
    own = log.header.task
    if task is None or task == own:
        return log
    if own is not None:
        raise DataError(f"{path}: its header says task {own!r}, not {task!r}. Leave out --task, or correct the header.")
    if task not in registry.task_names():
        raise UnknownNameError("task", task, registry.task_names())
    return replace(log, header=replace(log.header, task=task))


def _not_recognized(path: Path, task: str | None, fitting: list[Format], known: list[Format]) -> Exception:
    if task is not None and task not in registry.task_names():
        return UnknownNameError("task", task, registry.task_names())
    if fitting:
        return DataError(f"{path}: is not a log of task {task!r}; it looks like{_lines(fitting)}")
    return DataError(
        f"{path}: not a log in any supported format:\n  canonical: .jsonl, .jsonl.gz or .parquet "
        f"(docs/bring-your-logs.md){_lines(known)}"
    )


def _lines(some: list[Format]) -> str:
    return "".join(f"\n  {f}" for f in some)


def _passed_over(path: Path) -> tuple[str, ...]:
    """Readers do not look into archives inside folders; that must not go unsaid."""
    archives = sorted(str(p.relative_to(path)) for p in path.rglob("*") if is_archive(p)) if path.is_dir() else []
    return (
        (f"archives inside the folder were not opened, import them on their own: {', '.join(archives)}",)
        if archives
        else ()
    )
