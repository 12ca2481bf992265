"""Where jobs run: in this process, or on local worker processes. Both give the same numbers, bit for bit."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from itertools import islice
from typing import Literal, TypeVar

import joblib
from joblib.externals.loky import get_reusable_executor
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
    """Yields the results as they finish; `work` and the jobs must survive pickling. Closing it ends the workers.

    Raises:
        joblib.externals.loky.process_executor.TerminatedWorkerError: the system killed a worker.
    """
    if backend == "serial":
        yield from map(work, jobs)
        return
    # loky itself: joblib.Parallel would run a single job in this process, where running out of memory ends everything
    executor = get_reusable_executor(max_workers=workers, reuse=False, initializer=_ignore_interrupts)
    waiting, open_futures = iter(jobs), set[Future]()
    try:
        while True:
            # no more than loky's own queue takes in at once, see _handed_out
            open_futures |= {executor.submit(work, job) for job in islice(waiting, 2 * workers - len(open_futures))}
            if not open_futures:
                return
            finished, open_futures = wait(open_futures, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()
    finally:
        _handed_out(open_futures)
        executor.shutdown(kill_workers=True)


def _handed_out(futures: Iterable[Future], patience: float = 2.0) -> None:
    """Waits until loky's own thread has passed on every job: killing the workers while it holds some, it dies
    noisily."""
    end = time.monotonic() + patience
    while time.monotonic() < end and not all(future.running() or future.done() for future in futures):
        time.sleep(0.001)


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what it means
