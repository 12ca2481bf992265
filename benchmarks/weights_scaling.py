"""Weighted estimators on 100,000 episodes of 30 turns, once the log-probabilities are known: seconds, memory, growth.

    python benchmarks/weights_scaling.py

Prints one row per log size and exits with 1 if the largest takes 2 s or more, if the process ever held 1 GB or more, or
if time grows faster than the log.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import registry  # noqa: E402
from bench.data import Columns  # noqa: E402
from bench.rng import rng_for  # noqa: E402
from estimators._weights import weigh_columns  # noqa: E402

SIZES = (25_000, 50_000, 100_000)
TURNS = 30
SECONDS, MEGABYTES = 2.0, 1000.0
GROWTH = 1.5
"""Largest accepted ratio of the time per episode in the largest log to that in the smallest."""
SPECS = (
    "importance_sampling",
    "importance_sampling[self_normalized=true]",
    "importance_sampling[per_decision=true]",
    "importance_sampling[self_normalized=true,per_decision=true]",
    "importance_sampling[self_normalized=true,clip=10]",
    "control_variate",
    "control_variate[per_decision=true]",
)


def synthetic_log(episodes: int) -> tuple[Columns, np.ndarray]:
    """Episodes of `TURNS` turns, one in ten shorter, and the target's (S,) log-probabilities."""
    rng = rng_for("weights scaling", episodes)
    lengths = np.where(rng.random(episodes) < 0.1, rng.integers(1, TURNS + 1, size=episodes), TURNS)
    steps = int(lengths.sum())
    behavior = -rng.gamma(2.0, 5.0, size=steps)
    columns = Columns(
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        rewards=(rng.random(steps) < 0.05).astype(float),
        behavior_logp=behavior,
        instance=np.arange(episodes) % 50,
        instances=tuple(str(i) for i in range(50)),
        logger=np.zeros(episodes, dtype=int),
        truncated=lengths == TURNS,
    )
    return columns, np.minimum(behavior + 0.2 * rng.standard_normal(steps), 0.0)


def seconds_of(spec: str, columns: Columns, target: np.ndarray) -> float:
    """Processor time from log-probabilities to the estimate with its diagnostics, best of three."""
    estimator = registry.make_estimator(spec)
    times = []
    for _ in range(3):
        begun = time.process_time()
        value = estimator.from_weights(weigh_columns(columns, 1.0, target)).value
        times.append(time.process_time() - begun)
        assert np.isfinite(value), f"{spec} gives {value}"
    return min(times)


def main() -> int:
    """Measures, prints, and returns the exit code."""
    slowest: dict[int, float] = {}
    print(f"{'episodes':>10} {'steps':>10} {'slowest s':>10} {'us/episode':>11} {'peak MB':>8}  slowest estimator")
    for size in SIZES:
        columns, target = synthetic_log(size)
        times = {spec: seconds_of(spec, columns, target) for spec in SPECS}
        worst = max(times, key=times.__getitem__)
        slowest[size] = times[worst]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        each = 1e6 * times[worst] / size
        print(f"{size:>10,} {len(target):>10,} {times[worst]:>10.3f} {each:>11.2f} {peak:>8.0f}  {worst}")
    growth = (slowest[SIZES[-1]] / SIZES[-1]) / (slowest[SIZES[0]] / SIZES[0])
    missed = [
        text
        for text, bad in (
            (f"{slowest[SIZES[-1]]:.2f} s on the largest log, allowed {SECONDS:g}", slowest[SIZES[-1]] >= SECONDS),
            (f"peak memory {peak:.0f} MB, allowed {MEGABYTES:g}", peak >= MEGABYTES),
            (f"time per episode grows by {growth:.2f}, allowed {GROWTH:g}", growth > GROWTH),
        )
        if bad
    ]
    print("missed: " + "; ".join(missed) if missed else f"all targets met; time per episode grows by {growth:.2f}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
