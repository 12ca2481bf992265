"""Computes cells: one job is one fit and the policies it judges. The only place where an estimator may fail quietly."""

from __future__ import annotations

import functools
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np
from joblib.externals.loky.process_executor import TerminatedWorkerError

from bench import material, registry
from bench.cells import Cell, Provenance, Record
from bench.data import LoggedDataset
from bench.errors import BenchError, UnsupportedError
from bench.estimator import Estimate, Estimator
from bench.executors import Backend, one_thread, run_jobs
from bench.peak_memory import peak_mb, reset_peak
from bench.plan import Job
from bench.policy import Policy
from bench.progress import Progress, announce
from bench.provenance import source_hash
from bench.rng import rng_for
from bench.stats import bootstrap, percentile_interval
from bench.store import Store
from bench.task import GroundTruth, Task

UNDEFINED_SHARE = 0.025
"""With more undefined resamples than one tail of the interval holds, the interval itself is undefined."""

KILLED = "the system killed a worker process while this cell was in flight; most often memory ran out: try --workers 1"


@dataclass(frozen=True)
class Outcome:
    """What the runner prints at the end."""

    counts: dict[str, int]
    interrupted: bool = False


def run(jobs: Sequence[Job], results: Path, provenance: Provenance, backend: Backend, workers: int) -> Outcome:
    """Computes and stores the cells of `jobs`, showing progress. Ctrl-C ends it early and leaves what is finished.

    A worker that the system kills costs the cells in flight, which become failed records; the rest goes on.

    Raises:
        StoreError: results cannot be written.
        DataError: a log cannot be used.
    """
    store = Store(results)
    store.check_writable()
    store.sweep()
    sources = {spec: source_hash(registry.parse_spec(spec)[0]) for spec in {job.spec for job in jobs}}
    waiting = dict(enumerate(jobs))
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        events = Path(folder) / "events.jsonl"
        work = functools.partial(
            _run_numbered, results=store.results, provenance=provenance, sources=sources, events=events
        )
        interrupted = False
        with Progress(sum(len(job.cells) for job in jobs), events) as progress:
            try:
                while waiting:
                    try:
                        for index in run_jobs(work, list(waiting.items()), backend, min(workers, len(waiting))):
                            del waiting[index]
                    except TerminatedWorkerError:
                        _give_up(waiting, progress, store, provenance, events)
            except KeyboardInterrupt:
                interrupted = True
        if interrupted:
            store.sweep(older_than=0.0)
        return Outcome(dict(progress.counts), interrupted)


def _give_up(waiting: dict[int, Job], progress: Progress, store: Store, provenance: Provenance, events: Path) -> None:
    """After a worker was killed: records the jobs in flight as failed, leaves in `waiting` what nobody has begun."""
    progress.read()
    if not progress.in_flight:
        raise BenchError(
            "worker processes are killed as soon as they start; most often memory ran out. Try --backend serial."
        )
    for index in progress.ended & set(waiting):
        del waiting[index]
    for index in sorted(progress.in_flight):
        job = waiting.pop(index)
        for cell in job.cells:
            if cell.key not in progress.finished:
                store.save(Record(cell=cell, spec=job.spec, status="failed", reason=KILLED, provenance=provenance))
                announce(events, what="stored", key=cell.key, status="failed")
        announce(events, what="end", job=index)
    progress.read()


def _run_numbered(
    item: tuple[int, Job], results: Path, provenance: Provenance, sources: dict[str, str], events: Path
) -> int:
    index, job = item
    announce(events, what="job", job=index)
    run_job(job, Store(results), provenance.model_copy(update={"source": sources[job.spec]}), events)
    announce(events, what="end", job=index)
    return index


def run_job(job: Job, store: Store, provenance: Provenance, events: Path = Path(os.devnull)) -> None:
    """Fits once, judges each policy of the job and stores a record for each as soon as it is known."""
    block = (job.task, job.log, job.n, job.seed)
    task = material.task(job.task)
    judge = Judge(registry.make_estimator(job.spec), material.block(*block), block, job.spec)
    with one_thread():
        for cell in job.cells:
            announce(events, what="cell", label=job.label(cell.policy))
            record, replicates = attempt(judge, cell, functools.partial(material.policy, *block, cell.policy))
            _add_truth(record, task)
            record.provenance = provenance
            store.save(record, replicates)
            announce(events, what="stored", key=cell.key, status=record.status)


