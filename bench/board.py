"""Stored cells as arrays: one board per (task, log, size), one row per estimator, policies and seeds as axes."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from bench.cells import Record, same_recording

EPSILON_SWEEP = "epsilon_sweep"
Replicates = Callable[[Record], np.ndarray]


@dataclass(frozen=True)
class Row:
    """What one estimator did on one board. S seeds, P policies, B replicates; NaN wherever there is no number.

    Attributes:
        spec, name, family: of the estimator.
        status: (S, P) "done", "unsupported", "failed" or "missing".
        value, low, high: (S, P) estimate and interval.
        sampling: (S, P) bool, the interval describes the error of the estimate (not the simulation alone).
        replicates: (S, P, B) bootstrap values; column b belongs to the same resampled episodes in every row.
        fit_seconds, prepare_seconds, estimate_seconds, memory_mb, ess: (S, P); the first two with trainings that were
            done earlier.
        on_gpu: (S, P) bool, some of the training was done on a GPU: its seconds are not those of a CPU.
        notes, reasons: what the estimators announced and why cells have no value, with counts.
    """

    spec: str
    name: str
    family: str
    status: np.ndarray
    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    sampling: np.ndarray
    replicates: np.ndarray
    fit_seconds: np.ndarray
    prepare_seconds: np.ndarray
    estimate_seconds: np.ndarray
    memory_mb: np.ndarray
    ess: np.ndarray
    on_gpu: np.ndarray
    notes: tuple[tuple[str, int], ...]
    reasons: tuple[tuple[str, str, int], ...]

    @property
    def done(self) -> np.ndarray:
        """(S, P) bool."""
        return self.status == "done"

    @property
    def simulation_only(self) -> bool:
        """No interval of this row describes what another log or another fit would have given."""
        return bool(self.done.any() and not self.sampling[self.done].all())

    def restricted(self, cells: np.ndarray) -> Row:
        """The row as if only these (S, P) cells had been done."""
        if (cells | ~self.done).all():
            return self
        return replace(
            self,
            status=np.where(self.done & ~cells, "missing", self.status),
            value=np.where(cells, self.value, np.nan),
            replicates=np.where(cells[..., None], self.replicates, np.nan),
        )

    def at(self, places: Sequence[int]) -> Row:
        """The row on some of its seeds, by place; notes and reasons still count all of its cells."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: x[list(places)] for name, x in arrays.items() if isinstance(x, np.ndarray)})


@dataclass(frozen=True)
class Board:
    """All estimators on one (task, log, size).

    Attributes:
        policies: (P,) sorted names; seeds: (S,) sorted.
        sweep: (P,) bool, members of the epsilon sweep.
        truth, stderr: (P,) true values and their standard errors.
        rows: by estimator spec, sorted.
    """

    task: str
    log: str
    n: int
    policies: tuple[str, ...]
    seeds: tuple[int, ...]
    sweep: np.ndarray
    truth: np.ndarray
    stderr: np.ndarray
    rows: dict[str, Row]

    @property
    def span(self) -> float:
        """Range of the true values over the pool; everything normalized is divided by it."""
        return float(self.truth.max() - self.truth.min())

    @property
    def unrankable(self) -> bool:
        """The truths spread over less than four standard errors: the order of the policies is not known."""
        return self.span < 4 * float(self.stderr.max())

    @property
    def exact(self) -> bool:
        """The true values are known, not measured."""
        return bool((self.stderr == 0).all())

    @property
    def n_expected(self) -> int:
        """Cells an estimator that supports everything would have."""
        return len(self.policies) * len(self.seeds)

    @property
    def n_replicates(self) -> int:
        """Bootstrap replicates of every cell."""
        return next(iter(self.rows.values())).replicates.shape[-1]

    @property
    def label(self) -> str:
        """Task, log and size in words."""
        return f"{self.task}, {self.log} log, n = {self.n:,}"

    def on_blocks(self, seeds: Sequence[int]) -> Board:
        """The board as if only these blocks of the log had been used."""
        places = [self.seeds.index(seed) for seed in seeds]
        rows = {spec: row.at(places) for spec, row in self.rows.items()}
        return replace(self, seeds=tuple(seeds), rows=rows)


