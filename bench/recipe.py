"""How a task's recording is made: agents, who logs, what is measured. Plain data; `bench.collect` carries it out."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from bench.agents.cloning import CloningConfig
from bench.agents.transcript import WORDS
from bench.errors import BenchError
from bench.task import Environment, PolicyCard


@dataclass(frozen=True)
class Recipe(ABC):
    """A task's recipe. Subclasses say how to get demonstrations and a live environment.

    Attributes:
        task: its name.
        instances: the fixed evaluation list; the agents never train on them.
        step_limit: steps per episode.
        environment_version: recorded beside every number.
        policies: all agents, loggers included.
        logs: for each log the names of its loggers.
        mixes: training mixes, each one training run.
        cloning: size and training of the agents.
        vocabulary, words, max_observation_tokens: of the shared tokenizer and transcript; `words` is what the tokenizer
            takes for words (a regular expression).
        log_episodes: episodes per instance in a log, shared evenly by its loggers; one number, or one for each log.
        volumes: logs that have grown, each with those of `logs` it consists of, itself first. What was added is
            recorded like any other log, by the same loggers (`collect --log`); nothing that was there changes.
        truth_episodes: on-policy episodes per instance and target.
        next_actions: sampled next actions per logged step and target.
        masked_policy: agent of the masked-observation check.
        deterministic: answers are a function of instance and actions; what was asked before is remembered, not
            replayed.
    """

    task: ClassVar[str]
    instances: tuple[str, ...]
    step_limit: int
    environment_version: str
    policies: tuple[PolicyCard, ...]
    logs: dict[str, tuple[str, ...]]
    mixes: tuple[str, ...]
    cloning: CloningConfig
    masked_policy: str
    deterministic: bool
    vocabulary: int = 1536
    words: str = WORDS
    max_observation_tokens: int = 256
    log_episodes: int | Mapping[str, int] = 60
    truth_episodes: int = 12
    next_actions: int = 4
    volumes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self):
        for name, volumes in self.volumes.items():
            if volumes[:1] != (name,) or any(self.logs.get(v) != self.logs.get(name) for v in volumes):
                raise BenchError(
                    f"recipe of {self.task}: volumes {volumes} of log {name!r} must begin with it and be logs of the "
                    f"same loggers. Logs: {dict(self.logs)}."
                )

    @abstractmethod
    def environment(self) -> Environment:
        """A live environment; called in worker processes."""

    @abstractmethod
    def demonstrations(self, mix: str, out: Path, workers: int) -> list[Path]:
        """Makes (or finds) the JSONL demonstrations of a mix below `out`."""

    @abstractmethod
    def explore(self, goal: str, observations: Sequence[str]) -> Sequence[str]:
        """The finite action list of epsilon-mixtures."""

    def seed(self, environment: Environment, seed: int) -> None:  # noqa: B027
        """Seeds what the environment draws in its next episode; most draw nothing."""

    def repeats(self, log: str) -> int:
        """Episodes per instance of each logger of a log."""
        episodes = self.log_episodes if isinstance(self.log_episodes, int) else self.log_episodes[log]
        return episodes // len(self.logs[log])

    @property
    def loggers(self) -> tuple[str, ...]:
        """Every policy that logs."""
        return tuple(dict.fromkeys(name for names in self.logs.values() for name in names))

    @property
    def targets(self) -> tuple[PolicyCard, ...]:
        """Every policy to be evaluated."""
        return tuple(card for card in self.policies if card.name not in self.loggers)


def checkpoint(mix: str, percent: int, temperature: float = 1.0) -> PolicyCard:
    """An agent of a training mix after a share of its training."""
    sampler = "" if temperature == 1.0 else f"-t{round(100 * temperature):03d}"
    words = f"mix {mix}, {percent} % of the training, temperature {temperature:g}"
    return PolicyCard(f"{mix}-{percent:03d}{sampler}", words, f"{mix}-{percent:03d}", temperature)


def exploring(epsilon: float) -> PolicyCard:
    """The fully trained agent of mix a, mixed with uniform exploration."""
    words = f"mix a, fully trained, each action uniform over plausible ones with probability {epsilon:g}"
    return PolicyCard(f"a-100-eps{round(100 * epsilon):03d}", words, "a-100", epsilon=epsilon, epsilon_sweep=True)


ROSTER = (
    # loggers
    checkpoint("a", 35),
    checkpoint("b", 50),
    checkpoint("a", 70),
    checkpoint("b", 100, 0.4),
    # targets, from weak to strong within a mix
    checkpoint("a", 10),
    checkpoint("a", 50),
    checkpoint("a", 100),
    checkpoint("a", 100, 0.4),
    checkpoint("b", 10),
    checkpoint("b", 20),
    checkpoint("b", 70),
    checkpoint("b", 100),
    *map(exploring, (0.25, 0.5, 0.75, 1.0)),
)
"""The agents of every task: two training mixes, checkpoints from weak to strong, temperatures, an epsilon sweep."""
LOGS = {"pooled": ("a-035", "b-050", "a-070"), "far": ("b-100-t040",)}
"""Who logs: three agents in the middle of the range; one that is far from most others."""


def listed_instances(path: Path) -> tuple[str, ...]:
    """The evaluation list of an `instances.json`."""
    return tuple(one["id"] for one in json.loads(path.read_text(encoding="utf-8"))["instances"])
