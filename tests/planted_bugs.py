"""A correct estimator, written without any shared part, and copies of it that each make one mistake."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from scipy.special import logsumexp

from bench.data import LoggedDataset, Trajectory
from bench.errors import UnsupportedError
from bench.estimator import Estimate, Estimator, Family, mean_of_terms
from bench.policy import Policy


def stepwise(terms: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sum over turns of self-normalized means: (n, 2L) log weights | rewards, (B, n) -> (B,)."""
    log_weight, rewards = np.split(terms, 2, axis=1)
    with np.errstate(divide="ignore"):
        shifted = log_weight[None] + np.log(counts)[:, :, None]  # (B, n, L)
    share = np.exp(shifted - logsumexp(shifted, axis=1, keepdims=True))
    return (share * rewards).sum(axis=(1, 2))


@dataclass
class Correct(Estimator):
    """Stepwise self-normalized importance sampling with the weight carried forward."""

    scale: float = 1.0
    """Factor on the result, so that there is a parameter."""
    needs_propensities: ClassVar[bool] = True
    family: ClassVar[Family] = "importance weighting"

    def fit(self, data: LoggedDataset, rng: np.random.Generator) -> Self:
        self.data_ = data
        return self

    def estimate(self, policy: Policy, rng: np.random.Generator) -> Estimate:
        return self.result(self.log_weights(policy))

    def target(self, policy: Policy) -> np.ndarray:
        """(S,) log-probabilities of the logged actions."""
        return np.concatenate(policy.log_prob_episodes(self.fitted_data().trajectories))

    def padded(self, steps: np.ndarray) -> np.ndarray:
        """(S,) -> (n, L), 0 after the end."""
        columns = self.fitted_data().columns
        table = np.zeros((len(columns.lengths), columns.lengths.max()))
        table[columns.episode, columns.turn] = steps
        return table

    def log_weights(self, policy: Policy) -> np.ndarray:
        """(n, L), carried forward after the end."""
        return self.padded(self.target(policy) - self.fitted_data().columns.behavior_logp).cumsum(axis=1)

    def rewards(self) -> np.ndarray:
        """(n, L)."""
        return self.scale * self.padded(self.fitted_data().columns.rewards)

    def result(self, log_weight: np.ndarray) -> Estimate:
        """Terms, and the effective sample size."""
        final = log_weight[:, -1]
        if np.isneginf(final).all():
            raise UnsupportedError("the policy takes none of the logged actions")
        ess = float(np.exp(2 * logsumexp(final) - logsumexp(2 * final)))
        return Estimate(
            np.hstack([log_weight, self.rewards()]), stepwise, self.fitted_data().columns.instance, {"ess": ess}
        )


class GlobalNumpy(Correct):
    """Adds noise from the global generator."""

    def rewards(self):
        return super().rewards() + 1e-3 * np.random.normal()  # noqa: NPY002


class GlobalRandom(Correct):
    """Draws from the standard library's generator, to no effect."""

    def fit(self, data, rng):
        random.random()
        return super().fit(data, rng)


class SeedsTorch(Correct):
    """Makes itself reproducible at everybody's expense."""

    def fit(self, data, rng):
        import torch

        torch.manual_seed(0)
        return super().fit(data, rng)


