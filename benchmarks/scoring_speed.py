"""Scoring a log under a policy: one forward pass per episode against a naive `model(prompt + action)` call per step.

    python benchmarks/scoring_speed.py [--episodes N]

Both compute the log-probability of every logged action of the same episodes under the same recorded agent, on one
thread; they must agree, and the ratio of their times must be at least 5. Prints the share of the machine's measured
matrix-product rate that scoring reaches, too. Exit code 1 if the ratio is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from bench.agents.language_model import LanguageModel, sampling_log_probs
from bench.data import Trajectory
from bench.registry import task

TARGET = 5.0


def naive(lm: LanguageModel, trajectories: Sequence[Trajectory]) -> list[np.ndarray]:
    """What a loop over steps does: the whole transcript anew for every action."""
    found = []
    for trajectory in trajectories:
        encoded = lm.transcript.episode(trajectory)
        values = []
        for start, stop in encoded.spans:
            ids = torch.tensor([encoded.ids[:stop]])
            with torch.inference_mode():
                logits = lm.model(ids).logits[0, start - 1 : stop - 1]
            logp = sampling_log_probs(logits, 1.0, torch.arange(stop - start) == 0)
            values.append(float(logp.gather(-1, ids[0, start:stop, None]).double().sum()))
        found.append(np.array(values))
    return found


def timed(work: Callable[[], list[np.ndarray]]) -> tuple[np.ndarray, float]:
    """Result and the faster of two runs, in seconds."""
    seconds = []
    for _ in range(2):
        begun = time.perf_counter()
        values = np.concatenate(work())
        seconds.append(time.perf_counter() - begun)
    return values, min(seconds)


def matmul_rate() -> float:
    """Measured floating-point operations per second of a large single-precision matrix product on one thread."""
    a = torch.randn(1024, 1024)
    best = 0.0
    for _ in range(5):
        begun = time.perf_counter()
        a @ a
        best = max(best, 2 * 1024**3 / (time.perf_counter() - begun))
    return best


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=64)
    episodes = parser.parse_args().episodes
    torch.set_num_threads(1)
    science = task("scienceworld")
    trajectories = science.log("pooled").subset(episodes, 0).trajectories
    policy = science.live_policy(science.cards[science.targets()[0].name])
    lm = policy.lm
    slow, slow_seconds = timed(lambda: naive(lm, trajectories))
    fast, fast_seconds = timed(lambda: [x[0] for x in lm.action_log_probs(trajectories, [1.0])])
    gap = float(np.abs(slow - fast).max())
    tokens = sum(len(lm.transcript.episode(t).ids) for t in trajectories)
    weights = sum(p.numel() for name, p in lm.model.named_parameters() if "embed" not in name)
    ratio = slow_seconds / fast_seconds
    print(
        f"{episodes} episodes, {len(fast)} actions, {tokens} tokens, "
        f"agent {policy.name} ({weights / 1e6:.2f} M weights)"
    )
    print(f"naive loop     {slow_seconds:8.2f} s")
    print(f"one pass each  {fast_seconds:8.2f} s   {ratio:.1f} x   target >= {TARGET:g} x")
    print(f"largest difference of a log-probability: {gap:.1e}")
    print(
        f"matrix products: {2 * weights * tokens / fast_seconds / matmul_rate():.0%} of the measured peak of one thread"
    )
    return int(ratio < TARGET or gap > 1e-3)


if __name__ == "__main__":
    sys.exit(main())
