"""What is done, missing, failed, unsupported, stale, superseded or unreadable in a results folder; reads, never
writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from tabulate import tabulate

from bench import registry
from bench.cells import Cell, Record
from bench.plan import Job
from bench.provenance import source_hash
from bench.store import Store

SHOWN = 20
"""Lines of a list before it is cut; how many more there are is always said."""


def status_text(jobs: Sequence[Job], store: Store) -> str:
    """One table for the selection, then a paragraph for everything on its tasks that needs attention."""
    tasks = {job.task for job in jobs}
    records = [record for record in store.records() if record.cell.task in tasks]
    known = {record.cell.key: record for record in records}
    parts = [
        _progress_table(jobs, known),
        _beside(records, jobs),
        _section("failed (retried by the next run)", map(_failure, _with_status(records, "failed"))),
        _section("unsupported", declined(_with_status(records, "unsupported"))),
        _section("stale: source changed since, version not bumped", stale(records)),
        _section("renamed: computed by an earlier version, under another name", renamed(records)),
        _section("superseded: same question, but older data or version", superseded(records, jobs)),
        _section(
            "unreadable (recomputed by the next run)", [f"{path}: {why}" for path, why in store.unreadable.items()]
        ),
        _section("set aside by earlier runs", map(str, store.corrupt_files())),
    ]
    return "\n\n".join(filter(None, parts))


def stale(records: Iterable[Record]) -> list[str]:
    """Estimators whose source differs from the one behind their stored cells of the current version."""
    changed: Counter[str] = Counter()
    current: dict[str, tuple[int, str]] = {}
    known = registry.estimator_names()
    for record in records:
        name = record.cell.estimator
        if record.provenance is None or record.provenance.computed_as or name not in known:
            continue
        if name not in current:
            current[name] = (registry.estimator_class(name).version, source_hash(name))
        version, source = current[name]
        if record.cell.version == version and record.provenance.source not in ("", source):
            changed[name] += 1
    return [
        f"{name}: {_cells(count)}. If numbers change, bump its version; to recompute: run --redo {name}"
        for name, count in sorted(changed.items())
    ]


def renamed(records: Iterable[Record]) -> list[str]:
    """Estimators with cells whose parameters had other names, or other defaults, when they were computed."""
    found = (r.cell.estimator for r in records if r.provenance is not None and r.provenance.computed_as)
    return _counted(f"{name}: `computed_as` in the provenance of its cells says which" for name in found)


def superseded(records: Iterable[Record], jobs: Sequence[Job]) -> list[str]:
    """Stored cells that answer the question of a planned one from an older version of the estimator or the data."""
    old = _superseded(records, jobs)
    return _counted(f"{c.task} {c.log} {c.estimator} version {c.version}, data {c.data}" for c, _ in old)


def replaced(records: Sequence[Record], jobs: Sequence[Job]) -> list[Cell]:
    """Superseded cells whose question has been answered anew: nothing is lost with them."""
    stored = {record.cell.key for record in records}
    return [cell for cell, key in _superseded(records, jobs) if key in stored]


def _superseded(records: Iterable[Record], jobs: Sequence[Job]) -> list[tuple[Cell, str]]:
    """Superseded cells, each with the key of the planned one."""
    planned = {_question(job.spec, cell): cell.key for job in jobs for cell in job.cells}
    keys = set(planned.values())
    asked = [(r.cell, planned.get(_question(r.spec, r.cell))) for r in records if r.cell.key not in keys]
    return [(cell, key) for cell, key in asked if key is not None]


def declined(records: Iterable[Record]) -> list[str]:
    """Every reason once, and who gave it."""
    who: dict[tuple[str, str], Counter[str]] = {}
    for record in records:
        who.setdefault((record.cell.task, record.reason), Counter())[record.spec] += 1
    return [
        f"{task}: {reason}\n    {_cells(sum(counts.values()))} of {', '.join(sorted(counts))}"
        for (task, reason), counts in sorted(who.items())
    ]


def _beside(records: Sequence[Record], jobs: Sequence[Job]) -> str:
    """A folder usually holds more than one selection: without a word on it, `missing` reads like a loss."""
    planned = {cell.key for job in jobs for cell in job.cells}
    count = sum(record.cell.key not in planned for record in records)
    return f"{_cells(count)} stored here beside this selection (see --profile, --n, --seed, --policy)" if count else ""


def _question(spec: str, cell: Cell) -> tuple[str | int, ...]:
    return cell.task, cell.log, cell.policy, spec, cell.n_trajectories, cell.seed


def _progress_table(jobs: Sequence[Job], known: dict[str, Record]) -> str:
    rows: dict[str, Counter[str]] = {}
    for job in jobs:
        counts = rows.setdefault(job.task, Counter())
        for cell in job.cells:
            counts[known[cell.key].status if cell.key in known else "missing"] += 1
    columns = ["done", "unsupported", "failed", "missing"]
    table = [[task, sum(counts.values()), *(counts[c] for c in columns)] for task, counts in rows.items()]
    if len(table) > 1:
        table.append(["all", *(sum(column) for column in list(zip(*table, strict=True))[1:])])
    return tabulate(table, headers=["task", "planned", *columns])


def _with_status(records: Iterable[Record], status: str) -> list[Record]:
    return [record for record in records if record.status == status]


def failed_lines(records: Sequence[Record], shown: int) -> list[str]:
    """What failed and why, a line each; how many more there are."""
    return _cut([_failure(record) for record in records], shown)


def _failure(record: Record) -> str:
    cell = record.cell
    last = record.reason.strip().splitlines()[-1]
    return f"{cell.task} {cell.log} n={cell.n_trajectories} seed={cell.seed} {record.spec} -> {cell.policy}: {last}"


def _counted(texts: Iterable[str]) -> list[str]:
    return [f"{text} ({_cells(count)})" for text, count in sorted(Counter(texts).items())]


def _cells(count: int) -> str:
    return f"{count:,} cell{'' if count == 1 else 's'}"


def _section(title: str, lines: Iterable[str]) -> str:
    items = list(lines)
    if not items:
        return ""
    return "\n".join([f"{title}:", *_cut(items, SHOWN)])


def _cut(items: Sequence[str], shown: int) -> list[str]:
    more = [f"  and {len(items) - shown} more"] if len(items) > shown else []
    return [*(f"  {line}" for line in items[:shown]), *more]
