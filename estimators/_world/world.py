"""A world model as an environment: batched episodes that an agent plays, without the real thing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.data import LoggedDataset
from bench.errors import BenchError
from bench.policy import Observation, PolicySession

LONGEST = 255
"""Steps that the history of a latent world model can hold."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where a simulated episode begins: a logged first observation."""

    instance: str
    goal: str
    observation: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a simulated step brings: the next observation as the agent is to read it, the reward, and whether the
    episode is over."""

    observation: Observation
    reward: float
    ended: bool


class World(ABC):
    """A batch of simulated episodes in lockstep.

    Attributes:
        note: what a reader of its results must know; empty if nothing.
    """

    note: str = ""

    @abstractmethod
    def reset(self, starts: Sequence[Start], rng: np.random.Generator) -> None:
        """Begins one episode per start."""

    @abstractmethod
    def step(self, actions: Sequence[str | None]) -> list[Answer | None]:
        """Answers one action per episode; None for episodes that are over, for good."""

    def meet(self, session: PolicySession) -> None:  # noqa: B027 (most worlds have nothing to ask)
        """Introduces the agent that plays, before the first step; only guided worlds ask it anything."""

    def diagnostics(self) -> dict[str, float]:
        """What the simulation should be judged by: all episodes since the world was made."""
        return {}


def answered(data: LoggedDataset) -> LoggedDataset:
    """The log without last steps of which nobody knows what they led to: those of episodes that were cut off before the
    environment answered. The observation before such a step becomes the final one; terminated episodes stay.

    Raises:
        BenchError: nothing is left.
    """
    if all(t.terminated or t.final_observation is not None for t in data.trajectories):
        return data
    kept = []
    for t in data.trajectories:
        if t.terminated or t.final_observation is not None:
            kept.append(t)
        elif len(t) > 1:
            kept.append(replace(t, steps=t.steps[:-1], final_observation=t.steps[-1].observation))
    if not kept:
        raise BenchError("no logged action was answered: every episode is one step long and was cut off after it.")
    return data.with_trajectories(kept)


def starts_of(data: LoggedDataset, n: int, rng: np.random.Generator) -> list[Start]:
    """`n` logged beginnings, every instance in turn, each time a random one of its episodes."""
    of_instance: dict[str, list[Start]] = {}
    for t in data.trajectories:
        of_instance.setdefault(t.instance, []).append(Start(t.instance, t.goal, t.steps[0].observation))
    order = rng.permutation(sorted(of_instance)).tolist()
    chosen = [of_instance[order[k % len(order)]] for k in range(n)]
    return [options[int(rng.integers(len(options)))] for options in chosen]
