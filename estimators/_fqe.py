"""Fitted Q evaluation on text, shared by every estimator that needs the target policy's Q."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.sparse as sp

from bench.data import LoggedDataset
from bench.errors import BenchError
from bench.estimator import Estimator
from estimators._averagers import Averager, Table, TargetActions, Trees
from estimators._features import HASHING, Candidates, LogTexts


@dataclass(frozen=True)
class QValues:
    """What is known of a policy at every logged step.

    Attributes:
        q: (S,) Q of the logged action.
        v: (S,) mean of Q over the policy's actions.
        target: (S,) r + gamma V(next), V = 0 after the last step of an episode.
    """

    q: np.ndarray
    v: np.ndarray
    target: np.ndarray

    @property
    def residual(self) -> np.ndarray:
        """(S,) r + gamma V(next) - Q."""
        return self.target - self.q


class FittedQ:
    """Q of any policy from some episodes of a log (Le, Voloshin & Yue 2019, arXiv 1903.08738, algorithm 3).

    Targets are r + gamma times the mean of Q over actions sampled from the policy, never its greedy action. Q is 0
    after the last step of an episode, whether it terminated, met the step limit or was cut short. Starting from Q = 0
    the targets are renewed `horizon` times, so Q counts at most `horizon` rewards; the turn is a feature.
    """

    def __init__(self, averager: Averager):
        self.averager = averager

    def fit(self, data: LoggedDataset, episodes: np.ndarray, rng: np.random.Generator) -> FittedQ:
        """Prepares everything that depends on no policy.

        Args:
            episodes: (m,) indices of the episodes to learn from; Q is later predicted on all.
        """
        self.data_ = data
        self.rows_ = np.flatnonzero(np.isin(data.columns.episode, episodes))
        self.mean_ = leaf_means(self.averager.fit(data, episodes, rng))
        self.logged_ = self.averager.logged()
        return self

    def evaluate(self, actions: TargetActions, candidates: Candidates) -> Evaluation:
        """Q and V of the policy that `actions` were sampled from, at every logged step."""
        data = self.data_
        count = len(data.columns.rewards)
        value = actions.mixture @ self.averager.query(candidates)  # (S, leaves): V = value @ leaf
        goes_on = np.ones(count)
        goes_on[data.columns.offsets[1:] - 1] = 0.0
        following = sp.diags(goes_on) @ value[np.minimum(np.arange(count) + 1, count - 1)]
        rewards, train = data.columns.rewards[self.rows_], following[self.rows_]
        leaves = [np.zeros(self.mean_.shape[0])]
        for _ in range(data.horizon):
            leaves.append(self.mean_ @ (rewards + data.gamma * (train @ leaves[-1])))
            if np.abs(leaves[-1] - leaves[-2]).max() <= 1e-12 * max(1.0, np.abs(leaves[-1]).max()):
                break
        last = leaves[-1]
        target = data.columns.rewards + data.gamma * (following @ last)
        return Evaluation(self, QValues(self.logged_ @ last, value @ last, target), leaves, value, train)


@dataclass(frozen=True)
class Evaluation:
    """One policy's Q, and the way it was reached.

    Attributes:
        fitted: what was learned from the log.
        values: Q and V.
        leaves: leaf values after 0, 1, ... iterations.
        value: (S, leaves) weights of leaf values in V.
        train: (S_train, leaves) weights of leaf values in V(next) of the steps learned from.
    """

    fitted: FittedQ
    values: QValues
    leaves: list[np.ndarray]
    value: sp.csr_matrix
    train: sp.csr_matrix

    def influence(self) -> np.ndarray:
        """(n,) derivative of the mean start value by how often each episode counts in the regression.

        Exact for the iteration with its leaves held fixed, by one backward pass through it; sums to 0. With it, the
        bootstrap of a fitted Q needs no refit, to first order (Hao et al. 2021, arXiv 2102.03607, bootstrap the refit).
        """
        fitted, data = self.fitted, self.fitted.data_
        starts = data.columns.offsets[:-1]
        rewards, transposed, onward = data.columns.rewards[fitted.rows_], fitted.mean_.T.tocsr(), self.train.T.tocsr()
        weight = np.asarray(self.value[starts].mean(axis=0)).ravel()  # of each leaf in the mean start value
        scale = np.abs(weight).max()
        total = np.zeros(len(fitted.rows_))
        for k in range(data.horizon):
            before, after = (self.leaves[min(data.horizon - k - j, len(self.leaves) - 1)] for j in (1, 0))
            spread = transposed @ weight
            total += spread * (rewards + data.gamma * (self.train @ before)) - transposed @ (weight * after)
            weight = data.gamma * (onward @ spread)
            if np.abs(weight).max() <= 1e-12 * scale:
                break
        return np.bincount(data.columns.episode[fitted.rows_], weights=total, minlength=len(data))


def leaf_means(membership: sp.csr_matrix) -> sp.csr_matrix:
    """(m, leaves) membership of steps -> (leaves, m) matrix that averages over the members of each leaf."""
    members = membership.astype(bool).astype(float).T.tocsr()
    size = np.asarray(members.sum(axis=1)).ravel()
    return sp.diags(1 / np.maximum(size, 1)) @ members


@dataclass
class TextRegression(Estimator):
    """Hyper-parameters of the shared regression on text; base of the estimators that use it.

    The defaults are those that predict the returns of held-out episodes about as well as larger ones at a fraction of
    the cost, in logs of real agents on ALFWorld and ScienceWorld; no policy's true value was looked at.
    """

    representation: Literal["text", "table"] = "text"
    """What the regression sees: text features through trees, or cells of equal (goal, observation, action, turn)."""
    encoder: str = HASHING
    """Text encoder: hashed tf-idf, or the name of a sentence-transformers model (extra [text])."""
    dimensions: int = 16
    """Size of each text vector."""
    trees: int = 20
    """Trees of the regressor."""
    min_leaf: int = 5
    """Fewest steps in a leaf."""
    n_actions: int = 4
    """Actions sampled from the policy at every logged step."""

    def log_texts(self, data: LoggedDataset) -> LogTexts:
        """The texts of a log; shared by all regressions on it."""
        for name in ("dimensions", "trees", "min_leaf", "n_actions"):
            if getattr(self, name) < 1:
                raise BenchError(f"{self.name}: {name} must be at least 1, not {getattr(self, name)}.")
        return LogTexts(data, self.encoder)

    def averager(self, texts: LogTexts) -> Averager:
        """An unfitted regressor."""
        if self.representation == "table":
            return Table(texts)
        return Trees(texts, self.dimensions, self.trees, self.min_leaf)


def regression_diagnostics(values: QValues, texts: LogTexts, actions: TargetActions) -> dict[str, float]:
    """How well Q satisfies its own equation, and how far it has to reach beyond the log.

    Keys: `bellman_rmse`, root mean square of r + gamma V(next) - Q over logged steps; `bellman_r2`, the share of the
    variance of r + gamma V(next) that Q explains; `new_action_share`, probability that the policy's action was never
    logged under the same goal and observation.
    """
    spread = values.target.var()
    square = (values.residual**2).mean()
    goal, observation = texts.goal.code.tolist(), texts.observation.code.tolist()
    known = set(zip(goal, observation, texts.actions, strict=True))
    asked = zip(actions.step.tolist(), actions.actions, strict=True)
    new = np.array([(goal[i], observation[i], action) not in known for i, action in asked])
    return {
        "bellman_rmse": float(np.sqrt(square)),
        "bellman_r2": float(1 - square / spread) if spread > 1e-12 else np.nan,
        "new_action_share": float(actions.probability @ new) / actions.steps,
    }
