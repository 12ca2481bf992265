"""A log as index arrays over its distinct texts, ready to be batched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.data import LoggedDataset
from estimators._world.words import Vocabulary


@dataclass(frozen=True)
class Batch:
    """B episodes over U distinct texts, padded to T steps.

    Attributes:
        texts: (U,) which pairs of the material they are, sorted.
        observations: (B, T + 1) places in `texts`; the last one of an episode is what it ended on.
        actions: (B, T). goal: (B,). instance: (B,) see `Material.instance`. real: (B, T) bool, the steps that exist.
        reward, ended: (S,) floats of the S real steps, episode by episode.
    """

    texts: Tensor
    observations: Tensor
    actions: Tensor
    goal: Tensor
    instance: Tensor
    real: Tensor
    reward: Tensor
    ended: Tensor


class Material:
    """A log, tokenized once. A missing final observation is the empty text.

    Attributes:
        vocabulary: of the log.
        pairs: the distinct (goal, text) of observations, actions and goals.
        cut_share: share of the observations that lose their tail.
        instances: name of an instance to its code, from 1; empty where instances are not to be told apart, or where
            those of the log are a sample of many.
    """

    def __init__(self, data: LoggedDataset, size: int, max_tokens: int, knows_instance: bool):
        texts = [x for t in data.trajectories for s in t.steps for x in (t.goal, s.observation, s.action)]
        texts += [t.final_observation or "" for t in data.trajectories]
        self.vocabulary = Vocabulary.of(texts, size, max_tokens)
        self.columns = data.columns
        known = data.columns.instances if knows_instance and data.fixed_instances else ()
        self.instances = {name: k for k, name in enumerate(known, start=1)}
        self.instance = np.array([self.instances.get(t.instance, 0) for t in data.trajectories])
        self._code: dict[tuple[str, str], int] = {}
        self.goals, self.observations, self.actions = [], [], []
        for t in data.trajectories:
            seen = [s.observation for s in t.steps] + [t.final_observation or ""]
            self.goals.append(self._of(t.goal, t.goal))
            self.observations.append(np.array([self._of(t.goal, x) for x in seen]))
            self.actions.append(np.array([self._of(t.goal, s.action) for s in t.steps]))
        shown = [self.vocabulary.cut(s.observation) for t in data.trajectories for s in t.steps]
        self.cut_share = float(np.mean(shown))
        self.ended = np.array([t.terminated for t in data.trajectories], dtype=np.float32)
        self.pairs = list(self._code)

    def __len__(self) -> int:
        return len(self.goals)

    def _of(self, goal: str, text: str) -> int:
        return self._code.setdefault((goal, text), len(self._code))

    def words(self, texts: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(U, L) word ids and goal marks of some pairs; see `Vocabulary.batch`."""
        return self.vocabulary.batch([self.pairs[k] for k in texts])

    def batch(self, episodes: Sequence[int]) -> Batch:
        """Some episodes."""
        longest = max(len(self.actions[i]) for i in episodes)
        observations = np.zeros((len(episodes), longest + 1), dtype=np.int64)
        actions = np.zeros((len(episodes), longest), dtype=np.int64)
        real = np.zeros((len(episodes), longest), dtype=bool)
        for row, i in enumerate(episodes):
            steps = len(self.actions[i])
            observations[row, : steps + 1] = self.observations[i]
            observations[row, steps + 1 :] = self.observations[i][-1]
            actions[row, :steps], real[row, :steps] = self.actions[i], True
            actions[row, steps:] = self.actions[i][-1]
        goal = np.array([self.goals[i] for i in episodes])
        used, code = np.unique(np.concatenate([observations.ravel(), actions.ravel(), goal]), return_inverse=True)
        parts = torch.from_numpy(code).split([observations.size, actions.size, goal.size])
        offsets = self.columns.offsets
        reward = np.concatenate([self.columns.rewards[offsets[i] : offsets[i + 1]] for i in episodes])
        ended = [[0.0] * (len(self.actions[i]) - 1) + [float(self.ended[i])] for i in episodes]
        return Batch(
            torch.from_numpy(used),
            parts[0].view(observations.shape),
            parts[1].view(actions.shape),
            parts[2],
            torch.from_numpy(self.instance[np.asarray(episodes)]),
            torch.from_numpy(real),
            torch.tensor(reward, dtype=torch.float32),
            torch.tensor([x for row in ended for x in row]),
        )
