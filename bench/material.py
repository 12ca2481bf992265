"""What a process keeps between jobs: one task, one block of a log, and the policies with what they said about it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench import registry
from bench.data import LoggedDataset, Trajectory
from bench.policy import Policy, PolicySession
from bench.task import Task


class SharedScores:
    """A policy that scores a block of a log once, however many estimators ask.

    The whole block is scored at the first question about any of its episodes, in the order of the log: how a model
    groups episodes into batches may show in the last digits, and must not depend on which estimator came first. Other
    episodes, and everything else a policy can do, go to the policy itself.
    """

    def __init__(self, policy: Policy, data: LoggedDataset):
        self.name = policy.name
        self._policy, self._data = policy, data
        self._position = {id(t): i for i, t in enumerate(data.trajectories)}
        self._scores: list[np.ndarray] | None = None

    def log_prob_episodes(self, trajectories: Sequence[Trajectory]) -> list[np.ndarray]:
        """See `Policy`; arrays of the block's own episodes are read-only."""
        positions = [self._position.get(id(t)) for t in trajectories]
        if None in positions:
            return self._policy.log_prob_episodes(trajectories)
        if self._scores is None:
            self._scores = list(self._policy.log_prob_episodes(self._data.trajectories))
            if len(self._scores) != len(self._data):  # the policy is at fault: whoever asks must see its own answer
                self._scores = None
                return self._policy.log_prob_episodes(trajectories)
            self._scores = [_read_only(values) for values in self._scores]
        return [self._scores[i] for i in positions]

    def next_actions(self, trajectories: Sequence[Trajectory], n: int, seed: int) -> list[list[tuple[str, ...]]]:
        """See `Policy`."""
        return self._policy.next_actions(trajectories, n, seed)

    def start(self, goals: Sequence[str], seeds: Sequence[int]) -> PolicySession:
        """See `Policy`."""
        return self._policy.start(goals, seeds)

    def __getattr__(self, name: str) -> Any:  # what only some policies offer; `getattr` finds it here too
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._policy, name)


def _read_only(values: np.ndarray) -> np.ndarray:
    view = np.asarray(values).view()
    view.flags.writeable = False
    return view


@functools.lru_cache(maxsize=1)  # jobs come sorted by task: one at a time is enough, and memory stays bounded
def task(name: str) -> Task:
    """The task of the job at hand."""
    return registry.task(name)


@functools.lru_cache(maxsize=1)
def _log(task_name: str, log: str) -> LoggedDataset:
    return task(task_name).log(log)


@functools.lru_cache(maxsize=1)
def block(task_name: str, log: str, n: int, seed: int) -> LoggedDataset:
    """The block of the job at hand.

    Raises:
        DataError: the log cannot be used, or is too small.
    """
    return _log(task_name, log).subset(n, seed)


@functools.lru_cache(maxsize=1)
def _policies(task_name: str) -> dict[str, Policy]:
    return {}


@functools.lru_cache(maxsize=1)
def _shared(task_name: str, log: str, n: int, seed: int) -> dict[str, SharedScores]:
    return {}


def policy(task_name: str, log: str, n: int, seed: int, name: str) -> SharedScores:
    """A policy of the task, scoring the block of the job at hand once for all estimators."""
    policies, shared = _policies(task_name), _shared(task_name, log, n, seed)
    if name not in shared:
        if name not in policies:
            policies[name] = task(task_name).policy(name)
        shared[name] = SharedScores(policies[name], block(task_name, log, n, seed))
    return shared[name]