@dataclass
class Judge:
    """One estimator on one block of a log. It is fitted when the first policy needs it, and never twice.

    Random streams are named, so nothing depends on the order of execution. The policy is left out of the names: all
    policies meet the same simulation noise, all estimators the same resamples, and comparisons are paired.
    """

    estimator: Estimator
    data: LoggedDataset
    block: tuple[str, str, int, int]
    spec: str
    fit_seconds: float | None = field(default=None, init=False)
    fit_peak_mb: float = field(default=0.0, init=False)
    fit_error: Exception | None = field(default=None, init=False)
    fit_traceback: TracebackType | None = field(default=None, init=False)

    def estimate(self, policy: Policy) -> Estimate:
        """The estimate of a policy, from the one fit.

        Raises:
            UnsupportedError: the estimator declines; the message is its reason.
        """
        return self.estimator.estimate(policy, rng_for("estimate", *self.block))

    def prepare(self, policy: Policy) -> None:
        """Asks whether the estimator can judge the policy, and fits it if that has not been done."""
        reason = self.estimator.unsupported(self.data, policy)
        if reason:
            raise UnsupportedError(reason)
        if self.fit_seconds is None and self.fit_error is None:
            self._fit()
        if self.fit_error is not None:
            raise self.fit_error.with_traceback(self.fit_traceback)

    def replicates(self, estimate: Estimate) -> tuple[np.ndarray, str]:
        """(B,) bootstrap values and a note."""
        rng = rng_for("bootstrap", *self.block)
        return bootstrap(estimate, rng, fixed_instances=self.data.fixed_instances)

    def _fit(self) -> None:
        reset_peak()
        begun = time.perf_counter()
        try:
            self.estimator.fit(self.data, rng_for("fit", *self.block, self.spec))
            self.fit_seconds = time.perf_counter() - begun
        except Exception as error:  # remembered: every policy of the job meets it at its own cell boundary
            self.fit_error, self.fit_traceback = error, error.__traceback__
        self.fit_peak_mb = peak_mb()


def attempt(judge: Judge, cell: Cell, load: Callable[[], Policy]) -> tuple[Record, np.ndarray | None]:
    """The cell boundary: whatever happens inside, loading the policy included, becomes a record.

    Returns:
        The record and (B,) bootstrap values; None unless it is done.
    """
    record = Record(cell=cell, spec=judge.spec, status="done", family=judge.estimator.family)
    replicates = None
    try:
        policy = load()
        judge.prepare(policy)
        reset_peak()
        begun = time.perf_counter()
        judge.estimator.prepare(policy)
        prepared = time.perf_counter()
        replicates = _fill(record, judge, policy)
        record.prepare_seconds, record.estimate_seconds = prepared - begun, time.perf_counter() - prepared
        record.peak_memory_mb = round(max(judge.fit_peak_mb, peak_mb()), 1)
    except UnsupportedError as error:
        record.status, record.reason = "unsupported", str(error)
    except Exception:
        record.status, record.reason = "failed", traceback.format_exc()
    record.fit_seconds = judge.fit_seconds
    return record, replicates


def _fill(record: Record, judge: Judge, policy: Policy) -> np.ndarray:
    """Estimate, interval, diagnostics and notes; returns (B,) bootstrap values. Fills the whole record or nothing."""
    estimate = judge.estimate(policy)
    value = estimate.value
    if not np.isfinite(value):
        raise ArithmeticError(
            f"the estimate is {value}; an estimator must return a finite number or raise UnsupportedError"
        )
    replicates, note = judge.replicates(estimate)
    defined = replicates[np.isfinite(replicates)]
    undefined = len(replicates) - len(defined)
    notes = [estimate.note, note]
    if undefined:
        notes.append(f"{undefined} of {len(replicates)} resamples leave the estimator undefined")
    diagnostics = {k: float(v) if np.isfinite(v) else None for k, v in estimate.diagnostics.items()}
    if undefined <= UNDEFINED_SHARE * len(replicates):
        record.ci_low, record.ci_high = percentile_interval(defined)
    record.value, record.interval, record.diagnostics = value, estimate.interval, diagnostics
    record.note = "; ".join(filter(None, notes))
    return np.where(np.isfinite(replicates), replicates, np.nan)


def _add_truth(record: Record, task: Task) -> None:
    """Joined after the estimate is made; a policy whose truth nobody has measured keeps None."""
    card = next(card for card in task.targets() if card.name == record.cell.policy)
    record.policy_tags = ["epsilon_sweep"] if card.epsilon_sweep else []
    truth = _truth(task, record.cell.policy)
    if truth is not None:
        record.truth, record.truth_stderr, record.truth_episodes = truth.mean, truth.stderr, truth.episodes


def _truth(task: Task, policy: str) -> GroundTruth | None:
    try:
        return task.truth(policy)
    except UnsupportedError:
        return None


def keep_truth(task_name: str, store: Store) -> None:
    """Writes the on-policy returns of all targets of a task beside its cells, for the report."""
    task = registry.task(task_name)
    truths = (_truth(task, card.name) for card in task.targets())
    store.save_truth(task_name, (truth for truth in truths if truth is not None))
