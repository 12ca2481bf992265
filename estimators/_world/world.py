"""A world model as an environment: batched episodes that an agent plays, without the real thing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.data import LoggedDataset
from bench.policy import Observation, PolicySession


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


def starts_of(data: LoggedDataset, n: int, rng: np.random.Generator) -> list[Start]:
    """`n` logged beginnings, every instance in turn, each time a random one of its episodes."""
    of_instance: dict[str, list[Start]] = {}
    for t in data.trajectories:
        of_instance.setdefault(t.instance, []).append(Start(t.instance, t.goal, t.steps[0].observation))
    order = rng.permutation(sorted(of_instance)).tolist()
    chosen = [of_instance[order[k % len(order)]] for k in range(n)]
    return [options[int(rng.integers(len(options)))] for options in chosen]
