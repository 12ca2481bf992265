"""Worker processes: all jobs are done, and stopping half-way leaves nothing behind, no noise either."""

from __future__ import annotations

import functools
import threading
import time

import pytest

from bench.executors import run_jobs


def slow_square(x: int, seconds: float) -> int:
    time.sleep(seconds)
    return x * x


@pytest.mark.parametrize("backend", ["serial", "loky"])
def test_every_job_is_done_once(backend):
    work = functools.partial(slow_square, seconds=0.0)
    assert sorted(run_jobs(work, range(30), backend, 2)) == [x * x for x in range(30)]


def test_stopping_with_jobs_in_the_queue_raises_in_no_thread(monkeypatch):
    """loky's own thread dies of a KeyError if its workers are killed while it holds jobs it has not handed out."""
    raised = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    for seconds in (0.0, 0.01, 0.02):
        results = run_jobs(functools.partial(slow_square, seconds=seconds), range(200), "loky", 1)
        for _ in range(3):
            next(results)
        results.close()
    assert not raised
