"""Regressors whose prediction is a weighted mean of targets: trees on text features, and tables of equal texts.

Both are frozen from the log before any policy is known; a value per leaf is then all that is left to learn. Averagers
cannot diverge under bootstrapped targets (Gordon 1995), which linear and neural regressions can, and what they predict
stays within the range of what was seen. Ernst, Geurts & Wehenkel 2005 (section 4.4) freeze their trees for the same
reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from bench.data import LoggedDataset
from bench.errors import DataError
from bench.policy import Policy
from estimators._features import Candidates, LogTexts, StepFeatures


@dataclass(frozen=True)
class TargetActions:
    """What the target policy would do at the logged steps; equal samples at a step are merged.

    Attributes:
        step: (m,) logged step of each candidate.
        actions: m texts.
        probability: (m,) share of the samples at that step; sums to 1 within each step.
        steps: number S of logged steps.
    """

    step: np.ndarray
    actions: Sequence[str]
    probability: np.ndarray
    steps: int

    def at(self, steps: np.ndarray) -> TargetActions:
        """Those at some steps, (S,) bool, numbered among them."""
        mine = steps[self.step]
        number = np.cumsum(steps) - 1
        texts = [text for text, keep in zip(self.actions, mine, strict=True) if keep]
        return TargetActions(number[self.step[mine]], texts, self.probability[mine], int(steps.sum()))

    @property
    def mixture(self) -> sp.csr_matrix:
        """(S, m) matrix that averages over the candidates of each step."""
        shape = (self.steps, len(self.step))
        return sp.csr_matrix((self.probability, (self.step, np.arange(len(self.step)))), shape)


def sample_target_actions(policy: Policy, data: LoggedDataset, n: int, rng: np.random.Generator) -> TargetActions:
    """Asks the policy for `n` actions at every logged step."""
    sampled = policy.next_actions(data.trajectories, n, int(rng.integers(2**63)))
    steps = [actions for episode in sampled for actions in episode]
    if [len(episode) for episode in sampled] != [len(t) for t in data.trajectories] or not all(steps):
        raise DataError(f"policy {policy.name!r}: next_actions must return actions for every step of every episode.")
    share: dict[tuple[int, str], float] = {}
    for i, actions in enumerate(steps):
        for action in actions:
            share[i, action] = share.get((i, action), 0.0) + 1 / len(actions)
    step, texts = zip(*share, strict=True)
    return TargetActions(np.array(step), texts, np.array(list(share.values())), len(steps))


class Trees:
    """Extremely randomized trees over text features, split on reward, return-to-go and ending."""

    def __init__(self, texts: LogTexts, size: int, trees: int, min_leaf: int):
        self.features = StepFeatures(texts, size)
        self.trees = trees
        self.min_leaf = min_leaf

    def fit(self, data: LoggedDataset, episodes: np.ndarray, rng: np.random.Generator) -> sp.csr_matrix:
        """Grows the trees on (m,) episodes; returns the (S_train, leaves) membership of their steps."""
        from sklearn.ensemble import ExtraTreesRegressor  # here, because planning a run must not wait for it

        self.features.fit(episodes, rng)
        rows = np.flatnonzero(np.isin(data.columns.episode, episodes))
        self.forest_ = ExtraTreesRegressor(
            self.trees,
            min_samples_leaf=self.min_leaf,
            max_features=1 / 3,
            random_state=int(rng.integers(2**31)),
            n_jobs=1,
        )
        inputs = self.features.pairs(self.features.texts.logged)
        self.forest_.fit(inputs[rows], _structure_targets(data, rows))
        trees = [estimator.tree_ for estimator in self.forest_.estimators_]
        leaves = [np.flatnonzero(tree.children_left == -1) for tree in trees]
        first = np.concatenate([[0], np.cumsum([len(x) for x in leaves])])
        self.leaves_ = int(first[-1])
        self.leaf_of_node_ = []  # per tree: node -> leaf number among the leaves of all trees
        for tree, mine, start in zip(trees, leaves, first[:-1], strict=True):
            numbers = np.full(tree.node_count, -1)
            numbers[mine] = start + np.arange(len(mine))
            self.leaf_of_node_.append(numbers)
        self.logged_ = self._membership(inputs)
        return self.logged_[rows]

    def logged(self) -> sp.csr_matrix:
        """(S, leaves) weights of the logged pairs of the whole log."""
        return self.logged_

    def query(self, candidates: Candidates) -> sp.csr_matrix:
        """(m, leaves) weights with which leaf values make up the prediction for each candidate."""
        return self._membership(self.features.pairs(candidates))

    def _membership(self, inputs: np.ndarray) -> sp.csr_matrix:
        nodes = self.forest_.apply(inputs)  # (m, trees)
        m, trees = nodes.shape
        leaf = np.stack([numbers[nodes[:, k]] for k, numbers in enumerate(self.leaf_of_node_)], axis=1)
        weight = np.full(m * trees, 1 / trees)
        return sp.csr_matrix((weight, leaf.ravel(), np.arange(m + 1) * trees), shape=(m, self.leaves_))


class Table:
    """Cells of equal (goal, observation, action, turn): ordinary tabular evaluation.

    A pair that was never logged falls back to the mean of its (goal, observation, turn), then of its turn, then of all.
    """

    def __init__(self, texts: LogTexts):
        self.texts = texts

    def fit(self, data: LoggedDataset, episodes: np.ndarray, rng: np.random.Generator) -> sp.csr_matrix:
        """Names the cells of (m,) episodes; returns the (S_train, cells) membership of their steps."""
        rows = np.flatnonzero(np.isin(data.columns.episode, episodes))
        self.cells_: dict[tuple, int] = {}
        actions = self.texts.actions
        cells = [[self.cells_.setdefault(k, len(self.cells_)) for k in self._levels(i, actions[i])] for i in rows]
        members = (np.ones(4 * len(rows)), np.array(cells).ravel(), np.arange(len(rows) + 1) * 4)
        return sp.csr_matrix(members, shape=(len(rows), len(self.cells_)))

    def logged(self) -> sp.csr_matrix:
        """(S, cells) weights of the logged pairs of the whole log."""
        return self.query(self.texts.logged)

    def query(self, candidates: Candidates) -> sp.csr_matrix:
        """(m, cells) weights: 1 for the finest cell that is known."""
        texts = candidates.texts
        pairs = zip(candidates.step, texts.code, strict=True)
        found = [next(self.cells_[k] for k in self._levels(i, texts.unique[c]) if k in self.cells_) for i, c in pairs]
        m = len(found)
        return sp.csr_matrix((np.ones(m), np.array(found), np.arange(m + 1)), shape=(m, len(self.cells_)))

    def _levels(self, i: int, action: str) -> list[tuple]:
        texts = self.texts
        state = (int(texts.goal.code[i]), int(texts.observation.code[i]), int(texts.columns.turn[i]))
        return [(*state, action), state, (state[2],), ()]


Averager = Trees | Table


def _structure_targets(data: LoggedDataset, rows: np.ndarray) -> np.ndarray:
    """(m, 3) reward, return-to-go and ending of m steps, standardized among them, which the trees split on."""
    columns = data.columns
    last = np.zeros(len(columns.rewards))
    last[columns.offsets[1:] - 1] = 1.0
    targets = np.stack([columns.rewards, returns_to_go(data), last], axis=1)[rows]
    spread = targets.std(axis=0)
    return (targets - targets.mean(axis=0)) / np.where(spread > 1e-12, spread, 1.0)


def returns_to_go(data: LoggedDataset) -> np.ndarray:
    """(S,) logged sum of gamma^(k-t) r_k over k >= t."""
    columns = data.columns
    result = columns.rewards.copy()
    for t in range(int(columns.lengths.max()) - 2, -1, -1):
        step = columns.offsets[:-1][columns.lengths > t + 1] + t
        result[step] += data.gamma * result[step + 1]
    return result
