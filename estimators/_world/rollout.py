"""Plays the policy under evaluation inside a world model: the Monte-Carlo value and what went on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.data import Step, Trajectory
from bench.policy import Observation, Policy, SoftObservation
from estimators._world.world import Start, World

TOGETHER = 50
"""Episodes played in lockstep: the agents' key-value caches of all of them are in memory at once."""
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
                f"simulated {i}",
                s.instance,
                s.goal,
                tuple(Step(*step) for step in steps),
                None,
                bool(end),
                not end,
                SIMULATED,
            )
            for i, (s, steps, end) in enumerate(zip(self.starts, self.episodes, self.ended, strict=True))
        ]


def simulate(
    world: World, policy: Policy, starts: Sequence[Start], horizon: int, gamma: float, rng: np.random.Generator
) -> Simulation:
    """Alternates agent and world model until every episode is over or at the step limit.

    Args:
        world: newly made; its diagnostics tell of everything it did.
    """
    seeds = rng.integers(2**62, size=len(starts)).tolist()
    episodes: list[Episode] = []
    for part in parts(len(starts)):
        episodes += _play(world, policy, starts[part], seeds[part], horizon, rng)
    return simulation(starts, episodes, horizon, gamma, world.diagnostics(), world.note)


@dataclass
class Episode:
    """One episode being played: its (observation, action, reward) steps, and whether the model ended it."""

    steps: list[tuple[str, str, float]] = field(default_factory=list)
    ended: bool = False


def parts(n: int) -> list[slice]:
    """Which of n episodes are played together."""
    return [slice(first, first + TOGETHER) for first in range(0, n, TOGETHER)]


def simulation(
    starts: Sequence[Start],
    episodes: Sequence[Episode],
    horizon: int,
    gamma: float,
    diagnostics: dict[str, float],
    note: str = "",
) -> Simulation:
    """What is known of played episodes."""
    rewards = np.zeros((len(starts), horizon))
    for row, episode in zip(rewards, episodes, strict=True):
        row[: len(episode.steps)] = [reward for _, _, reward in episode.steps]
    _, instances = np.unique([s.instance for s in starts], return_inverse=True)
    return Simulation(
        instances=instances,
        returns=rewards @ gamma ** np.arange(horizon),
        lengths=np.array([len(episode.steps) for episode in episodes]),
        ended=np.array([episode.ended for episode in episodes]),
        starts=starts,
        episodes=[episode.steps for episode in episodes],
        diagnostics=diagnostics,
        note=note,
    )


def _play(
    world: World, policy: Policy, starts: Sequence[Start], seeds: Sequence[int], horizon: int, rng: np.random.Generator
) -> list[Episode]:
    """Some of the episodes, in lockstep."""
    world.reset(starts, rng)
    session = policy.start([s.goal for s in starts], seeds)
    world.meet(session)
    shown: list[Observation | None] = [s.observation for s in starts]
    episodes = [Episode() for _ in starts]
    for _ in range(horizon):
        decisions = session.step(shown)
        answers = world.step([None if d is None else d.action for d in decisions])
        for i, (episode, decision, answer) in enumerate(zip(episodes, decisions, answers, strict=True)):
            if decision is not None:
                episode.steps.append((_words(shown[i]), decision.action, answer.reward))
                episode.ended = answer.ended
                shown[i] = None if answer.ended else answer.observation
        if all(episode.ended for episode in episodes):
            break
    return episodes


def _words(observation: Observation) -> str:
    return observation.text if isinstance(observation, SoftObservation) else observation
