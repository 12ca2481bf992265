"""How long does it take to find out that a leaderboard is finished? At most 5 seconds, interpreter included.

Fills a temporary results folder with placeholder records for every cell of the published grid, then runs the front door
on it: what is measured is starting, importing, planning and reading, and nothing is computed.

    python -m benchmarks.rerun_finished
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench import registry
from bench.cells import Record
from bench.errors import DataError
from bench.plan import Selection, plan
from bench.provenance import take_provenance
from bench.store import Store

ROOT = Path(__file__).resolve().parent.parent
LIMIT_SECONDS = 5.0
REPEATS = 3


def ready_tasks() -> list[str]:
    """Tasks that have their recording; the others are named."""
    ready = []
    for name in registry.task_names():
        try:
            registry.task(name).targets()
            ready.append(name)
        except DataError as error:
            print(f"left out: {error}")
    return ready


def fill(store: Store, tasks: list[str]) -> int:
    """Stores a placeholder for every cell; returns how many there are."""
    provenance, replicates, count = take_provenance(), np.zeros(400), 0
    for job in plan(Selection("published", tuple(tasks))):
        for cell in job.cells:
            record = Record(cell=cell, spec=job.spec, status="done", value=0.0, provenance=provenance)
            record.diagnostics = {f"ess_turn_{2**k}": 0.5 for k in range(10)}
            store.save(record, replicates)
            count += 1
    return count


def measure(arguments: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of one call of the front door; the call must compute nothing."""
    begun, used = time.perf_counter(), _children_seconds()
    command = [sys.executable, "run_bench.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    elapsed = time.perf_counter() - begun
    if "0 to compute" not in done.stdout:
        raise SystemExit(f"the placeholders do not cover the grid:\n{done.stdout}")
    return elapsed, _children_seconds() - used


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    """Prints the measurement; exit code 1 where the limit is exceeded."""
    with tempfile.TemporaryDirectory(prefix="bench-rerun-") as folder:
        tasks = ready_tasks()
        count = fill(Store(Path(folder)), tasks)
        arguments = ["run", "--profile", "published", "--results", folder, *(f"--task={task}" for task in tasks)]
        measure(arguments)  # writes truth, warms the caches of the system
        times = [measure(arguments) for _ in range(REPEATS)]
    print(f"{count} finished cells on {', '.join(tasks)}:")
    wall, processor = (min(column) for column in zip(*times, strict=True))
    print(
        f"{wall:.2f} s at best of {REPEATS}, of which {processor:.2f} s on the processor (limit {LIMIT_SECONDS:.0f} s)"
    )
    return int(wall > LIMIT_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