def current(records: Iterable[Record]) -> tuple[list[Record], list[str]]:
    """Keeps one record per question and one configuration per row, and says what was set aside.

    A store may still hold cells of an older version of an estimator, of other defaults, or of an older recording of a
    log. Rows are never mixed from them: of each estimator on a log, the highest version counts, then the parameters of
    the latest start, and what these have not computed is missing; of two recordings of one log, the one computed last
    (a log that has grown is one recording).

    Returns:
        The records in a fixed order, and notes for the reader.
    """
    records = sorted(records, key=lambda r: (r.cell.version, _started(r), r.cell.key))
    newest_data = {
        (r.cell.task, r.cell.log): r.cell.data for r in sorted(records, key=lambda r: (_started(r), r.cell.key))
    }
    notes = []
    mine = {r.cell.key: same_recording(newest_data[r.cell.task, r.cell.log], r.cell.data) for r in records}
    older = Counter((r.cell.task, r.cell.log) for r in records if not mine[r.cell.key])
    for (task, log), count in sorted(older.items()):
        notes.append(f"{task}/{log}: {count} cells computed on another recording of this log were left out")
    records = [r for r in records if mine[r.cell.key]]
    newest = {_row_of(r): _configuration(r) for r in records}  # the last one stays
    kept: dict[tuple, Record] = {}
    superseded: Counter[str] = Counter()
    for record in records:
        cell = record.cell
        question = (*_row_of(record), cell.policy, cell.seed)
        outdated = newest[_row_of(record)] != _configuration(record)
        if outdated or question in kept:
            superseded[f"{cell.task}/{cell.log}, {record.spec}"] += 1
        if not outdated:
            kept[question] = record
    for where, count in sorted(superseded.items()):
        notes.append(f"{where}: {count} cells of an older version or other defaults were left out")
    return [kept[question] for question in sorted(kept)], notes + _behind(kept.values())


def _behind(records: Iterable[Record]) -> list[str]:
    """Boards on which an estimator has another version or other defaults than on the board computed last."""
    found: dict[str, dict[str, tuple[int, str]]] = defaultdict(dict)
    latest: dict[str, tuple[int, str]] = {}
    for record in sorted(records, key=lambda r: (r.cell.version, _started(r), r.cell.key)):
        cell = record.cell
        found[record.spec][f"{cell.task}/{cell.log}, n = {cell.n_trajectories:,}"] = _configuration(record)
        latest[record.spec] = _configuration(record)
    behind = {spec: [b for b, c in sorted(on.items()) if c != latest[spec]] for spec, on in sorted(found.items())}
    return [
        f"{spec}: an older version or other defaults than elsewhere on {'; '.join(on)}: its averages mix the two"
        for spec, on in behind.items()
        if on
    ]


def _row_of(record: Record) -> tuple[str, str, int, str]:
    return record.cell.task, record.cell.log, record.cell.n_trajectories, record.spec


def _configuration(record: Record) -> tuple[int, str]:
    return record.cell.version, json.dumps(record.cell.params, sort_keys=True)


def _started(record: Record) -> str:
    return record.provenance.started if record.provenance else ""


def boards(records: Iterable[Record], replicates: Replicates) -> tuple[list[Board], list[str]]:
    """Groups records into boards, sorted by task, log and size.

    Args:
        records: what the store holds.
        replicates: gives the (B,) bootstrap values of a done record.

    Returns:
        The boards, and notes on cells that were set aside.
    """
    kept, notes = current(records)
    truths, truth_notes = _truths(kept)
    groups: dict[tuple[str, str, int], list[Record]] = defaultdict(list)
    unknown: Counter[tuple[str, str]] = Counter()
    for record in kept:
        if (record.cell.task, record.cell.policy) in truths:
            groups[record.cell.task, record.cell.log, record.cell.n_trajectories].append(record)
        else:
            unknown[record.cell.task, record.cell.policy] += 1
    for (task, policy), count in sorted(unknown.items()):
        notes.append(f"{task}: {count} cells about {policy} cannot be scored, its true value is not known")
    return [_board(group, truths, replicates) for _, group in sorted(groups.items())], notes + truth_notes


