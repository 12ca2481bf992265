"""Logged episodes: frozen, ragged, and available both as objects and as columns."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bench.errors import DataError


@dataclass(frozen=True, slots=True)
class Step:
    """One agent turn.

    Attributes:
        observation: the text the agent saw before acting.
        action: the text it wrote.
        reward: reward received for this action.
        action_tokens: recorded token ids of the action, end marker included, or None.
        behavior_logp: natural log of the probability of the whole action (end marker included) under the policy
            that generated it, as it really sampled; None where the log does not know it.
        logger_logps: the same under every logger of the data set, in the order of `LoggedDataset.loggers`.
    """

    observation: str
    action: str
    reward: float
    action_tokens: tuple[int, ...] | None = None
    behavior_logp: float | None = None
    logger_logps: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One episode. `terminated`: the environment ended it. `truncated`: a step limit or a crash did."""

    id: str
    instance: str
    goal: str
    steps: tuple[Step, ...]
    final_observation: str | None = None
    terminated: bool = True
    truncated: bool = False
    logger: str = "unknown"

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def rewards(self) -> np.ndarray:
        """(T,) rewards."""
        return np.array([s.reward for s in self.steps], dtype=float)


@dataclass(frozen=True)
class Columns:
    """The numbers of a log as flat arrays: S steps, n episodes; episode i owns steps offsets[i]:offsets[i+1].

    Attributes:
        offsets: (n+1,) int.
        rewards: (S,) float.
        behavior_logp: (S,) float; NaN where unknown.
        instance: (n,) int code into `instances`.
        instances: names of the instances, sorted.
        logger: (n,) int code into the data set's `loggers`.
        truncated: (n,) bool.
    """

    offsets: np.ndarray
    rewards: np.ndarray
    behavior_logp: np.ndarray
    instance: np.ndarray
    instances: tuple[str, ...]
    logger: np.ndarray
    truncated: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """(n,) number of steps of each episode."""
        return np.diff(self.offsets)

    @cached_property
    def turn(self) -> np.ndarray:
        """(S,) turn index t of each step within its episode."""
        return np.arange(len(self.rewards)) - np.repeat(self.offsets[:-1], self.lengths)

    @cached_property
    def episode(self) -> np.ndarray:
        """(S,) index of the episode that owns each step."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def returns(self, gamma: float) -> np.ndarray:
        """(n,) discounted returns."""
        return np.bincount(self.episode, weights=self.rewards * gamma**self.turn, minlength=len(self.lengths))


@dataclass(frozen=True)
class LoggedDataset:
    """Episodes that one or more agents logged on one task.

    Attributes:
        task: name of the task.
        loggers: names of the policies that generated the episodes.
        gamma: discount of the estimand.
        horizon: step limit of the estimand; no episode is longer.
        trajectories: the episodes.
        fixed_instances: the episodes visit a fixed list of instances, and the estimand is the mean over that list.
            Decides what the bootstrap resamples (`bench.stats`).
        volume_sizes: of a log that has grown, how many episodes each volume holds, in the order of `trajectories`;
            empty: it has a single one. Blocks are cut from the first volume and then from the next, so that they stay
            when the log grows.
    """

    task: str
    loggers: tuple[str, ...]
    gamma: float
    horizon: int
    trajectories: tuple[Trajectory, ...]
    fixed_instances: bool = True
    volume_sizes: tuple[int, ...] = ()

    def __post_init__(self):
        if not self.trajectories:
            raise DataError(f"log of task {self.task!r} holds no episode: nothing can be estimated from it.")
        ids = [t.id for t in self.trajectories]
        if len(set(ids)) != len(ids):
            seen: set[str] = set()
            twice = next(i for i in ids if i in seen or seen.add(i))
            raise DataError(f"log of task {self.task!r}: episode id {twice!r} occurs twice; ids must be unique.")
        if self.volume_sizes and sum(self.volume_sizes) != len(self):
            raise DataError(
                f"log of task {self.task!r}: volumes of {self.volume_sizes} do not add up to {len(self)} episodes."
            )
        for trajectory in self.trajectories:
            _check_trajectory(trajectory, self)

    def __len__(self) -> int:
        return len(self.trajectories)

    @cached_property
    def columns(self) -> Columns:
        """The numbers as flat arrays; computed once."""
        lengths = [len(t.steps) for t in self.trajectories]
        steps = [s for t in self.trajectories for s in t.steps]
        names, codes = np.unique([t.instance for t in self.trajectories], return_inverse=True)
        order = {name: i for i, name in enumerate(self.loggers)}
        return Columns(
            offsets=np.concatenate([[0], np.cumsum(lengths)]),
            rewards=np.array([s.reward for s in steps], dtype=float),
            behavior_logp=np.array(
                [np.nan if s.behavior_logp is None else s.behavior_logp for s in steps], dtype=float
            ),
            instance=codes,
            instances=tuple(str(n) for n in names),
            logger=np.array([order[t.logger] for t in self.trajectories]),
            truncated=np.array([t.truncated for t in self.trajectories]),
        )

    @property
    def has_propensities(self) -> bool:
        """Every step knows the log-probability of its action under the policy that generated it."""
        return not np.isnan(self.columns.behavior_logp).any()

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything in the data set; equal content gives an equal fingerprint."""
        digest = hashlib.sha256()
        digest.update(json.dumps([self.task, self.loggers, self.gamma, self.horizon, self.fixed_instances]).encode())
        if self.volume_sizes:
            digest.update(json.dumps(self.volume_sizes).encode())
        for t in self.trajectories:
            head = [t.id, t.instance, t.goal, t.final_observation, t.terminated, t.truncated, t.logger]
            steps = [[s.observation, s.action, s.reward, s.action_tokens, s.behavior_logp] for s in t.steps]
            digest.update(json.dumps([head, steps]).encode())
        return digest.hexdigest()[:16]

    def with_trajectories(self, trajectories: Iterable[Trajectory]) -> LoggedDataset:
        """The same log holding other episodes, in one volume."""
        return replace(self, trajectories=tuple(trajectories), volume_sizes=())

    def where(self, keep: Callable[[Trajectory], bool]) -> LoggedDataset:
        """The episodes for which `keep` holds."""
        return self.with_trajectories(t for t in self.trajectories if keep(t))

    def subset(self, n: int, seed: int) -> LoggedDataset:
        """The `seed`-th block of `n` episodes; blocks of different seeds are disjoint.

        See `block_order`: within a volume, every block is as balanced as the volume is.

        Raises:
            DataError: the log is too small for a block of this size and seed.
        """
        if n * (seed + 1) > len(self):
            raise DataError(
                f"seed {seed} with n = {n} needs {n * (seed + 1)} episodes, the log of task {self.task!r} holds "
                f"{len(self)}: seeds take disjoint blocks. Use fewer seeds or a smaller n."
            )
        chosen = self.block_order[n * seed : n * (seed + 1)]
        return self.with_trajectories(self.trajectories[i] for i in sorted(chosen))

    @cached_property
    def block_order(self) -> list[int]:
        """The order in which blocks take the episodes: volume by volume, in each as `balanced_order` has it."""
        order: list[int] = []
        for size in self.volume_sizes or (len(self),):
            start = len(order)
            order += [start + i for i in balanced_order(self.trajectories[start : start + size])]
        return order


