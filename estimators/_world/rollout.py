"""Plays the policy under evaluation inside a world model: the Monte-Carlo value and what went on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.data import Step, Trajectory
from bench.policy import Observation, Policy, SoftObservation
from estimators._world.world import Start, World


SIMULATED = "simulated"
"""Name of the logger of simulated episodes."""


@dataclass(frozen=True)
class Simulation:
    """N simulated episodes.

    Attributes:
        instances: (N,) code of the instance each began in.
        returns: (N,) discounted. lengths: (N,) steps. ended: (N,) bool, the model ended it before the step limit.
        starts: where each began. episodes: for each its (observation, action, reward) steps.
        diagnostics, note: of the world.
    """

    instances: np.ndarray
    returns: np.ndarray
    lengths: np.ndarray
    ended: np.ndarray
    starts: Sequence[Start]
    episodes: list[list[tuple[str, str, float]]]
    diagnostics: dict[str, float]
    note: str

    def trajectories(self) -> list[Trajectory]:
        """The episodes as if they had been logged, by the logger "simulated"; they know no propensities."""
        return [
            Trajectory(
                f"simulated {i}", s.instance, s.goal, tuple(Step(*step) for step in steps), None, bool(end), not end, SIMULATED
            )
            for i, (s, steps, end) in enumerate(zip(self.starts, self.episodes, self.ended, strict=True))
        ]


def simulate(
    world: World, policy: Policy, starts: Sequence[Start], horizon: int, gamma: float, rng: np.random.Generator
) -> Simulation:
    """Alternates agent and world model, all episodes in one batch, until every episode is over or at the step limit."""
    n = len(starts)
    seeds = rng.integers(2**62, size=n).tolist()
    world.reset(starts, rng)
    session = policy.start([s.goal for s in starts], seeds)
    world.meet(session)
    shown: list[Observation | None] = [s.observation for s in starts]
    returns, lengths, ended = np.zeros(n), np.zeros(n, dtype=int), np.zeros(n, dtype=bool)
    episodes: list[list[tuple[str, str, float]]] = [[] for _ in starts]
    for t in range(horizon):
        decisions = session.step(shown)
        answers = world.step([None if d is None else d.action for d in decisions])
        for i, (decision, answer) in enumerate(zip(decisions, answers, strict=True)):
            if decision is None:
                continue
            episodes[i].append((_words(shown[i]), decision.action, answer.reward))
            returns[i] += gamma**t * answer.reward
            lengths[i] += 1
            ended[i] = answer.ended
            shown[i] = None if answer.ended else answer.observation
        if ended.all():
            break
    _, instances = np.unique([s.instance for s in starts], return_inverse=True)
    return Simulation(instances, returns, lengths, ended, starts, episodes, world.diagnostics(), world.note)


def _words(observation: Observation) -> str:
    return observation.text if isinstance(observation, SoftObservation) else observation
