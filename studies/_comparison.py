"""How alike two observations are, and whether they show what was done between them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from bench.data import LoggedDataset
from estimators._features import Projection, hashed

_WORD = re.compile(r"\w+")
_ARTICLES = {"a", "an", "the"}
MOST_ACTIONS = 60
"""Actions that the inverse dynamics tell apart, the most frequent ones."""
MOST_PAIRS = 8000
_AXES = 96


def words(text: str) -> list[str]:
    """Words as in the SQuAD script (Rajpurkar et al. 2016): lower case, no punctuation, no articles."""
    return [w for w in _WORD.findall(text.lower()) if w not in _ARTICLES]


def token_f1(text: str, reference: str) -> float:
    """Harmonic mean of precision and recall of the bag of words; 1 where both are without a word."""
    mine, real = words(text), words(reference)
    if not mine or not real:
        return float(mine == real)
    shared = sum((Counter(mine) & Counter(real)).values())
    return 2 * shared / (len(mine) + len(real))


def same_text(text: str, reference: str) -> bool:
    """Equal but for the amount of white space."""
    return text.split() == reference.split()


class TextSpace:
    """A frozen text encoder: hashed counts of words and pairs of words on the unit sphere. Learns nothing."""

    def distance(self, texts: Sequence[str], references: Sequence[str]) -> np.ndarray:
        """(N,) 1 - cosine, in [0, 1]."""
        a, b = self._unit(texts), self._unit(references)
        cosine = np.asarray(a.multiply(b).sum(axis=1)).ravel()
        blank = (a.getnnz(axis=1) == 0) & (b.getnnz(axis=1) == 0)
        return np.clip(1 - np.where(blank, 1.0, cosine), 0, 1)

    @staticmethod
    def _unit(texts: Sequence[str]) -> sp.csr_matrix:
        counts = hashed(texts).astype(np.float64)
        norm = np.sqrt(np.asarray(counts.multiply(counts).sum(axis=1)).ravel())
        return (sp.diags(1 / np.maximum(norm, 1e-12)) @ counts).tocsr()


class InverseDynamics:
    """Which of the frequent actions lies between two observations: logistic regression on hashed, tf-idf weighted
    words, reduced to principal axes, all learned from real pairs.

    Attributes:
        actions: the actions it knows.
        share: share of the logged steps that took one of them.
    """

    def __init__(self, data: LoggedDataset, rng: np.random.Generator):
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        pairs = [pair for t in data.trajectories for pair in _pairs(t)]
        count = Counter(action for _, action, _ in pairs)
        self.actions = frozenset(sorted(count, key=lambda a: (-count[a], a))[:MOST_ACTIONS])
        known = [pair for pair in pairs if pair[1] in self.actions]
        self.share = len(known) / len(pairs)
        if len(known) > MOST_PAIRS:
            known = [known[i] for i in sorted(rng.choice(len(known), MOST_PAIRS, replace=False).tolist())]
        before, action, after = zip(*known, strict=True)
        self._axes = Projection(_AXES).fit(hashed(sorted({*before, *after})), rng)
        self._guess = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=300, tol=1e-3))
        self._guess.fit(self._features(before, after), action)

    def wrong(self, before: Sequence[str], actions: Sequence[str], after: Sequence[str]) -> np.ndarray:
        """(N,) 1 where the action is not recovered, 0 where it is, NaN for actions that are not told apart."""
        asked = np.array([a in self.actions for a in actions], dtype=bool)
        found = np.full(len(actions), np.nan)
        if asked.any():
            chosen = [[column[i] for i in np.flatnonzero(asked)] for column in (before, actions, after)]
            guessed = self._guess.predict(self._features(chosen[0], chosen[2]))
            found[asked] = guessed != np.array(chosen[1], dtype=object)
        return found

    def _features(self, before: Sequence[str], after: Sequence[str]) -> np.ndarray:
        return np.hstack([self._vectors(before), self._vectors(after)])

    def _vectors(self, texts: Sequence[str]) -> np.ndarray:
        unique, code = np.unique(np.asarray(texts, dtype=object), return_inverse=True)
        return self._axes.transform(hashed(list(unique)))[code]


def _pairs(trajectory) -> list[tuple[str, str, str]]:
    """(observation, action, observation after it) of an episode; without the last one where nothing is known of it."""
    seen = [s.observation for s in trajectory.steps] + [trajectory.final_observation]
    found = [(s.observation, s.action, after) for s, after in zip(trajectory.steps, seen[1:], strict=True)]
    return found if trajectory.final_observation is not None else found[:-1]
