"""Direct method on the tree of logged histories: exact where the policy stays on it, and says how often it does."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from scipy.special import logsumexp

from bench.data import LoggedDataset
from bench.errors import UnsupportedError
from bench.estimator import Estimate, Estimator, Family, mean_of_terms
from bench.policy import Policy
from estimators._averagers import returns_to_go
from estimators._weights import effective_sample_size, target_log_probs


@dataclass(frozen=True)
class HistoryTree:
    """Every logged history and action, each once; S steps.

    Attributes:
        node: (S,) history in which a step was taken.
        edge: (S,) history and action.
        child: (S,) history that followed, -1 at the end of an episode.
        spelling: (S,) edge and token ids; an action's probability is the sum over the ways it was spelled.
    """

    node: np.ndarray
    edge: np.ndarray
    child: np.ndarray
    spelling: np.ndarray

    @staticmethod
    def grow(data: LoggedDataset) -> HistoryTree:
        """Two steps share a node where task instance, goal and all texts before them are equal."""
        nodes, edges, spellings = _Numbers(), _Numbers(), _Numbers()
        rows = []
        for t in data.trajectories:
            node = nodes[t.instance, t.goal, t.steps[0].observation]
            for k, step in enumerate(t.steps):
                edge = edges[node, step.action]
                last = k == len(t.steps) - 1
                child = -1 if last else nodes[edge, t.steps[k + 1].observation]
                rows.append((node, edge, child, spellings[edge, step.action_tokens]))
                node = child
        return HistoryTree(*np.array(rows).T)


class _Numbers(dict):
    """Gives each new key the next number."""

    def __getitem__(self, key: Hashable) -> int:
        return self.setdefault(key, len(self))


@dataclass
class PrefixTree(Estimator):
    """V(h) = sum_a pi(a | h) mean(r + gamma V(h')) over the actions logged after exactly h, by backward induction.

    The policy's probability of actions that were never logged after h is given the mean logged return-to-go from h,
    and reported. In a deterministic environment the rest is exact, and no behavior log-probability is used; the same
    numbers are those of importance sampling with the empirical behavior policy (Hanna, Niekum & Stone 2019, arXiv
    1806.01347, with the whole history). `lower_bound` and `upper_bound` give unmatched mass the smallest and largest
    logged return (replay as in Li et al. 2011, arXiv 1003.5956, with the rejected part bounded).
    """

    family: ClassVar[Family] = "direct"

    def fit(self, data: LoggedDataset, rng: np.random.Generator) -> Self:
        self.data_ = data
        self.tree_ = HistoryTree.grow(data)
        return self

    def estimate(self, policy: Policy, rng: np.random.Generator) -> Estimate:
        data, tree = self.fitted_data(), self.tree_
        columns = data.columns
        logp = target_log_probs(policy, data)
        log_likely = _log_edge_probabilities(tree, logp)
        missing = _missing_mass(tree, log_likely, policy)  # (nodes,)
        node_size, edge_size = np.bincount(tree.node), np.bincount(tree.edge)
        log_share = (log_likely - np.log(edge_size))[tree.edge]  # (S,)
        to_go = returns_to_go(data)
        logged = np.bincount(tree.node, weights=to_go) / node_size  # (nodes,)
        value, outcome = _backward(data, tree, np.exp(log_share), missing * logged)
        log_reach = _forward(data, tree, log_share)
        surprise = outcome - (np.bincount(tree.edge, weights=outcome) / edge_size)[tree.edge]
        unknown = (missing / node_size)[tree.node] * (to_go - logged[tree.node])
        pull = np.exp(log_reach)[tree.node] * (np.exp(log_share) * surprise + unknown)  # sums to 0
        start, last = columns.offsets[:-1], columns.offsets[1:] - 1
        influence = np.bincount(columns.episode, weights=data.gamma**columns.turn * pull)
        terms = value[tree.node[start]] + len(data) * influence
        coverage = _coverage(log_reach[tree.node[last]] + log_share[last], columns.returns(data.gamma))
        return Estimate(terms[:, None], mean_of_terms, columns.instance, coverage)


def _log_edge_probabilities(tree: HistoryTree, logp: np.ndarray) -> np.ndarray:
    """(edges,) log-probability of each logged action after its history, summed over its spellings."""
    first = np.unique(tree.spelling, return_index=True)[1]
    return _log_sums(tree.edge[first], logp[first], int(tree.edge.max()) + 1)


def _missing_mass(tree: HistoryTree, log_likely: np.ndarray, policy: Policy) -> np.ndarray:
    """(nodes,) probability of all actions that were never logged after each history."""
    first = np.unique(tree.edge, return_index=True)[1]
    total = np.exp(_log_sums(tree.node[first], log_likely, int(tree.node.max()) + 1))
    if total.max() > 1.001:
        raise UnsupportedError(
            f"policy {policy.name!r}: after one and the same history its probabilities of different logged actions sum "
            f"to {total.max():.4g}; they must not exceed 1."
        )
    return np.maximum(1 - total, 0.0)


def _log_sums(group: np.ndarray, values: np.ndarray, groups: int) -> np.ndarray:
    """(groups,) log of the sum of exp(values) over each group; -inf for empty ones."""
    sums = np.full(groups, -np.inf)
    np.logaddexp.at(sums, group, values)
    return sums


def _backward(
    data: LoggedDataset, tree: HistoryTree, share: np.ndarray, unmatched: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(nodes,) values and (S,) outcomes r + gamma V(h'), from the last turn to the first.

    Args:
        share: (S,) probability of the step's action, divided by how often it was logged there.
        unmatched: (nodes,) what actions that were never logged add to the value.
    """
    value, outcome = unmatched, data.columns.rewards.copy()
    for steps in reversed(_by_turn(data)):
        on = steps[tree.child[steps] >= 0]
        outcome[on] += data.gamma * value[tree.child[on]]
        value = value + np.bincount(tree.node[steps], weights=share[steps] * outcome[steps], minlength=len(value))
    return value, outcome


def _forward(data: LoggedDataset, tree: HistoryTree, log_share: np.ndarray) -> np.ndarray:
    """(nodes,) log-probability that the policy reaches each history."""
    start, one = tree.node[data.columns.offsets[:-1]], np.full(len(data), -np.log(len(data)))
    reach = _log_sums(start, one, int(tree.node.max()) + 1)
    for steps in _by_turn(data):
        on = steps[tree.child[steps] >= 0]
        np.logaddexp.at(reach, tree.child[on], reach[tree.node[on]] + log_share[on])
    return reach


def _by_turn(data: LoggedDataset) -> list[np.ndarray]:
    order = np.argsort(data.columns.turn, kind="stable")
    return np.split(order, np.cumsum(np.bincount(data.columns.turn))[:-1])


def _coverage(log_weight: np.ndarray, returns: np.ndarray) -> dict[str, float]:
    """What is known of the policy's episodes: those on the tree to their very end, and bounds for the others.

    Args:
        log_weight: (n,) log-probability of each logged episode; episodes with one history share its probability.
        returns: (n,).

    Raises:
        UnsupportedError: there are none on the tree.
    """
    if np.isneginf(log_weight).all():
        raise UnsupportedError("zero overlap: every logged episode holds an action that the policy never takes.")
    known, total = np.exp(log_weight) @ returns, logsumexp(log_weight)
    missing = max(0.0, -np.expm1(total))
    return {
        "matched_mass": 1 - missing,
        "lower_bound": float(known + missing * returns.min()),
        "upper_bound": float(known + missing * returns.max()),
        "ess": float(effective_sample_size(log_weight[:, None])[0]),
        "max_weight_share": float(np.exp(log_weight.max() - total)),
    }
