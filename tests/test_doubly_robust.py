"""Doubly robust estimates: exact in expectation with a Q that never saw the episode; and the blends of MAGIC."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize

from bench import registry
from bench.errors import BenchError, UnsupportedError
from bench.estimator import Estimate
from bench.rng import rng_for
from bench.stats import resample_counts
from estimators import _doubly_robust
from estimators._doubly_robust import (
    Corrections,
    corrections,
    self_normalized_doubly_robust,
    self_normalized_terms,
    split_folds,
)
from estimators._weights import sum_of_normalized_means, weigh
from estimators.magic import RIDGE, Magic, partial_contributions, simplex_minimum
from tasks.toy_chain.exact import ExactQ
from tests.give_up import LOGGER, TARGET, TRUTH, Decided, population

TASK = registry.task("toy_chain")
TABLE = "representation=table,n_actions=10"
SMALL = "trees=5,dimensions=4"


def estimate_of(spec, data, policy) -> Estimate:
    return registry.make_estimator(spec).fit(data, rng_for("fit")).estimate(policy, rng_for("estimate"))


@pytest.fixture(scope="module")
def log():
    return TASK.log("pooled").subset(150, 0)


def whole_populations(monkeypatch, copies=3):
    """A log of three populations, each a fold: what is learned from two of them is exact on the third."""
    data, probability = population()
    trajectories = [replace(t, id=f"{t.id}/{k}") for k in range(copies) for t in data.trajectories]
    monkeypatch.setattr(_doubly_robust, "split_folds", lambda *_: np.repeat(np.arange(copies), len(data)))
    return data.with_trajectories(trajectories), np.tile(probability, copies)[None]


@pytest.mark.parametrize("inside", ["", "self_normalized=true,"])
@pytest.mark.parametrize("regression", [TABLE, f"n_actions=10,{SMALL}"])
def test_with_true_propensities_any_q_gives_the_value_in_the_limit(monkeypatch, inside, regression):
    data, probability = whole_populations(monkeypatch)
    wrong = data.with_trajectories(
        replace(t, steps=tuple(replace(s, reward=3.0 - s.reward) for s in t.steps)) for t in data.trajectories
    )
    direct = []
    for taught in (data, wrong):
        estimator = registry.make_estimator(f"doubly_robust[{inside}{regression}]").fit(taught, rng_for("fit"))
        estimator.data_ = data
        estimate = estimator.estimate(TARGET, rng_for("estimate"))
        assert estimate.combine(estimate.terms, probability)[0] == pytest.approx(TRUTH, abs=1e-9)
        direct.append(estimate.diagnostics["direct"])
    assert direct[1] > TRUTH + 1


def test_with_a_right_q_magic_gives_the_value_in_the_limit(monkeypatch):
    data, probability = whole_populations(monkeypatch)
    estimate = estimate_of(f"magic[{TABLE}]", data, TARGET)
    assert estimate.combine(estimate.terms, probability)[0] == pytest.approx(TRUTH, abs=1e-9)


def test_with_a_right_q_wrong_propensities_do_no_harm(monkeypatch):
    data, probability = whole_populations(monkeypatch)
    believed = data.with_trajectories(
        replace(t, steps=tuple(replace(s, behavior_logp=-0.7) for s in t.steps)) for t in data.trajectories
    )
    for spec in (f"doubly_robust[{TABLE}]", f"doubly_robust[self_normalized=true,{TABLE}]"):
        estimate = estimate_of(spec, believed, TARGET)
        assert estimate.combine(estimate.terms, probability)[0] == pytest.approx(TRUTH, abs=1e-9)
    plain = estimate_of("importance_sampling", believed, TARGET)
    assert abs(plain.combine(plain.terms, probability)[0] - TRUTH) > 0.2


@pytest.mark.parametrize("fixed", [True, False])
def test_no_episode_meets_a_q_that_has_seen_it(log, fixed):
    data = replace(log, fixed_instances=fixed)
    make = registry.make_estimator
    one = make(f"doubly_robust[{SMALL}]").fit(data, rng_for("fit"))
    own = np.flatnonzero(one.fold_ == 0)
    louder = data.with_trajectories(
        replace(t, steps=tuple(replace(s, reward=s.reward + 7) for s in t.steps)) if i in set(own) else t
        for i, t in enumerate(data.trajectories)
    )
    two = make(f"doubly_robust[{SMALL}]").fit(louder, rng_for("fit"))
    policy, mine = TASK.policy("expert"), np.isin(data.columns.episode, own)
    mine &= data.columns.turn == 0  # later features hold the rewards so far
    (a, _), (b, _) = (e.held_out_q(policy, rng_for("q")) for e in (one, two))
    assert np.array_equal(a.q[mine], b.q[mine]) and np.array_equal(a.v[mine], b.v[mine])
    assert not np.allclose(a.q[~mine], b.q[~mine])


def test_folds_deal_out_what_the_bootstrap_redraws(log):
    instance = log.columns.instance
    fold = split_folds(log, 3, rng_for("folds"))
    table = np.array([np.bincount(fold[instance == i], minlength=3) for i in np.unique(instance)])
    assert np.ptp(np.bincount(fold)) <= 1 and (np.ptp(table, axis=1) <= 1).all()
    whole = split_folds(replace(log, fixed_instances=False), 3, rng_for("folds"))
    assert all(len(set(whole[instance == i])) == 1 for i in np.unique(instance)) and len(set(whole)) == 3


def test_logs_too_small_to_split_are_refused_with_a_reason(log):
    one = log.with_trajectories(log.trajectories[:1])
    single = replace(log.where(lambda t: t.instance == "mill"), fixed_instances=False)
    for data, reason in ((one, "one episode"), (single, "one task instance")):
        estimator = registry.make_estimator("doubly_robust")
        assert reason in estimator.unsupported(data, TASK.policy("expert"))
        with pytest.raises(BenchError, match=reason):
            estimator.fit(data, rng_for(0))
    with pytest.raises(BenchError, match="at least 2"):
        registry.make_estimator("doubly_robust[folds=1]").fit(log, rng_for(0))


def test_zero_overlap_is_refused(log):
    sings = Decided("sings", {"sing": 1.0})
    for spec in (f"doubly_robust[{SMALL}]", f"magic[{SMALL}]", "prefix_tree"):
        with pytest.raises(UnsupportedError, match="zero overlap"):
            estimate_of(spec, population()[0], sings)


def parts_of(data, policy, q, v):
    episodes = weigh(data, policy)
    return episodes, corrections(data, episodes, q, v)


def toy_parts(log, gamma=1.0, noise=0.0):
    """Weighted episodes and corrections with the exact Q (plus noise) of a toy target."""
    data, policy = replace(log, gamma=gamma), TASK.policy("careful")
    q, v = (np.concatenate(x) for x in zip(*map(ExactQ(policy).episode, data.trajectories), strict=True))
    rng = rng_for("noise")
    return parts_of(data, policy, q + noise * rng.normal(size=q.shape), v + noise * rng.normal(size=v.shape))


def test_with_a_q_of_zero_doubly_robust_is_importance_sampling(log):
    zero = np.zeros(len(log.columns.rewards))
    episodes, parts = parts_of(log, TASK.policy("careful"), zero, zero)
    ones = np.ones((1, len(log)))
    wdr = self_normalized_doubly_robust(self_normalized_terms(episodes, parts), ones)
    cwpdis = sum_of_normalized_means(np.hstack([episodes.log_weight, episodes.rewards]), ones)
    np.testing.assert_allclose(wdr, cwpdis, atol=1e-12)
    dr = _doubly_robust.doubly_robust_terms(episodes, parts).mean()
    pdis = estimate_of("importance_sampling[per_decision=true]", log, TASK.policy("careful")).value
    assert dr == pytest.approx(pdis, abs=1e-12)


# MAGIC


def test_partial_estimates_match_their_definition(log):
    episodes, parts = toy_parts(log, gamma=0.9, noise=0.3)
    weight = np.exp(episodes.log_weight)
    now = weight / weight.sum(axis=0)
    before = np.hstack([np.full((len(log), 1), 1 / len(log)), now[:, :-1]])
    turns = weight.shape[1]
    partial = partial_contributions(episodes, parts).sum(axis=0)
    assert partial[0] == pytest.approx(parts.value[:, 0].mean())
    for last in range(turns):
        upto = slice(0, last + 1)
        expected = (now * parts.residual)[:, upto].sum() + (before * parts.value)[:, upto].sum()
        if last + 1 < turns:
            expected += (now[:, last] * parts.value[:, last + 1]).sum()
        assert partial[last + 1] == pytest.approx(expected)
    ones = np.ones((1, len(log)))
    assert partial[-1] == pytest.approx(self_normalized_doubly_robust(self_normalized_terms(episodes, parts), ones)[0])


def test_the_estimate_is_the_blend_of_the_partial_estimates(log):
    policy = TASK.policy("careful")
    magic = registry.make_estimator(f"magic[{SMALL}]").fit(log, rng_for("fit"))
    estimate = magic.estimate(policy, rng_for("estimate"))
    rng = rng_for("estimate")
    values, _ = magic.held_out_q(policy, rng)
    episodes, parts = parts_of(log, policy, values.q, values.v)
    blend = magic.blend(episodes, parts, resample_counts(episodes.instance, 200, rng, "episodes"))
    assert blend.sum() == pytest.approx(1) and (blend >= 0).all() and 0 < blend.max() < 1
    assert estimate.value == pytest.approx(blend @ partial_contributions(episodes, parts).sum(axis=0))
    assert estimate.diagnostics["weight_on_wdr"] == pytest.approx(blend[-1])


def test_a_good_q_draws_the_blend_and_a_biased_one_is_left(log):
    def blend(episodes, parts, **params):
        counts = resample_counts(episodes.instance, 200, rng_for("counts"), "episodes")
        return Magic(**params).blend(episodes, parts, counts)

    episodes, right = toy_parts(log)
    assert blend(episodes, right)[0] > 0.5
    far = Corrections(right.residual, right.value + 5 * (right.value != 0))
    wrong = blend(episodes, far)
    assert wrong[0] < 0.05
    published = blend(episodes, far, covariance="published", delta=0.1)
    turns = np.arange(len(wrong))
    assert published @ turns >= wrong @ turns  # variance counts for less: more turns are weighted


def test_two_partial_estimates_are_blended_as_by_hand():
    omega, bias = np.array([[1.0, 0.3], [0.3, 2.0]]), np.array([0.8, 0.0])
    matrix = omega + np.outer(bias, bias)
    by_hand = (matrix[1, 1] - matrix[0, 1]) / (matrix[0, 0] + matrix[1, 1] - 2 * matrix[0, 1])
    np.testing.assert_allclose(simplex_minimum(matrix), [by_hand, 1 - by_hand], atol=1e-5)
    np.testing.assert_allclose(simplex_minimum(np.array([[1.0, 2.0], [2.0, 9.0]])), [1, 0], atol=1e-9)  # at the edge
    np.testing.assert_allclose(simplex_minimum(np.zeros((3, 3))), [0, 0, 1])


@pytest.mark.parametrize("seed", range(5))
def test_the_quadratic_program_agrees_with_a_general_solver(seed):
    rng = rng_for("qp", seed)
    root = rng.normal(size=(3 + seed, 6))
    matrix = 1e-4 * root.T @ root  # of deficient rank where seed < 3
    ridged = matrix + RIDGE * np.trace(matrix) / 6 * np.eye(6)

    def scaled(x):
        return x @ ridged @ x / np.trace(ridged)

    constraint = {"type": "eq", "fun": lambda x: x.sum() - 1}
    found = minimize(scaled, np.full(6, 1 / 6), bounds=[(0, 1)] * 6, constraints=constraint, options={"ftol": 1e-14})
    x = simplex_minimum(matrix)
    assert x.sum() == pytest.approx(1) and (x >= 0).all()
    assert scaled(x) <= scaled(found.x) + 1e-8


def test_the_blend_does_not_depend_on_the_unit_of_the_rewards(log):
    episodes, parts = toy_parts(log, noise=0.3)
    counts = resample_counts(episodes.instance, 200, rng_for("counts"), "episodes")
    cents = Corrections(100 * parts.residual, 100 * parts.value)
    one, hundred = (Magic().blend(episodes, p, counts) for p in (parts, cents))
    np.testing.assert_allclose(hundred, one, atol=1e-9)


def test_levels_outside_the_unit_interval_are_refused(log):
    with pytest.raises(BenchError, match="delta"):
        estimate_of(f"magic[delta=1,{SMALL}]", log, LOGGER)
