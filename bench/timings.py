"""How long the rest will take and how much memory it needs, from the timings stored with finished cells."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from tabulate import tabulate

from bench.cells import Record
from bench.plan import Job


@dataclass(frozen=True)
class Timing:
    """What one estimator needed on one task with `n` episodes: medians of seconds, for the fit and for each policy,
    largest memory in MB; and whether all that is known was trained on a GPU."""

    n: int
    fit_seconds: float
    policy_seconds: float
    peak_memory_mb: float
    on_gpu: bool


@dataclass(frozen=True)
class Cost:
    """Predicted cost of a job. `basis` says what the prediction stands on."""

    seconds: float
    peak_memory_mb: float
    basis: str
    on_gpu: bool


Timings = dict[tuple[str, str], list[Timing]]
"""(task, spec) to the timings at each log size that was run."""


def collect_timings(records: Iterable[Record]) -> Timings:
    """Medians of what is stored, without trainings on a GPU where there are others; unsupported cells cost nothing,
    failed ones say nothing."""
    groups: dict[tuple[str, str, int], list[Record]] = defaultdict(list)
    for record in records:
        if record.status != "failed":
            groups[record.cell.task, record.spec, record.cell.n_trajectories].append(record)
    timings: Timings = defaultdict(list)
    for (task, spec, n), group in sorted(groups.items()):
        done = [record for record in group if record.status == "done"]
        on_cpu = [record for record in done if not record.on_gpu]
        on_gpu, done = bool(done) and not on_cpu, on_cpu or done
        fit = [seconds for record in done if (seconds := record.training_seconds) is not None]
        each = [r.estimate_seconds + (r.preparation_seconds or 0) for r in done if r.estimate_seconds is not None]
        memory = [record.peak_memory_mb for record in done if record.peak_memory_mb is not None]
        timings[task, spec].append(
            Timing(n, median(fit) if fit else 0.0, median(each) if each else 0.0, max(memory, default=0.0), on_gpu)
        )
    return timings


def predict(job: Job, timings: Timings) -> Cost | None:
    """Cost of a job, scaled linearly from the nearest log size that was timed; None where none was."""
    known = timings.get((job.task, job.spec))
    if not known:
        return None
    nearest = min(known, key=lambda timing: abs(math.log(timing.n / job.n)))
    scale = job.n / nearest.n
    seconds = scale * (nearest.fit_seconds + nearest.policy_seconds * len(job.cells))
    basis = "timed" if nearest.n == job.n else f"scaled from n={nearest.n}"
    basis += ", trained on a GPU" if nearest.on_gpu else ""
    return Cost(seconds, nearest.peak_memory_mb, basis, nearest.on_gpu)


def forecast(jobs: Sequence[Job], records: Iterable[Record], workers: int) -> str:
    """A table by task and estimator, and one paragraph that says what to expect and what is not known."""
    if not jobs:
        return "Nothing to do: every cell of this selection is stored."
    timings = collect_timings(records)
    costs = [(job, predict(job, timings)) for job in jobs]
    known = [cost for _, cost in costs if cost is not None]
    return f"{_table(costs)}\n\n{_total(jobs, known, workers)}{_unknown(costs)}"


def _table(costs: Sequence[tuple[Job, Cost | None]]) -> str:
    groups: dict[tuple[str, str], list[tuple[Job, Cost | None]]] = defaultdict(list)
    for job, cost in costs:
        groups[job.task, job.spec].append((job, cost))
    rows = []
    for (task, spec), group in groups.items():
        cells = sum(len(job.cells) for job, _ in group)
        group_costs = [cost for _, cost in group if cost is not None]
        if group_costs:
            seconds, memory = sum(c.seconds for c in group_costs), max(c.peak_memory_mb for c in group_costs)
            basis = ", ".join(sorted({c.basis for c in group_costs}))
            rows.append([task, spec, len(group), cells, duration(seconds), f"{memory:.0f} MB", basis])
        else:
            rows.append([task, spec, len(group), cells, "?", "?", "no timing yet"])
    headers = ["task", "estimator", "fits", "cells", "core time", "memory", "basis"]
    return tabulate(rows, headers=headers, disable_numparse=True)


def _total(jobs: Sequence[Job], known: Sequence[Cost], workers: int) -> str:
    cells = sum(len(job.cells) for job in jobs)
    text = f"{cells} cells in {len(jobs)} fits are missing."
    if known:
        core = sum(cost.seconds for cost in known)
        wall = max(core / workers, max(cost.seconds for cost in known))
        memory = max(cost.peak_memory_mb for cost in known)
        text += f" Expect {duration(wall)} with {workers} worker(s) ({core / 3600:.3g} core hours) and up to "
        text += f"{memory:.0f} MB per worker."
        if any(cost.on_gpu for cost in known):
            text += " Trainings that are known from a GPU alone take several times as long on a CPU."
    return text


def _unknown(costs: Sequence[tuple[Job, Cost | None]]) -> str:
    unknown = [job for job, cost in costs if cost is None]
    if not unknown:
        return ""
    cells = sum(len(job.cells) for job in unknown)
    return (
        f"\nNot in this figure: {cells} cells whose estimator has no timing on its task yet. "
        "Time one with: run --task T --estimator E --policy P."
    )


def duration(seconds: float) -> str:
    """Seconds in the largest unit that keeps them readable."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
