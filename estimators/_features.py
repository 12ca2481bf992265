"""Texts as vectors: deterministic and learned from the log alone, without a download.

A logged step is described by its goal, its observation, what was seen and done before it, the reward collected so far
and the turn; a candidate action by its own text and by its relation to goal, observation and past. What costs time,
turning texts into raw vectors, is done once per different text and shared by every fold of a log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from bench.data import Columns, LoggedDataset
from bench.errors import UnsupportedError

HASHING = "hashing"
KINDS = ("goal", "observation", "action")


def hashed(texts: Sequence[str]) -> sp.csr_matrix:
    """(m, 2^18) float32 counts of words, punctuation marks and pairs of neighbors."""
    from sklearn.feature_extraction.text import HashingVectorizer  # here: planning a run must not wait for it

    vectorizer = HashingVectorizer(
        n_features=2**18,
        ngram_range=(1, 2),
        token_pattern=r"(?u)\w+|[^\w\s]",
        norm=None,
        alternate_sign=False,
        dtype=np.float32,
    )
    return vectorizer.transform(texts)


class Texts:
    """A column of texts, each different one turned into raw vectors once.

    Attributes:
        unique: the U different texts, sorted.
        code: (m,) index of each text among them.
        counts: (U, 2^18) hashed counts.
        raw: (U, d) what an encoder reduces: the counts, or vectors of a sentence-transformers model.
    """

    def __init__(self, texts: Sequence[str], model: str):
        unique, self.code = np.unique(np.asarray(texts, dtype=object), return_inverse=True)
        self.unique: list[str] = list(unique)
        self.counts = hashed(self.unique)
        self.raw = self.counts if model == HASHING else _sentence_vectors(model, self.unique)
        self.words = (self.counts > 0).astype(np.float32)

    def shared_words(self, rows: np.ndarray, other: Texts, other_rows: np.ndarray) -> np.ndarray:
        """(m, 1) share of the words and word pairs of text `rows[k]` that the other column's `other_rows[k]` holds too.

        Each different pair of texts is compared once.
        """
        width = len(other.unique)
        pair, back = np.unique(self.code[rows].astype(np.int64) * width + other.code[other_rows], return_inverse=True)
        left, right = np.divmod(pair, width)
        share = np.empty(len(pair))
        for start in range(0, len(pair), 20_000):  # bounds memory where texts are long
            part = slice(start, start + 20_000)
            a, b = self.words[left[part]], other.words[right[part]]
            share[part] = np.asarray(a.multiply(b).sum(axis=1)).ravel() / np.maximum(np.diff(a.indptr), 1)
        return share[back][:, None]


def _sentence_vectors(model: str, texts: Sequence[str]) -> np.ndarray:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise UnsupportedError(
            f"encoder={model} needs sentence-transformers: install the extra [text], or use encoder={HASHING}."
        ) from error
    return SentenceTransformer(model, device="cpu").encode(list(texts), show_progress_bar=False).astype(np.float32)


class Projection:
    """Raw vectors -> (m, size): tf-idf weights for counts, then truncated SVD, both learned from some rows."""

    def __init__(self, size: int):
        self.size = size

    def fit(self, raw: sp.csr_matrix | np.ndarray, rng: np.random.Generator) -> Projection:
        """Learns idf weights and directions from (m, d) raw vectors; words that occur in none of them are left out."""
        from sklearn.feature_extraction.text import TfidfTransformer  # here: planning a run must not wait for it
        from sklearn.utils.extmath import randomized_svd

        counted = sp.issparse(raw)
        self.used_ = np.flatnonzero(raw.getnnz(axis=0)) if counted else np.arange(raw.shape[1])
        raw = raw[:, self.used_]
        self.idf_ = TfidfTransformer(sublinear_tf=True).fit(raw) if counted and len(self.used_) else None
        size = min(self.size, *raw.shape)
        self.directions_ = np.zeros((len(self.used_), 0), dtype=np.float32)  # texts without a word
        if size:
            _, _, rows = randomized_svd(self._weighted(raw), size, n_iter=3, random_state=int(rng.integers(2**31)))
            self.directions_ = rows.T.astype(np.float32)  # (used, size)
        return self

    def transform(self, raw: sp.csr_matrix | np.ndarray) -> np.ndarray:
        """(m, size) float32."""
        return np.asarray(self._weighted(raw[:, self.used_]) @ self.directions_, dtype=np.float32)

    def _weighted(self, raw: sp.csr_matrix | np.ndarray) -> sp.csr_matrix | np.ndarray:
        return raw if self.idf_ is None else self.idf_.transform(raw)


@dataclass(frozen=True)
class Candidates:
    """Actions considered at logged steps, described as far as no fold is involved.

    Attributes:
        step: (m,) logged step of each candidate.
        texts: their texts, m codes.
        relations: (m, 3) float32: words shared with the goal, with the observation, earlier uses in the episode.
    """

    step: np.ndarray
    texts: Texts
    relations: np.ndarray


class LogTexts:
    """The texts of a log as raw vectors; knows no fold and no policy."""

    def __init__(self, data: LoggedDataset, model: str):
        self.model = model
        self.columns = data.columns
        self.horizon = data.horizon
        self.goal = Texts([t.goal for t in data.trajectories for _ in t.steps], model)
        self.observation = Texts([s.observation for t in data.trajectories for s in t.steps], model)
        self.actions = [s.action for t in data.trajectories for s in t.steps]
        every = np.arange(len(self.actions))
        self.logged = self.candidates(every, self.actions)
        self.goal_in_sight = self.observation.shared_words(every, self.goal, every)  # (S, 1)

    def candidates(self, step: np.ndarray, actions: Sequence[str]) -> Candidates:
        """Describes taking `actions[k]` at logged step `step[k]`."""
        texts = Texts(actions, self.model)
        rows = np.arange(len(step))
        relations = [
            texts.shared_words(rows, self.goal, step),
            texts.shared_words(rows, self.observation, step),
            self._repeats(step, actions)[:, None],
        ]
        return Candidates(step, texts, np.hstack(relations).astype(np.float32))

    def _repeats(self, step: np.ndarray, actions: Sequence[str]) -> np.ndarray:
        """(m,) how often the action was taken earlier in the same episode."""
        columns = self.columns
        _, code = np.unique(np.asarray([*self.actions, *actions], dtype=object), return_inverse=True)
        logged, asked = code[: len(self.actions)], code[len(self.actions) :]
        width, kinds = len(self.actions) + 1, int(code.max()) + 1
        key = np.sort((columns.episode * kinds + logged) * width + columns.turn)
        base = (columns.episode[step] * kinds + asked) * width
        return np.searchsorted(key, base + columns.turn[step]) - np.searchsorted(key, base)


class StepFeatures:
    """Features of (history, action) pairs, with projections learned from the texts of some episodes."""

    def __init__(self, texts: LogTexts, size: int):
        self.texts = texts
        self.size = size

    def fit(self, episodes: np.ndarray, rng: np.random.Generator) -> StepFeatures:
        """Learns from (m,) episodes, then describes every step of the log."""
        texts = self.texts
        learn = np.isin(texts.columns.episode, episodes)
        self.project_ = {}
        for kind, column in zip(KINDS, (texts.goal, texts.observation, texts.logged.texts), strict=True):
            self.project_[kind] = Projection(self.size).fit(column.raw[np.unique(column.code[learn])], rng)
        self.states_ = self._describe_states()
        return self

    def pairs(self, candidates: Candidates) -> np.ndarray:
        """(m, d) float32 features of the candidates at their steps."""
        action = self._project("action", candidates.texts)
        return np.hstack([self.states_[candidates.step], action, candidates.relations])

    def _project(self, kind: str, texts: Texts) -> np.ndarray:
        return self.project_[kind].transform(texts.raw)[texts.code]

    def _describe_states(self) -> np.ndarray:
        columns = self.texts.columns
        observation = self._project("observation", self.texts.observation)
        action = self._project("action", self.texts.logged.texts)
        turn = columns.turn[:, None]
        parts = [
            self._project("goal", self.texts.goal),
            observation,
            _before(observation, columns) / np.maximum(turn, 1),
            np.where(turn > 0, np.roll(action, 1, axis=0), 0.0),
            _before(action, columns) / np.maximum(turn, 1),
            self.texts.goal_in_sight,
            _before(columns.rewards[:, None], columns),
            turn / self.texts.horizon,
        ]
        return np.hstack(parts).astype(np.float32)


def _before(values: np.ndarray, columns: Columns) -> np.ndarray:
    """(S, k) sums over the earlier steps of the same episode, and of no other: not even its rounding errors get in."""
    sums = np.zeros_like(values)
    for t in range(1, int(columns.lengths.max())):
        step = columns.offsets[:-1][columns.lengths > t] + t
        sums[step] = sums[step - 1] + values[step - 1]
    return sums
