"""A policy whose log-probabilities and next actions on recorded logs were computed once and are served from disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bench.data import Trajectory
from bench.policy import Policy, PolicySession


@dataclass(frozen=True)
class Recording:
    """What was computed for one policy on one log.

    Attributes:
        episodes: the log's episodes by id.
        log_probs: (T,) log-probabilities by episode id.
        read_next_actions: reads `next_actions`; called when an estimator first asks, because most never do.
    """

    episodes: dict[str, Trajectory]
    log_probs: dict[str, np.ndarray]
    read_next_actions: Callable[[], dict[str, list[tuple[str, ...]]] | None]

    @cached_property
    def next_actions(self) -> dict[str, list[tuple[str, ...]]] | None:
        """By episode id, for each step the sampled next actions; None where they were not recorded."""
        return self.read_next_actions()


class RecordedPolicy:
    """Serves recorded episodes from disk and everything else from the model, which is loaded at first need.

    Both are the same quantity; an episode that differs in any way from the recorded one of its id goes to the model.
    Recordings are read one after the other, until one holds the episode asked for, and kept.
    """

    def __init__(self, name: str, recordings: Callable[[], Iterable[Recording]], load: Callable[[], Policy]):
        self.name = name
        self._recordings, self._load_policy = recordings, load
        self._read: list[Recording] = []
        self._unread: Iterator[Recording] | None = None
        self._policy: Policy | None = None

    @property
    def live(self) -> Policy:
        """The policy itself."""
        if self._policy is None:
            self._policy = self._load_policy()
        return self._policy

    def log_prob_episodes(self, trajectories: Sequence[Trajectory]) -> list[np.ndarray]:
        """See `Policy`."""
        found = [self._find(t) for t in trajectories]
        missing = [t for t, r in zip(trajectories, found, strict=True) if r is None]
        computed = iter(self.live.log_prob_episodes(missing) if missing else [])
        return [next(computed) if r is None else r.log_probs[t.id] for t, r in zip(trajectories, found, strict=True)]

    def next_actions(self, trajectories: Sequence[Trajectory], n: int, seed: int) -> list[list[tuple[str, ...]]]:
        """See `Policy`. Recorded samples are the same for every seed; the first `n` of them are served."""
        found = [self._find(t) for t in trajectories]
        found = [r if r is not None and _enough(r, t, n) else None for r, t in zip(found, trajectories, strict=True)]
        missing = [t for t, r in zip(trajectories, found, strict=True) if r is None]
        computed = iter(self.live.next_actions(missing, n, seed) if missing else [])
        return [
            next(computed) if r is None else [actions[:n] for actions in r.next_actions[t.id]]
            for t, r in zip(trajectories, found, strict=True)
        ]

    def start(self, goals: Sequence[str], seeds: Sequence[int]) -> PolicySession:
        """See `Policy`."""
        return self.live.start(goals, seeds)

    def __getstate__(self) -> dict:
        """Travels to workers without what was loaded."""
        return {**self.__dict__, "_read": [], "_unread": None, "_policy": None}

    def _find(self, trajectory: Trajectory) -> Recording | None:
        for recording in self._read:
            if recording.episodes.get(trajectory.id) == trajectory:
                return recording
        if self._unread is None:
            self._unread = iter(self._recordings())
        for recording in self._unread:
            self._read.append(recording)
            if recording.episodes.get(trajectory.id) == trajectory:
                return recording
        return None


def _enough(recording: Recording, trajectory: Trajectory, n: int) -> bool:
    samples = recording.next_actions and recording.next_actions[trajectory.id]
    return bool(samples) and len(samples[0]) >= n
