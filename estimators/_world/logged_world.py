"""The log as its own simulator: the nearest logged transition answers, no learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from bench.data import LoggedDataset, Trajectory
from estimators._features import hashed
from estimators._world.world import Answer, Start, World


@dataclass(frozen=True)
class _Transition:
    observation: str
    reward: float
    ended: bool


class LoggedWorld(World):
    """Answers an action with what the log shows after the same action in the most similar situation.

    Candidates are the transitions of the same instance, or of all instances where it was never logged. Similarity is
    the cosine of hashed words and word pairs of the last observation and, weighted by `action_weight`, of the action;
    an equal (observation, action) always comes first, and among equals one is drawn at random. Where even the nearest
    is farther than `abstain` (1 - similarity), nobody knows what would happen: the episode ends there.
    """

    def __init__(self, data: LoggedDataset, action_weight: float, abstain: float):
        self.action_weight, self.abstain = action_weight, abstain
        self.answers: list[_Transition] = []
        seen, did, instance = [], [], []
        for t in data.trajectories:
            for k, step in enumerate(t.steps):
                seen.append(step.observation)
                did.append(step.action)
                instance.append(t.instance)
                self.answers.append(_answer(t, k))
        self._seen, self._did = _Rows(seen), _Rows(did)
        groups: dict[str, list[int]] = {}
        for k, name in enumerate(instance):
            groups.setdefault(name, []).append(k)
        self._groups = {name: np.array(rows) for name, rows in groups.items()}
        self._everything = np.arange(len(self.answers))
        self.played, self.asked, self.exact, self.abstained, self.distance = 0, 0, 0, 0, 0.0

    def reset(self, starts: Sequence[Start], rng: np.random.Generator) -> None:
        """See `World`."""
        self.rng = rng
        self.instances = [s.instance for s in starts]
        self.shown: list[str] = [s.observation for s in starts]
        self.played += len(starts)

    def step(self, actions: Sequence[str | None]) -> list[Answer | None]:
        """See `World`."""
        return [None if action is None else self._reply(k, action) for k, action in enumerate(actions)]

    def diagnostics(self) -> dict[str, float]:
        """Share of steps that the log holds exactly, mean distance (1 - similarity) of what is nearest, share of
        episodes that ended because nothing was near enough."""
        asked = max(self.asked, 1)
        return {
            "exact_transition_share": self.exact / asked,
            "retrieval_distance": self.distance / asked,
            "abstained_share": self.abstained / max(self.played, 1),
        }

    def _reply(self, k: int, action: str) -> Answer:
        rows = self._groups.get(self.instances[k], self._everything)
        alike = self._seen.similarity(self.shown[k], rows) + self.action_weight * self._did.similarity(action, rows)
        nearness = alike / (1 + self.action_weight)
        best = np.flatnonzero(nearness >= nearness.max() - 1e-9)
        found = self.answers[rows[best[int(self.rng.integers(len(best)))]]]
        self.asked += 1
        self.exact += bool(nearness.max() > 1 - 1e-6)
        self.distance += float(1 - nearness.max())
        if 1 - nearness.max() > self.abstain:
            self.abstained += 1
            return Answer(self.shown[k], 0.0, True)
        self.shown[k] = found.observation
        return Answer(found.observation, found.reward, found.ended)


class _Rows:
    """A column of texts as unit vectors; similarities of each new text are computed once against the distinct ones."""

    def __init__(self, texts: Sequence[str]):
        unique, self.code = np.unique(np.asarray(texts, dtype=object), return_inverse=True)
        self.vectors = _unit_rows(list(unique))
        self._known: dict[str, np.ndarray] = {}

    def similarity(self, text: str, rows: np.ndarray) -> np.ndarray:
        """(len(rows),) cosines."""
        if text not in self._known:
            self._known[text] = (self.vectors @ _unit_rows([text]).T).toarray().ravel()
        return self._known[text][self.code[rows]]


def _unit_rows(texts: list[str]) -> sp.csr_matrix:
    counts = hashed(texts).astype(np.float64)
    norm = np.sqrt(np.asarray(counts.multiply(counts).sum(axis=1)).ravel())
    return sp.diags(1 / np.maximum(norm, 1e-12)) @ counts


def _answer(trajectory: Trajectory, k: int) -> _Transition:
    last = k == len(trajectory) - 1
    after = (trajectory.final_observation or "") if last else trajectory.steps[k + 1].observation
    return _Transition(after, trajectory.steps[k].reward, last and trajectory.terminated)
