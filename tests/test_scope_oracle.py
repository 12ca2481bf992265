"""Agreement with an independent library, SCOPE-RL 0.2.1, on ragged episodes padded the way it needs.

Its estimators are called directly: its own front end zeroes the reward of the last step, and its intervals are wrong.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
import pytest

from bench import registry
from bench.rng import rng_for
from estimators._doubly_robust import (
    corrections,
    doubly_robust_terms,
    self_normalized_doubly_robust,
    self_normalized_terms,
)
from estimators._weights import weigh
from tasks.toy_chain.world import ACTIONS

discrete = pytest.importorskip(
    "scope_rl.ope.discrete", reason="the independent library is not installed: pip install '.[oracle]'"
)

TASK = registry.task("toy_chain")
GAMMA = 0.95
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Padded:
    """Episodes as SCOPE-RL wants them: T steps each, after the end one certain action, no reward and no value."""

    arguments: dict
    q: np.ndarray
    v: np.ndarray


@functools.cache
def log():
    return replace(TASK.log("pooled").subset(60, 0), gamma=GAMMA)


@functools.cache
def padded() -> Padded:
    data, policy, rng = log(), TASK.policy("careful"), rng_for("oracle")
    columns, turns = data.columns, int(data.columns.lengths.max())
    shape = (len(data), turns)
    everything = policy.log_prob_episodes(
        [replace(t, steps=tuple(replace(s, action=a) for s in t.steps)) for t in data.trajectories for a in ACTIONS]
    )
    distribution = np.zeros((*shape, len(ACTIONS)))
    distribution[:, :, 0] = 1.0
    for i, t in enumerate(data.trajectories):
        distribution[i, : len(t)] = np.exp(np.array(everything[i * len(ACTIONS) : (i + 1) * len(ACTIONS)])).T
    at = columns.episode, columns.turn
    action, reward, pscore = np.zeros(shape, int), np.zeros(shape), np.ones(shape)
    action[at] = [ACTIONS.index(s.action) for t in data.trajectories for s in t.steps]
    reward[at], pscore[at] = columns.rewards, np.exp(columns.behavior_logp)
    prediction = np.zeros((*shape, len(ACTIONS)))
    prediction[at] = rng.normal(size=(len(columns.rewards), len(ACTIONS)))
    arguments = dict(
        step_per_trajectory=turns,
        action=action.ravel(),
        reward=reward.ravel(),
        pscore=pscore.ravel(),
        evaluation_policy_action_dist=distribution.reshape(-1, len(ACTIONS)),
        state_action_value_prediction=prediction.reshape(-1, len(ACTIONS)),
        gamma=GAMMA,
    )
    q = prediction[at][np.arange(len(columns.rewards)), action[at]]
    return Padded(arguments, q, (prediction * distribution).sum(axis=2)[at])


def theirs(name: str) -> float:
    return getattr(discrete, name)().estimate_policy_value(**padded().arguments)


def corrected():
    data = log()
    episodes = weigh(data, TASK.policy("careful"))
    return episodes, corrections(data, episodes, padded().q, padded().v)


def test_the_data_are_ragged():
    assert len(set(log().columns.lengths)) > 3


@pytest.mark.parametrize(
    ("inside", "name"),
    [
        ("", "TrajectoryWiseImportanceSampling"),
        ("self_normalized=true", "SelfNormalizedTIS"),
        ("per_decision=true", "PerDecisionImportanceSampling"),
        ("self_normalized=true,per_decision=true", "SelfNormalizedPDIS"),
    ],
)
def test_importance_sampling(inside, name):
    estimator = registry.make_estimator(f"importance_sampling[{inside}]").fit(log(), rng_for(0))
    assert estimator.estimate(TASK.policy("careful"), rng_for(0)).value == pytest.approx(theirs(name), abs=TOLERANCE)


def test_doubly_robust():
    assert doubly_robust_terms(*corrected()).mean() == pytest.approx(theirs("DoublyRobust"), abs=TOLERANCE)


def test_weighted_doubly_robust():
    terms = self_normalized_terms(*corrected())
    value = self_normalized_doubly_robust(terms, np.ones((1, len(terms))))[0]
    assert value == pytest.approx(theirs("SelfNormalizedDR"), abs=TOLERANCE)


def test_direct_method():
    start = log().columns.offsets[:-1]
    assert padded().v[start].mean() == pytest.approx(theirs("DirectMethod"), abs=TOLERANCE)
