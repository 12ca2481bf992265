"""Exact answers by enumeration: every episode that can happen, and what it is worth."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.data import LoggedDataset, Step, Trajectory
from bench.policy import Policy
from tasks.toy_chain.agents import UNKNOWN, TabularPolicy, color_of, kind_of
from tasks.toy_chain.world import (
    ACTIONS,
    HORIZON,
    INSTANCES,
    Instance,
    State,
    first_observation,
    instance_named,
    replay,
    transitions,
)

ALL = tuple(i.name for i in INSTANCES)


@dataclass(frozen=True)
class Episodes:
    """Every possible episode of some instances, each once.

    Attributes:
        trajectories: n episodes, without log-probabilities.
        world_logp: (n,) log-probability of the environment's part of each, given the actions.
        instance: (n,) int code into the list of instances asked for.
    """

    trajectories: tuple[Trajectory, ...]
    world_logp: np.ndarray
    instance: np.ndarray


@dataclass(frozen=True)
class Moments:
    """Mean and variance of one episode's term on each instance, both (instances,).

    The mean over a stratified log of n episodes per instance has expectation `mean.mean()` and variance
    `variance.sum() / n / len(variance) ** 2`.
    """

    mean: np.ndarray
    variance: np.ndarray


@functools.cache
def enumerate_episodes(instances: tuple[str, ...] = ALL) -> Episodes:
    """Every episode that agents restricted to `ACTIONS` can produce, up to the horizon."""
    found = [_enumerate_instance(instance_named(name)) for name in instances]
    return Episodes(
        trajectories=tuple(t for trajectories, _ in found for t in trajectories),
        world_logp=np.concatenate([logp for _, logp in found]),
        instance=np.repeat(np.arange(len(found)), [len(trajectories) for trajectories, _ in found]),
    )


def enumerated_log(logger: Policy, instances: tuple[str, ...] = ALL) -> tuple[LoggedDataset, np.ndarray]:
    """Every episode the logger can produce as a log, and the probability of each, (n,), summing to 1.

    Fit a weighted estimator on this log: its `terms`, averaged with these probabilities, are its exact expectation.
    """
    every = enumerate_episodes(instances)
    logps = logger.log_prob_episodes(every.trajectories)
    total = every.world_logp + np.array([x.sum() for x in logps])
    possible = np.flatnonzero(np.isfinite(total))
    trajectories = [
        replace(
            t, logger=logger.name, steps=tuple(_scored(s, float(x)) for s, x in zip(t.steps, logps[i], strict=True))
        )
        for i in possible
        for t in [every.trajectories[i]]
    ]
    data = LoggedDataset("toy_chain", (logger.name,), 1.0, HORIZON, tuple(trajectories))
    return data, np.exp(total[possible]) / len(instances)


def value_by_instance(policy: Policy, instances: tuple[str, ...] = ALL) -> np.ndarray:
    """(instances,) exact expected return of the policy on each, by summing over all episodes."""
    every = enumerate_episodes(instances)
    probability = np.exp(every.world_logp + np.array([x.sum() for x in policy.log_prob_episodes(every.trajectories)]))
    returns = np.array([t.rewards.sum() for t in every.trajectories])
    return np.bincount(every.instance, weights=probability * returns, minlength=len(instances))


def value(policy: Policy, instances: tuple[str, ...] = ALL) -> float:
    """The exact value of any policy that writes only `ACTIONS`: mean over instances of its expected return."""
    return float(value_by_instance(policy, instances).mean())


def weighted_moments(target: Policy, logger: Policy, instances: tuple[str, ...] = ALL) -> dict[str, Moments]:
    """Exact moments of one logged episode's terms: "is", "pdis", and "weight_t", its weight after t = 1..horizon steps.

    The weight of an episode that ended before step t stays what it was. Shares no code with any estimator, so
    that it can judge them.
    """
    every = enumerate_episodes(instances)
    behavior = logger.log_prob_episodes(every.trajectories)
    log_ratio = [a - b for a, b in zip(target.log_prob_episodes(every.trajectories), behavior, strict=True)]
    probability = np.exp(every.world_logp + np.array([b.sum() for b in behavior]))
    carried = np.zeros((len(log_ratio), HORIZON))  # log-ratio 0 after the end
    for row, x in zip(carried, log_ratio, strict=True):
        row[: len(x)] = x
    weight = np.exp(carried.cumsum(axis=1))  # (n, horizon)
    returns = np.array([t.rewards.sum() for t in every.trajectories])
    terms = {
        **{f"weight_{t + 1}": weight[:, t] for t in range(HORIZON)},
        "is": weight[:, -1] * returns,
        "pdis": np.array([w[: len(t)] @ t.rewards for w, t in zip(weight, every.trajectories, strict=True)]),
    }
    return {name: _moments(term, probability, every.instance, len(instances)) for name, term in terms.items()}


class ExactQ:
    """Exact action values of a policy, by dynamic programming on what the policy and the house remember.

    Independent of `enumerate_episodes`: neither uses the other, so each checks the other.
    """

    def __init__(self, policy: TabularPolicy):
        self._policy = policy
        self._cached: dict[tuple[int, Instance, State, int, int], np.ndarray] = {}

    def start_value(self, instances: tuple[str, ...] = ALL) -> float:
        """The exact value: mean over instances of the value of the first observation."""
        starts = [(i.goal, (), first_observation(i)) for i in map(instance_named, instances)]
        return float(np.mean([self.value(*start) for start in starts]))

    def action_values(self, goal: str, history: Sequence[tuple[str, str]], observation: str) -> np.ndarray:
        """(actions,) expected return to go of each of `ACTIONS`, up to the horizon, then following the policy."""
        instance, state = replay(goal, history, observation)
        previous = kind_of(history[-1][0]) if history else UNKNOWN
        return self._q(len(history), instance, state, previous, kind_of(observation))

    def value(self, goal: str, history: Sequence[tuple[str, str]], observation: str) -> float:
        """Expected return to go under the policy."""
        previous = kind_of(history[-1][0]) if history else UNKNOWN
        return self._v(len(history), *replay(goal, history, observation), previous, kind_of(observation))

    def episode(self, trajectory: Trajectory) -> tuple[np.ndarray, np.ndarray]:
        """(T,) action values of the logged actions and (T,) state values along an episode."""
        pairs = [(s.observation, s.action) for s in trajectory.steps]
        q = [self.action_values(trajectory.goal, pairs[:t], o)[ACTIONS.index(a)] for t, (o, a) in enumerate(pairs)]
        v = [self.value(trajectory.goal, pairs[:t], o) for t, (o, _) in enumerate(pairs)]
        return np.array(q), np.array(v)

    def _v(self, t: int, instance: Instance, state: State, previous: int, kind: int) -> float:
        if t == HORIZON:
            return 0.0
        probability = np.exp(self._policy.table[color_of(instance.goal), previous, kind])
        return float(probability @ self._q(t, instance, state, previous, kind))

    def _q(self, t: int, instance: Instance, state: State, previous: int, kind: int) -> np.ndarray:
        place = (t, instance, state, previous, kind)
        if place not in self._cached:
            self._cached[place] = np.array([self._backup(*place, action) for action in ACTIONS])
        return self._cached[place]

    def _backup(self, t: int, instance: Instance, state: State, previous: int, kind: int, action: str) -> float:
        total = 0.0
        for outcome, after in transitions(instance, state, action):
            future = 0.0 if outcome.terminated else self._v(t + 1, instance, after, kind, kind_of(outcome.observation))
            total += outcome.probability * (outcome.reward + future)
        return total


@functools.cache
def _enumerate_instance(instance: Instance) -> tuple[tuple[Trajectory, ...], np.ndarray]:
    episodes: list[Trajectory] = []
    logps: list[float] = []

    def extend(steps: tuple[Step, ...], state: State, observation: str, logp: float) -> None:
        for action in ACTIONS:
            for outcome, after in transitions(instance, state, action):
                longer = (*steps, Step(observation, action, outcome.reward))
                so_far = logp + float(np.log(outcome.probability))
                if not outcome.terminated and len(longer) < HORIZON:
                    extend(longer, after, outcome.observation, so_far)
                    continue
                label = f"{instance.name}/{len(episodes)}"
                end = outcome.terminated
                episodes.append(
                    Trajectory(
                        label, instance.name, instance.goal, longer, outcome.observation, end, not end, "enumeration"
                    )
                )
                logps.append(so_far)

    extend((), State(), first_observation(instance), 0.0)
    return tuple(episodes), np.array(logps)


def _scored(step: Step, logp: float) -> Step:
    return replace(step, behavior_logp=logp, logger_logps=(logp,))


def _moments(term: np.ndarray, probability: np.ndarray, instance: np.ndarray, n: int) -> Moments:
    mean = np.bincount(instance, weights=probability * term, minlength=n)
    return Moments(mean, np.bincount(instance, weights=probability * (term - mean[instance]) ** 2, minlength=n))
