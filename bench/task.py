"""What a task offers the benchmark: logs, agents under evaluation, and their true values."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from bench.data import LoggedDataset
from bench.policy import Policy


@dataclass(frozen=True)
class TaskCard:
    """What a reader must know about a task.

    Attributes:
        description: one line.
        horizon: step limit; part of the estimand.
        gamma: discount.
        return_range: smallest and largest possible return.
        deterministic: transitions are deterministic given the instance and the actions.
        environment: name and version of the environment behind the recording.
        source: where the environment comes from.
        license: of environment and recording.
    """

    description: str
    horizon: int
    gamma: float
    return_range: tuple[float, float]
    deterministic: bool
    environment: str
    source: str
    license: str


@dataclass(frozen=True)
class PolicyCard:
    """One line about a policy: what it is, and whether it belongs to the paper's epsilon sweep."""

    name: str
    description: str
    checkpoint: str = ""
    temperature: float = 1.0
    epsilon: float = 0.0
    epsilon_sweep: bool = False


@dataclass(frozen=True)
class GroundTruth:
    """On-policy returns of one policy.

    Attributes:
        policy: its name.
        returns: (m,) episode returns.
        instance: (m,) int, the task instance of each.
        environment: version of the environment they were measured in.
        exact: the exact value, for tasks that can enumerate it; None otherwise.
    """

    policy: str
    returns: np.ndarray
    instance: np.ndarray
    environment: str
    exact: float | None = None

    @property
    def episodes(self) -> int:
        """Number of on-policy episodes."""
        return len(self.returns)

    @property
    def mean(self) -> float:
        """Mean over instances of the mean return there (instances weigh the same), or the exact value."""
        if self.exact is not None:
            return self.exact
        return float(np.mean(self._instance_moments()[0]))

    @property
    def stderr(self) -> float:
        """Standard error of the mean, stratified by instance: the list of instances is fixed, episodes are random."""
        if self.exact is not None:
            return 0.0
        _, variance, count = self._instance_moments()
        return float(np.sqrt(np.sum(variance / count)) / len(count))

    def _instance_moments(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean, sample variance and count of the returns of each instance."""
        _, code = np.unique(self.instance, return_inverse=True)
        count = np.bincount(code)
        mean = np.bincount(code, weights=self.returns) / count
        square = np.bincount(code, weights=(self.returns - mean[code]) ** 2)
        return mean, square / np.maximum(count - 1, 1), count


class Environment(Protocol):
    """One live episode at a time; used only to record logs and truth, never by an estimator."""

    def reset(self, instance: str) -> tuple[str, str]:
        """Starts an instance; returns goal and first observation."""

    def step(self, action: str) -> tuple[str, float, bool]:
        """Returns observation, reward, terminated."""

    def close(self) -> None:
        """Frees what it holds."""


class Task(ABC):
    """Base of all tasks; `name` is the folder name."""

    name: ClassVar[str] = ""
    card: TaskCard
    known_failures: ClassVar[dict[str, str]] = {}
    """Conformance checks it fails by design, each with the reason; run as strict expected failures."""

    @abstractmethod
    def logs(self) -> tuple[str, ...]:
        """Names of the logs, the default one first."""

    @abstractmethod
    def log(self, name: str) -> LoggedDataset:
        """A log, whole."""

    def log_size(self, name: str) -> int:
        """Episodes of a log; override where it is known without reading the log."""
        return len(self.log(name))

    def log_fingerprint(self, name: str) -> str:
        """Hash of the log, all log-probabilities included; override where it is known without reading the log, and
        where policies can change while the log does not: results depend on what they say, too."""
        data = self.log(name)
        known = [None if s.logger_logps is None else list(s.logger_logps) for t in data.trajectories for s in t.steps]
        if all(x is None for x in known):
            return data.fingerprint
        return hashlib.sha256(json.dumps([data.fingerprint, known]).encode()).hexdigest()[:16]

    def block_fingerprints(self, name: str, ends: Sequence[int]) -> list[str]:
        """For each of `ends`, what the first so many episodes of `LoggedDataset.block_order` are taken from.

        The fingerprint of the log; where it has grown, that of each volume up to there, joined by `bench.cells.THEN`.
        """
        return [self.log_fingerprint(name)] * len(ends)

    @abstractmethod
    def targets(self) -> tuple[PolicyCard, ...]:
        """The policies to be evaluated."""

    @abstractmethod
    def policy(self, name: str) -> Policy:
        """A policy (target or logger) by name; recorded log-probabilities and samples are served without a model."""

    @abstractmethod
    def truth(self, policy: str) -> GroundTruth:
        """On-policy returns of a target."""

    def instances(self) -> Sequence[str]:
        """The fixed list of evaluation instances; empty where there is none."""
        return ()
