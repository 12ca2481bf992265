"""Texts as vectors: deterministic and learned from the log alone, without a download.

A logged step is described by its goal, its observation, what was seen and done before it, the reward collected so far
and the turn; a candidate action by its own text and by its relation to goal, observation and past.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

from bench.data import LoggedDataset
from bench.errors import UnsupportedError

HASHING = "hashing"


def _hashed(texts: Sequence[str]) -> sp.csr_matrix:
    """(m, 2^18) counts of words, punctuation marks and pairs of neighbors."""
    vectorizer = HashingVectorizer(
        n_features=2**18, ngram_range=(1, 2), token_pattern=r"(?u)\w+|[^\w\s]", norm=None, alternate_sign=False
    )
    return vectorizer.transform(texts)


class TextEncoder:
    """Texts -> (m, size) vectors: hashed tf-idf, or a sentence-transformers model, reduced by truncated SVD."""

    def __init__(self, model: str, size: int):
        self.model = model
        self.size = size

    def fit(self, texts: Sequence[str], rng: np.random.Generator) -> TextEncoder:
        """Learns idf weights and the projection from the different texts of a log."""
        unique = sorted(set(texts))
        raw = self._raw(unique)
        self.idf_ = TfidfTransformer(sublinear_tf=True).fit(raw) if self.model == HASHING else None
        raw = self._weighted(raw)
        size = min(self.size, raw.shape[1], len(unique))
        self.projection_ = TruncatedSVD(size, random_state=int(rng.integers(2**31))).fit(raw).components_.T  # (d, size)
        return self

    def transform(self, texts: Sequence[str]) -> np.ndarray:
        """(m, size) float32; equal texts have equal vectors, and each different text is encoded once."""
        unique, code = np.unique(np.asarray(texts, dtype=object), return_inverse=True)
        vectors = self._weighted(self._raw(list(unique))) @ self.projection_
        return np.asarray(vectors, dtype=np.float32)[code]

    def _weighted(self, raw: sp.csr_matrix | np.ndarray) -> sp.csr_matrix | np.ndarray:
        return raw if self.idf_ is None else self.idf_.transform(raw)

    def _raw(self, texts: Sequence[str]) -> sp.csr_matrix | np.ndarray:
        return _hashed(texts) if self.model == HASHING else _sentence_vectors(self.model, texts)


def _sentence_vectors(model: str, texts: Sequence[str]) -> np.ndarray:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise UnsupportedError(
            f"encoder={model} needs the package sentence-transformers: install the extra [text], or use encoder={HASHING}."
        ) from error
    return SentenceTransformer(model, device="cpu").encode(list(texts), show_progress_bar=False).astype(float)


class StepFeatures:
    """Features of (history, action) pairs at the steps of one log."""

    def __init__(self, model: str, size: int):
        self.model = model
        self.size = size

    def fit(self, data: LoggedDataset, episodes: np.ndarray, rng: np.random.Generator) -> StepFeatures:
        """Learns the encoders from the texts of some episodes, then describes every step of the log.

        Args:
            episodes: (m,) indices of the episodes to learn from.
        """
        steps = [s for t in data.trajectories for s in t.steps]
        goals = [t.goal for t in data.trajectories for _ in t.steps]
        self.observations_ = [s.observation for s in steps]
        self.goals_, self.actions_ = goals, [s.action for s in steps]
        self.columns_ = data.columns
        learn = np.flatnonzero(np.isin(data.columns.episode, episodes))
        self.encoder_ = {
            kind: TextEncoder(self.model, self.size).fit([texts[i] for i in learn], rng)
            for kind, texts in (("goal", goals), ("observation", self.observations_), ("action", self.actions_))
        }
        self.states_ = self._describe_states(data)
        return self

    def _describe_states(self, data: LoggedDataset) -> np.ndarray:
        columns = self.columns_
        observation = self.encoder_["observation"].transform(self.observations_)
        action = self.encoder_["action"].transform(self.actions_)
        turn = columns.turn[:, None]
        so_far = _before(columns.rewards[:, None], columns.offsets, columns.episode)
        previous = np.where(turn > 0, np.roll(action, 1, axis=0), 0.0)
        parts = [
            self.encoder_["goal"].transform(self.goals_),
            observation,
            _before(observation, columns.offsets, columns.episode) / np.maximum(turn, 1),
            previous,
            _before(action, columns.offsets, columns.episode) / np.maximum(turn, 1),
            _overlap(self.observations_, self.goals_),
            so_far,
            turn / data.horizon,
        ]
        return np.hstack(parts).astype(np.float32)

    def pairs(self, step: np.ndarray, actions: Sequence[str]) -> np.ndarray:
        """(m, d) features of taking `actions[k]` at logged step `step[k]`."""
        goals, observations = ([texts[i] for i in step] for texts in (self.goals_, self.observations_))
        parts = [
            self.states_[step],
            self.encoder_["action"].transform(actions),
            _overlap(actions, goals),
            _overlap(actions, observations),
            self._repeats(step, actions)[:, None],
        ]
        return np.hstack(parts).astype(np.float32)

    def _repeats(self, step: np.ndarray, actions: Sequence[str]) -> np.ndarray:
        """(m,) how often the action was taken earlier in the same episode."""
        columns = self.columns_
        _, code = np.unique(np.asarray([*self.actions_, *actions], dtype=object), return_inverse=True)
        logged, asked = code[: len(self.actions_)], code[len(self.actions_) :]
        width, kinds = len(self.actions_) + 1, int(code.max()) + 1
        key = np.sort((columns.episode * kinds + logged) * width + columns.turn)
        base = (columns.episode[step] * kinds + asked) * width
        return np.searchsorted(key, base + columns.turn[step]) - np.searchsorted(key, base)


def _before(values: np.ndarray, offsets: np.ndarray, episode: np.ndarray) -> np.ndarray:
    """(S, k) sums over the earlier steps of the same episode."""
    running = np.cumsum(values, axis=0, dtype=float) - values
    return running - running[offsets[:-1]][episode]


def _overlap(left: Sequence[str], right: Sequence[str]) -> np.ndarray:
    """(m, 1) share of the words and word pairs of each left text that its right text holds too."""
    a, b = (_binary_rows(texts) for texts in (left, right))
    shared = np.asarray(a.multiply(b).sum(axis=1)).ravel()
    return (shared / np.maximum(np.diff(a.indptr), 1))[:, None]


def _binary_rows(texts: Sequence[str]) -> sp.csr_matrix:
    unique, code = np.unique(np.asarray(texts, dtype=object), return_inverse=True)
    return (_hashed(list(unique)) > 0).astype(np.float32)[code]
