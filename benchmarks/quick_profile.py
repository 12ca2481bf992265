"""What `make bench` costs after installation: minutes and memory of the quick profile and its report, in a new folder.

    python -m benchmarks.quick_profile [what `run_bench.py run` takes: --task, --estimator, --workers, ...]

Exit code 1 if it takes more than 10 minutes or its processes ever hold 4 GB together (proportional set size: what they
share counts once).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

MINUTES, GB = 10.0, 4.0
ROOT = Path(__file__).resolve().parent.parent


def family(root: int) -> list[int]:
    """A process and all its descendants."""
    children = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = stat.read_text().rpartition(")")[2].split()[1]
        except OSError:  # it has ended
            continue
        children[int(parent)].append(int(stat.parent.name))
    found = [root]
    for pid in found:  # grows while it is walked
        found += children[pid]
    return found


def held_mb(pids: Sequence[int]) -> float:
    """Memory that these processes hold together."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def measured(command: Sequence[str]) -> tuple[int, float]:
    """Runs a command; returns its exit code and the most memory it held, in MB."""
    process, peak = subprocess.Popen([sys.executable, "run_bench.py", *command], cwd=ROOT), 0.0
    while process.poll() is None:
        peak = max(peak, held_mb(family(process.pid)))
        time.sleep(0.5)
    return process.returncode, peak


def main(arguments: Sequence[str]) -> int:
    """Runs and reports; returns the exit code."""
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="quick-") as folder:
        steps = (["run", "--profile", "quick", "--results", folder, *arguments], ["report", "--results", folder])
        codes, peaks = zip(*map(measured, steps), strict=True)
    minutes, peak = (time.perf_counter() - begun) / 60, max(peaks) / 1024
    print(f"\n{minutes:.1f} minutes (target <= {MINUTES:g}), {peak:.2f} GB (target < {GB:g})")
    return int(any(codes) or minutes > MINUTES or peak >= GB)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
