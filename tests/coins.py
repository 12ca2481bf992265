"""A task of a few milliseconds for tests of the machinery: call coins, some of which are biased."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from bench.data import LoggedDataset, Step, Trajectory
from bench.errors import UnknownNameError, UnsupportedError
from bench.rng import rng_for
from bench.task import GroundTruth, PolicyCard, Task, TaskCard

HEADS = {"bold": 0.9, "fair": 0.5, "shy": 0.2, "logger": 0.6, "unmeasured": 0.7}
TARGETS = ("bold", "fair", "shy", "unmeasured")
INSTANCES = ("copper", "silver", "gold")


class Caller:
    """Calls heads with a fixed probability."""

    def __init__(self, name: str):
        self.name = name

    def log_prob_episodes(self, trajectories: Sequence[Trajectory]) -> list[np.ndarray]:
        """See `Policy`."""
        heads = HEADS[self.name]
        return [np.log([heads if s.action == "heads" else 1 - heads for s in t.steps]) for t in trajectories]

    def next_actions(self, trajectories, n, seed):
        """See `Policy`."""
        return [[("heads",) * n for _ in t.steps] for t in trajectories]

    def start(self, goals, seeds):
        """See `Policy`."""
        raise NotImplementedError


@functools.cache
def coin_log(name: str) -> LoggedDataset:
    """3,000 episodes of one to three calls."""
    rng = rng_for("coins", name)
    episodes = []
    for i in range(3000):
        heads = rng.random(1 + i % 3) < HEADS["logger"]
        steps = tuple(
            Step(
                "a coin",
                "heads" if h else "tails",
                float(rng.random() < 0.6) / 3,
                None,
                float(np.log(0.6 if h else 0.4)),
            )
            for h in heads
        )
        episodes.append(Trajectory(f"{name}/{i}", INSTANCES[i % 7 % 3], "call it", steps, None, True, False, "logger"))
    return LoggedDataset("coins", ("logger",), 1.0, 3, tuple(episodes))


class Coins(Task):
    """Call coins."""

    card = TaskCard("call coins", 3, 1.0, (0.0, 1.0), False, "coins 1", "tests/coins.py", "that of this repository")

    def logs(self) -> tuple[str, ...]:
        return ("pooled", "far")

    def log(self, name: str) -> LoggedDataset:
        return coin_log(name)

    def log_size(self, name: str) -> int:
        return 3000

    def log_fingerprint(self, name: str) -> str:
        return f"coins-{name}"

    def targets(self) -> tuple[PolicyCard, ...]:
        return tuple(PolicyCard(n, f"heads {HEADS[n]:.0%} of the time", epsilon_sweep=n == "fair") for n in TARGETS)

    def policy(self, name: str) -> Caller:
        if name not in HEADS:
            raise UnknownNameError("policy of coins", name, HEADS)
        return Caller(name)

    def truth(self, policy: str) -> GroundTruth:
        if policy == "unmeasured":
            raise UnsupportedError("nobody has played it")
        rng = rng_for("coins truth", policy)
        return GroundTruth(policy, rng.random(30) * HEADS[policy], np.arange(30) % 3, "coins 1")

    def instances(self) -> Sequence[str]:
        return INSTANCES
