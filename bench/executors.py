"""Where jobs run: in this process, or on local worker processes. Both give the same numbers, bit for bit."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeVar

import joblib
from threadpoolctl import threadpool_limits

J = TypeVar("J")
R = TypeVar("R")
Backend = Literal["serial", "loky"]


@contextmanager
def one_thread() -> Iterator[None]:
    """Holds BLAS, OpenMP and torch to one thread: results stop depending on the core count, workers stop fighting."""
    torch = sys.modules.get("torch")  # an estimator's choice; never imported here
    before = torch.get_num_threads() if torch else 1
    with threadpool_limits(limits=1):
        try:
            if torch:
                torch.set_num_threads(1)
            yield
        finally:
            if torch:
                torch.set_num_threads(before)


def resolve_workers(backend: Backend, workers: int | None) -> int:
    """Number of processes that compute: as asked, one for `serial`, else one per available core."""
    return 1 if backend == "serial" else (workers or joblib.cpu_count())


def run_jobs(work: Callable[[J], R], jobs: Sequence[J], backend: Backend, workers: int) -> Iterator[R]:
    """Yields the results as they finish; `work` and the jobs must survive pickling.

    Raises:
        joblib.externals.loky.process_executor.TerminatedWorkerError: the system killed a worker.
    """
    if backend == "serial":
        yield from map(work, jobs)
        return
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        parallel = joblib.Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1, pre_dispatch=workers)
        yield from parallel(joblib.delayed(functools.partial(_in_worker, work))(job) for job in jobs)


def _in_worker(work: Callable[[J], R], job: J) -> R:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what it means
    return work(job)