def _truths(records: list[Record]) -> tuple[dict[tuple[str, str], tuple[float, float]], list[str]]:
    """True value and standard error by (task, policy); the last computed where cells disagree."""
    found: dict[tuple[str, str], tuple[float, float]] = {}
    disagree = set()
    for record in sorted(records, key=lambda r: (_started(r), r.cell.key)):
        if record.truth is None:
            continue
        who, truth = (record.cell.task, record.cell.policy), (record.truth, record.truth_stderr or 0.0)
        if found.get(who, truth) != truth:
            disagree.add(who)
        found[who] = truth
    notes = [
        f"{t}: cells disagree about the true value of {p}; all were scored against the latest"
        for t, p in sorted(disagree)
    ]
    return found, notes


def _board(records: list[Record], truths: dict[tuple[str, str], tuple[float, float]], replicates: Replicates) -> Board:
    first = records[0].cell
    policies = tuple(sorted({r.cell.policy for r in records}))
    seeds = tuple(sorted({r.cell.seed for r in records}))
    sweep = {r.cell.policy for r in records if EPSILON_SWEEP in r.policy_tags}
    known = np.array([truths[first.task, p] for p in policies])
    by_spec: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_spec[record.spec].append(record)
    drawn = {r.cell.key: replicates(r) for r in records if r.status == "done"}
    size = min(map(len, drawn.values()), default=1)  # one column, one resample: for all rows alike
    drawn = {key: np.where(np.isfinite(values[:size]), values[:size], np.nan) for key, values in drawn.items()}
    rows = {spec: _row(spec, group, policies, seeds, drawn, size) for spec, group in sorted(by_spec.items())}
    return Board(
        task=first.task,
        log=first.log,
        n=first.n_trajectories,
        policies=policies,
        seeds=seeds,
        sweep=np.array([p in sweep for p in policies]),
        truth=known[:, 0],
        stderr=known[:, 1],
        rows=rows,
    )


def _row(
    spec: str,
    records: list[Record],
    policies: tuple[str, ...],
    seeds: tuple[int, ...],
    drawn: Mapping[str, np.ndarray],
    size: int,
) -> Row:
    shape = (len(seeds), len(policies))
    cells = [((seeds.index(r.cell.seed), policies.index(r.cell.policy)), r) for r in records]
    resampled = np.full((*shape, size), np.nan)
    status = np.full(shape, "missing", dtype="<U11")
    sampling, on_gpu = np.zeros((2, *shape), dtype=bool)
    for i, record in cells:
        on_gpu[i] = record.on_gpu
        status[i], sampling[i] = record.status, record.interval == "sampling"
        resampled[i] = drawn.get(record.cell.key, np.nan)

    def numbers(read: Callable[[Record], float | None]) -> np.ndarray:
        array = np.full(shape, np.nan)
        for i, record in cells:
            value = read(record) if record.status == "done" else None
            array[i] = np.nan if value is None else value
        return array

    return Row(
        spec=spec,
        name=records[0].cell.estimator,
        family=records[-1].family,
        status=status,
        value=numbers(lambda r: r.value),
        low=numbers(lambda r: r.ci_low),
        high=numbers(lambda r: r.ci_high),
        sampling=sampling,
        replicates=resampled,
        fit_seconds=numbers(lambda r: r.training_seconds),
        prepare_seconds=numbers(lambda r: r.preparation_seconds),
        estimate_seconds=numbers(lambda r: r.estimate_seconds),
        memory_mb=numbers(lambda r: r.peak_memory_mb),
        ess=numbers(lambda r: r.diagnostics.get("ess")),
        on_gpu=on_gpu,
        notes=tuple(sorted(Counter(r.note for r in records if r.note).items())),
        reasons=tuple(
            (status, reason, count)
            for (status, reason), count in sorted(
                Counter((r.status, r.reason) for r in records if r.status != "done").items()
            )
        ),
    )
