"""Doubly robust terms, and the Q that goes into them: learned from other episodes than the one it corrects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from bench.data import LoggedDataset
from bench.errors import BenchError
from bench.estimator import Family
from bench.policy import Policy
from estimators._averagers import sample_target_actions
from estimators._fqe import FittedQ, QValues, TextRegression, regression_diagnostics
from estimators._weights import WeightedEpisodes, linear, normalized_means, pad


@dataclass(frozen=True)
class Corrections:
    """Discounted pieces of the doubly robust recursion, (n, L) each, 0 after the end of an episode.

    Attributes:
        residual: gamma^t (r_t - Q(h_t, a_t)), weighted by w_t.
        value: gamma^t V(h_t), weighted by w_{t-1}.
    """

    residual: np.ndarray
    value: np.ndarray


def corrections(data: LoggedDataset, episodes: WeightedEpisodes, q: np.ndarray, v: np.ndarray) -> Corrections:
    """Pads (S,) values of Q at the logged action and of V."""
    columns = data.columns
    discount = data.gamma**columns.turn
    return Corrections(episodes.rewards - pad(columns, discount * q), pad(columns, discount * v))


def doubly_robust_terms(episodes: WeightedEpisodes, parts: Corrections) -> np.ndarray:
    """(n, 1) sum_t w_t gamma^t (r_t - Q_t) + w_{t-1} gamma^t V_t: Jiang & Li 2016, arXiv 1511.03722, eq. 10."""
    now, before = linear(episodes.log_weight), linear(episodes.previous_log_weight)
    return (now * parts.residual + before * parts.value).sum(axis=1, keepdims=True)


def self_normalized_terms(episodes: WeightedEpisodes, parts: Corrections) -> np.ndarray:
    """(n, 3L) log weights | residuals | values, for `self_normalized_doubly_robust`."""
    return np.hstack([episodes.log_weight, parts.residual, parts.value])


def self_normalized_doubly_robust(terms: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Combine for WDR: every turn's weights sum to 1 in every resample, those before turn t included -> (B,)."""
    log_weight, residual, value = np.split(terms, 3, axis=1)
    before = np.hstack([np.zeros((len(terms), 1)), log_weight[:, :-1]])
    return (normalized_means(log_weight, residual, counts) + normalized_means(before, value, counts)).sum(axis=1)


def split_folds(data: LoggedDataset, folds: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) fold of each episode, as even as can be; fewer folds where there is less to deal out.

    What is dealt out is what the bootstrap redraws (`bench.stats`): episodes, instance by instance, where the estimand
    is the mean over a fixed list of instances, and whole instances where these are a sample themselves.
    """
    columns = data.columns
    if data.fixed_instances:
        order = np.lexsort((rng.random(len(data)), columns.instance))
        fold = np.empty(len(data), dtype=int)
        fold[order] = np.arange(len(data)) % folds
        return fold
    return (rng.permutation(len(columns.instances)) % folds)[columns.instance]


@dataclass
class CrossFitted(TextRegression):
    """Base of the estimators that correct a Q: each episode meets the Q of a fold it was not in."""

    folds: int = 3
    """Parts of the log; the Q used on one is learned from the others (Chernozhukov et al. 2018)."""

    family: ClassVar[Family] = "doubly robust"
    needs_propensities: ClassVar[bool] = True
    tiny: ClassVar[dict[str, Any]] = {"dimensions": 8, "trees": 5, "folds": 2}

    def unsupported(self, data: LoggedDataset, policy: Policy) -> str | None:
        return super().unsupported(data, policy) or too_small(data)

    def fit(self, data: LoggedDataset, rng: np.random.Generator) -> Self:
        if self.folds < 2:
            raise BenchError(f"{self.name}: folds must be at least 2, not {self.folds}: Q is learned elsewhere.")
        if reason := too_small(data):
            raise BenchError(f"{self.name}: {reason}.")
        self.data_ = data
        self.texts_ = self.log_texts(data)
        self.fold_ = split_folds(data, self.folds, rng)
        self.q_ = {
            fold: FittedQ(self.averager(self.texts_)).fit(data, np.flatnonzero(self.fold_ != fold), rng)
            for fold in range(int(self.fold_.max()) + 1)
        }
        return self

    def held_out_q(self, policy: Policy, rng: np.random.Generator) -> tuple[QValues, dict[str, float]]:
        """The policy's Q at every logged step, never learned from that step's episode; and how good it is."""
        data = self.fitted_data()
        actions = sample_target_actions(policy, data, self.n_actions, rng)
        candidates = self.texts_.candidates(actions.step, actions.actions)
        q, v, target = np.empty((3, len(data.columns.rewards)))
        step_fold = self.fold_[data.columns.episode]
        for fold, fitted in self.q_.items():
            own, values = step_fold == fold, fitted.evaluate(actions, candidates).values
            q[own], v[own], target[own] = values.q[own], values.v[own], values.target[own]
        values = QValues(q, v, target)
        diagnostics = regression_diagnostics(values, self.texts_, actions)
        return values, diagnostics | {"direct": float(v[data.columns.offsets[:-1]].mean())}


def too_small(data: LoggedDataset) -> str | None:
    """Why a log cannot be split into folds, or None."""
    if len(data) < 2:
        return "the log holds one episode, and cross-fitting needs at least two"
    if not data.fixed_instances and len(data.columns.instances) < 2:
        return "the log holds one task instance, and cross-fitting over instances needs at least two"
    return None
