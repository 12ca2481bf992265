"""Worker processes of a recording."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor

import torch


def _start_worker(initializer: Callable | None, arguments: tuple) -> None:
    torch.set_num_threads(1)
    if initializer is not None:
        initializer(*arguments)


def pool(workers: int, initializer: Callable | None = None, arguments: tuple = ()) -> Executor:
    """Fresh processes (a simulator's sockets must not be shared), one compute thread each; one worker runs in this
    process."""
    if workers == 1:
        return ThreadPoolExecutor(1, initializer=_start_worker, initargs=(initializer, arguments))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(initializer, arguments)
    )
