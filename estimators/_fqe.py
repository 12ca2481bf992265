"""Fitted Q evaluation on text, shared by every estimator that needs the target policy's Q.

The regressor is an averager: extremely randomized trees whose structure is grown once from the log (on reward,
return-to-go and ending, so it depends on no policy), after which Q is a leaf mean. Evaluating a policy is then a short
iteration of two sparse matrix products. Averagers cannot diverge (Gordon 1995), which linear and neural regressions
with bootstrapped targets can, and Q stays within the range of returns seen. Ernst, Geurts & Wehenkel 2005 freeze their
trees for the same reason (section 4.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.sparse as sp
from sklearn.ensemble import ExtraTreesRegressor

from bench.data import LoggedDataset
from bench.errors import DataError
from bench.estimator import Estimator
from bench.policy import Policy
from estimators._features import HASHING, StepFeatures


@dataclass(frozen=True)
class TargetActions:
    """What the target policy would do at the logged steps; equal samples at a step are merged.

    Attributes:
        step: (m,) logged step of each candidate.
        actions: m texts.
        probability: (m,) share of the samples at that step; sums to 1 within each step.
    """

    step: np.ndarray
    actions: Sequence[str]
    probability: np.ndarray


def sample_target_actions(policy: Policy, data: LoggedDataset, n: int, rng: np.random.Generator) -> TargetActions:
    """Asks the policy for `n` actions at every logged step."""
    sampled = policy.next_actions(data.trajectories, n, int(rng.integers(2**63)))
    steps = [actions for episode in sampled for actions in episode]
    if len(steps) != len(data.columns.rewards) or any(len(actions) == 0 for actions in steps):
        raise DataError(f"policy {policy.name!r}: next_actions must return actions for every step of every episode.")
    share: dict[tuple[int, str], float] = {}
    for i, actions in enumerate(steps):
        for action in actions:
            share[i, action] = share.get((i, action), 0.0) + 1 / len(actions)
    step, texts = zip(*share, strict=True)
    return TargetActions(np.array(step), texts, np.array(list(share.values())))


class Trees:
    """Averager over text features."""

    def __init__(self, encoder: str, size: int, trees: int, min_leaf: int):
        self.features = StepFeatures(encoder, size)
        self.trees = trees
        self.min_leaf = min_leaf

    def fit(self, data: LoggedDataset, episodes: np.ndarray, rng: np.random.Generator) -> sp.csr_matrix:
        """Grows the trees on some episodes; returns the (S_train, leaves) membership of their steps."""
        columns = data.columns
        self.features.fit(data, episodes, rng)
        rows = np.flatnonzero(np.isin(columns.episode, episodes))
        self.forest_ = ExtraTreesRegressor(
            self.trees, min_samples_leaf=self.min_leaf, max_features=1 / 3, random_state=int(rng.integers(2**31)), n_jobs=1
        )
        inputs = self.features.pairs(rows, [self.features.actions_[i] for i in rows])
        self.forest_.fit(inputs, _structure_targets(data)[rows])
        self.first_leaf_ = np.concatenate([[0], np.cumsum([t.tree_.node_count for t in self.forest_.estimators_])])
        return self._membership(inputs)

    def query(self, step: np.ndarray, actions: Sequence[str]) -> sp.csr_matrix:
        """(m, leaves) weights with which leaf means make up the Q of each pair."""
        return self._membership(self.features.pairs(step, actions))

    def _membership(self, inputs: np.ndarray) -> sp.csr_matrix:
        leaves = self.forest_.apply(inputs) + self.first_leaf_[:-1]  # (m, trees)
        m, trees = leaves.shape
        data = np.full(m * trees, 1 / trees)
        return sp.csr_matrix((data, leaves.ravel(), np.arange(m + 1) * trees), shape=(m, self.first_leaf_[-1]))


class Table:
    """Averager over cells of equal (goal, observation, action, turn): ordinary tabular evaluation.

    A pair that was never logged falls back to the mean of its (goal, observation, turn), then of its turn, then of all.
    """

    def fit(self, data: LoggedDataset, episodes: np.ndarray, rng: np.random.Generator) -> sp.csr_matrix:
        """Names the cells of some episodes; returns the (S_train, cells) membership of their steps."""
        self.goals_ = [t.goal for t in data.trajectories for _ in t.steps]
        self.observations_ = [s.observation for t in data.trajectories for s in t.steps]
        actions = [s.action for t in data.trajectories for s in t.steps]
        self.turn_ = data.columns.turn
        rows = np.flatnonzero(np.isin(data.columns.episode, episodes))
        self.cells_: dict[tuple, int] = {}
        cells = [[self.cells_.setdefault(k, len(self.cells_)) for k in self._levels(i, actions[i])] for i in rows]
        ones = np.ones(4 * len(rows))
        members = (ones, np.array(cells).ravel(), np.arange(len(rows) + 1) * 4)
        return sp.csr_matrix(members, shape=(len(rows), len(self.cells_)))

    def query(self, step: np.ndarray, actions: Sequence[str]) -> sp.csr_matrix:
        """(m, cells) weights: 1 for the finest cell that is known."""
        found = [
            next(self.cells_[k] for k in self._levels(i, a) if k in self.cells_) for i, a in zip(step, actions, strict=True)
        ]
        m = len(found)
        return sp.csr_matrix((np.ones(m), np.array(found), np.arange(m + 1)), shape=(m, len(self.cells_)))

    def _levels(self, i: int, action: str) -> list[tuple]:
        state = (self.goals_[i], self.observations_[i], int(self.turn_[i]))
        return [(*state, action), state, (state[2],), ()]


def _structure_targets(data: LoggedDataset) -> np.ndarray:
    """(S, 3) standardized reward, discounted return-to-go and ending, which the trees split on."""
    columns = data.columns
    discounted = columns.rewards * data.gamma**columns.turn
    total = np.cumsum(discounted)
    to_go = total[columns.offsets[1:] - 1][columns.episode] - total + discounted
    last = np.zeros(len(total))
    last[columns.offsets[1:] - 1] = 1.0
    targets = np.stack([columns.rewards, to_go / data.gamma**columns.turn, last], axis=1)
    spread = targets.std(axis=0)
    return (targets - targets.mean(axis=0)) / np.where(spread > 1e-12, spread, 1.0)


@dataclass(frozen=True)
class QValues:
    """Q of the logged action and V at every logged step, (S,) each; `residual` (S,) is target minus Q."""

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

    def __init__(self, averager: Trees | Table):
        self.averager = averager

    def fit(self, data: LoggedDataset, episodes: np.ndarray, rng: np.random.Generator) -> FittedQ:
        """Prepares everything that depends on no policy.

        Args:
            episodes: (m,) indices of the episodes to learn from; Q is later predicted on all.
        """
        self.data_ = data
        self.rows_ = np.flatnonzero(np.isin(data.columns.episode, episodes))
        members = self.averager.fit(data, episodes, rng).astype(bool).astype(float).T.tocsr()  # (leaves, S_train)
        size = np.asarray(members.sum(axis=1)).ravel()
        self.leaf_mean_ = sp.diags(1 / np.maximum(size, 1)) @ members
        every = np.arange(len(data.columns.rewards))
        self.logged_ = self.averager.query(every, [s.action for t in data.trajectories for s in t.steps])
        return self

    def evaluate(self, actions: TargetActions) -> QValues:
        """Q and V of the policy that `actions` were sampled from, at every logged step."""
        data, rewards = self.data_, self.data_.columns.rewards
        count = len(rewards)
        mix = sp.csr_matrix((actions.probability, (actions.step, np.arange(len(actions.step)))), (count, len(actions.step)))
        value = mix @ self.averager.query(actions.step, actions.actions)  # (S, leaves): V = value @ leaf
        goes_on = np.ones(count)
        goes_on[data.columns.offsets[1:] - 1] = 0.0
        following = sp.diags(goes_on) @ value[np.minimum(np.arange(count) + 1, count - 1)]
        bootstrapped = self.leaf_mean_ @ following[self.rows_]  # (leaves, leaves)
        immediate = self.leaf_mean_ @ rewards[self.rows_]
        leaf = np.zeros(len(immediate))
        for _ in range(data.horizon):
            leaf, previous = immediate + data.gamma * (bootstrapped @ leaf), leaf
            if np.abs(leaf - previous).max() <= 1e-12 * max(1.0, np.abs(leaf).max()):
                break
        return QValues(self.logged_ @ leaf, value @ leaf, rewards + data.gamma * (following @ leaf))


@dataclass
class FittedQEstimator(Estimator):
    """Hyper-parameters of the shared fitted Q evaluation; base of the estimators that use it."""

    representation: Literal["text", "table"] = "text"
    """What Q sees: text features through trees, or cells of equal (goal, observation, action, turn)."""
    encoder: str = HASHING
    """Text encoder: hashed tf-idf, or the name of a sentence-transformers model (extra [text])."""
    dimensions: int = 32
    """Size of each text vector."""
    trees: int = 40
    """Trees of the regressor."""
    min_leaf: int = 5
    """Fewest steps in a leaf."""
    n_actions: int = 4
    """Actions sampled from the policy at every logged step."""

    def fitted_q(self, data: LoggedDataset, episodes: np.ndarray, rng: np.random.Generator) -> FittedQ:
        """A Q learned from some episodes of the log."""
        table = self.representation == "table"
        averager = Table() if table else Trees(self.encoder, self.dimensions, self.trees, self.min_leaf)
        return FittedQ(averager).fit(data, episodes, rng)


def held_out_diagnostics(values: QValues, held_out: np.ndarray) -> dict[str, float]:
    """Root mean square Bellman residual on held-out steps (S,) bool, and the share of target variance explained."""
    residual, target = values.residual[held_out], values.target[held_out]
    spread = target.var()
    explained = 1 - (residual**2).mean() / spread if spread > 1e-12 else np.nan
    return {"bellman_rmse": float(np.sqrt((residual**2).mean())), "bellman_r2": float(explained)}