def balanced_order(trajectories: Sequence[Trajectory]) -> list[int]:
    """A content-determined order of the episodes in which instances, and loggers within them, take turns."""
    queues: dict[tuple[str, str], list[int]] = {}
    for i in sorted(range(len(trajectories)), key=lambda i: _hash(trajectories[i].id)):
        queues.setdefault((trajectories[i].instance, trajectories[i].logger), []).append(i)
    ranked: list[tuple[int, str, int]] = []
    by_instance: dict[str, list[list[int]]] = {}
    for (instance, _), queue in sorted(queues.items()):
        by_instance.setdefault(instance, []).append(queue)
    for instance, logs in by_instance.items():
        start = int(_hash(instance), 16) % len(logs)  # which logger goes first differs between instances
        turn = 0
        for depth in range(max(map(len, logs))):
            for k in range(len(logs)):
                queue = logs[(start + k) % len(logs)]
                if depth < len(queue):
                    ranked.append((turn, _hash(instance), queue[depth]))  # the same order in every round
                    turn += 1
    return [i for _, _, i in sorted(ranked)]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _check_trajectory(trajectory: Trajectory, data: LoggedDataset) -> None:
    where = f"log of task {data.task!r}, episode {trajectory.id!r}"
    if not trajectory.steps:
        raise DataError(f"{where}: has no step. Drop it, or log at least one action.")
    if len(trajectory.steps) > data.horizon:
        raise DataError(f"{where}: {len(trajectory.steps)} steps exceed the horizon {data.horizon}.")
    if trajectory.logger not in data.loggers:
        raise DataError(f"{where}: logger {trajectory.logger!r} is not among {list(data.loggers)}.")
    for t, step in enumerate(trajectory.steps):
        if not math.isfinite(step.reward):
            raise DataError(f"{where}, step {t}: reward is {step.reward}; rewards must be finite numbers.")
        logp = step.behavior_logp
        if logp is not None and not (math.isfinite(logp) and logp <= 1e-6):
            raise DataError(
                f"{where}, step {t}: behavior_logp is {logp}; the log-probability of an action that was taken must be "
                "finite and not above 0 (natural log). Leave it out where it is unknown."
            )