class MultipliesProbabilities(Correct):
    """Leaves log space too early."""

    def log_weights(self, policy):
        above = np.exp(self.padded(self.target(policy))).cumprod(axis=1)
        below = np.exp(self.padded(self.fitted_data().columns.behavior_logp)).cumprod(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.log(above / below)


class FloorsProbabilities(Correct):
    """Protects itself against small probabilities, and all texts have one."""

    def log_weights(self, policy):
        floor = np.log(1e-12)
        ratio = np.maximum(self.target(policy), floor) - np.maximum(self.fitted_data().columns.behavior_logp, floor)
        return self.padded(ratio).cumsum(axis=1)


@dataclass
class WorksInInit(Correct):
    """Prepares something in the constructor."""

    def __post_init__(self):
        self.log_scale = 0.0


@dataclass
class ValidatesInInit(Correct):
    """Examines a parameter in the constructor."""

    def __post_init__(self):
        self.scale = float(self.scale)


class KeepsEarlierFits(Correct):
    """Learns from every log it was ever given."""

    def fit(self, data, rng):
        earlier = (
            [replace(t, id=f"{t.id}'{len(self.data_)}") for t in self.data_.trajectories]
            if hasattr(self, "data_")
            else []
        )
        return super().fit(data.with_trajectories([*data.trajectories, *earlier]), rng)


class RemembersTheFirstPolicy(Correct):
    """A cache without a key."""

    def target(self, policy):
        if not hasattr(self, "target_") or len(self.target_) != len(self.data_.columns.rewards):
            self.target_ = super().target(policy)
        return self.target_


class PreparesTooMuch(Correct):
    """Leaves something behind that no estimate without it would have."""

    def prepare(self, policy):
        self.prepared_ = 0.1

    def rewards(self):
        return super().rewards() + getattr(self, "prepared_", 0.0)


class Biased(Correct):
    """Off by a constant, whatever the size of the log."""

    def rewards(self):
        table = super().rewards()
        table[:, 0] += 0.15
        return table


class DropsTheTerminalReward(Correct):
    """Masks rewards by `done`, the last one included."""

    def rewards(self):
        columns = self.fitted_data().columns
        last = np.append(columns.turn[1:] == 0, True)
        return self.padded(np.where(last, 0.0, columns.rewards))


class NormalizesOverTheLiving(Correct):
    """Lets episodes that have ended drop out of the sum of weights."""

    def log_weights(self, policy):
        columns = self.fitted_data().columns
        alive = np.arange(columns.lengths.max()) < columns.lengths[:, None]
        return np.where(alive, super().log_weights(policy), -np.inf)

    def result(self, log_weight):
        return super().result(np.where(np.isneginf(log_weight), -1e9, log_weight))


class NormalizesBeforehand(Correct):
    """Divides by the sum of weights once, outside the resamples."""

    def result(self, log_weight):
        share = np.exp(log_weight - logsumexp(log_weight, axis=0))
        contribution = len(share) * (share * self.rewards()).sum(axis=1, keepdims=True)
        return replace(super().result(log_weight), terms=contribution, combine=mean_of_terms)


def centered(terms: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Uses the mean over all units in every resample."""
    return stepwise(terms, counts) + np.split(terms, 2, axis=1)[1].mean()


class UsesNumbersOfAllUnits(Correct):
    """Its resamples are not worth the same as logs of their own."""

    def result(self, log_weight):
        return replace(super().result(log_weight), combine=centered)


class DividesZeroByZero(Correct):
    """Has not thought of a policy without overlap."""

    def result(self, log_weight):
        log_weight = np.where(np.isneginf(log_weight), np.nan, log_weight)
        return Estimate(np.hstack([log_weight, self.rewards()]), stepwise, self.fitted_data().columns.instance)


class ClaimsOverlap(Correct):
    """Reports the number of episodes as its effective sample size."""

    def result(self, log_weight):
        return replace(super().result(log_weight), diagnostics={"ess": float(len(log_weight))})


class HidesItsNeed(Correct):
    """Uses propensities without saying so."""

    needs_propensities = False


class ForgetsToDecline(Correct):
    """Says that it needs propensities, and takes a log without."""

    def unsupported(self, data, policy):
        return None


class ChangesTheLog(Correct):
    """Discounts the rewards in place."""

    def fit(self, data, rng):
        data.columns.rewards[:] *= 0.99
        return super().fit(data, rng)


class CannotTravel(Correct):
    """Combines with a function of its own."""

    def result(self, log_weight):
        return replace(super().result(log_weight), combine=lambda terms, counts: stepwise(terms, counts))


class AnswersUnfitted(Correct):
    """Estimates before it has seen anything."""

    def estimate(self, policy, rng):
        if not hasattr(self, "data_"):
            return Estimate(np.zeros((1, 1)), mean_of_terms, np.zeros(1, int))
        return super().estimate(policy, rng)


class ReturnsNothing(Correct):
    """`fit` has no value."""

    def fit(self, data, rng):
        super().fit(data, rng)


@dataclass
class HasInfinity(Correct):
    """A parameter that JSON does not know."""

    limit: float = np.inf


class AssumesOneLength(Correct):
    """Reshapes instead of padding."""

    def padded(self, steps):
        return steps.reshape(len(self.fitted_data()), -1)


class ClipsRewards(Correct):
    """Knows that rewards are at most 1."""

    def rewards(self):
        return np.minimum(super().rewards(), 1.0)


class ShapesTermsFlat(Correct):
    """Terms of one dimension."""

    def result(self, log_weight):
        terms = np.exp(log_weight - logsumexp(log_weight, axis=0)) * self.rewards() * len(log_weight)
        return replace(super().result(log_weight), terms=terms.sum(axis=1), combine=flat_mean)


def flat_mean(terms: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(n,) terms."""
    return counts @ terms / counts.sum(axis=1)


class DividesByOne(Correct):
    """Plain sums over a log in which one episode is too few."""

    def result(self, log_weight):
        spread = log_weight.std(axis=0, ddof=1)
        return super().result(log_weight + 0 * spread)


@dataclass
class TableFQE(Estimator):
    """Fitted Q evaluation on the tree of histories; exact where every action was logged."""

    needs_propensities: ClassVar[bool] = False
    family: ClassVar[Family] = "direct"
    tiny: ClassVar[dict[str, Any]] = {}

    def fit(self, data: LoggedDataset, rng: np.random.Generator) -> Self:
        self.data_ = data
        return self

    def estimate(self, policy: Policy, rng: np.random.Generator) -> Estimate:
        data = self.fitted_data()
        children: dict[tuple, dict[str, list[Trajectory]]] = defaultdict(lambda: defaultdict(list))
        for trajectory in data.trajectories:
            for t, step in enumerate(trajectory.steps):
                children[self._node(trajectory, t)][step.action].append(trajectory)
        values = [[self._value(children, self._node(t, 0), policy)] for t in data.trajectories]
        return Estimate(np.array(values), mean_of_terms, data.columns.instance)

    def _value(self, children: dict, node: tuple, policy: Policy) -> float:
        if node not in children:
            return 0.0
        options, depth = children[node], len(node) - 1
        expected, weight = [], []
        for action, episodes in options.items():
            reward = np.mean([t.steps[depth].reward for t in episodes])
            expected.append(reward + self._value(children, (*node, action), policy))
            probe = replace(episodes[0], steps=episodes[0].steps[: depth + 1])
            weight.append(np.exp(policy.log_prob_episodes([probe])[0][-1]))
        return self.backup(expected, weight)

    def backup(self, expected: Sequence[float], weight: Sequence[float]) -> float:
        """Value of a node: expectation under the policy."""
        return float(np.dot(expected, weight) / np.sum(weight)) if np.sum(weight) > 0 else 0.0

    @staticmethod
    def _node(trajectory: Trajectory, t: int) -> tuple:
        return (trajectory.goal, *(s.action for s in trajectory.steps[:t]))


class GreedyFQE(TableFQE):
    """Takes the best action at every node."""

    def backup(self, expected, weight):
        return max(expected)
