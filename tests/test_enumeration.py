"""Exactness by enumeration: expectations and variances over every episode, and over every log of a few episodes."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from bench import registry
from bench.estimator import mean_of_terms
from bench.policy import Context, log_prob
from bench.rng import rng_for
from estimators._doubly_robust import (
    corrections,
    doubly_robust_terms,
    self_normalized_doubly_robust,
    self_normalized_terms,
)
from estimators._weights import sum_of_normalized_means, weigh
from tasks.toy_chain import exact
from tasks.toy_chain.world import ACTIONS
from tests.give_up import GAME, TARGET, TRUTH, logs_of, population, weighted

TASK = registry.task("toy_chain")
HOUSES = ("mill", "inn")  # one where a step can fail, one where it cannot; a first search may fail in both kinds
LOGGER, POLICY = TASK.policy("steady"), TASK.policy("careful")
IS, PDIS = "importance_sampling", "importance_sampling[per_decision=true]"


@functools.cache
def enumerated():
    return exact.enumerated_log(LOGGER, HOUSES)


@functools.cache
def value():
    return exact.value(POLICY, HOUSES)


def contexts():
    """Every history of the enumerated log once: the contexts, and the index of each step's context."""
    data, _ = enumerated()
    found: dict[Context, int] = {}
    index = []
    for t in data.trajectories:
        past: tuple[tuple[str, str], ...] = ()
        for s in t.steps:
            index.append(found.setdefault(Context(t.goal, past, s.observation), len(found)))
            past += ((s.observation, s.action),)
    return list(found), np.array(index)


@functools.cache
def arbitrary_q():
    """(S,) a random Q of the whole history, for the logged action and averaged over the policy's."""
    data, _ = enumerated()
    histories, index = contexts()
    asked = [c for c in histories for _ in ACTIONS]
    probability = np.exp(log_prob(POLICY, asked, list(ACTIONS) * len(histories))).reshape(-1, len(ACTIONS))
    table = rng_for("arbitrary q").normal(scale=2.0, size=probability.shape)
    actions = np.array([ACTIONS.index(s.action) for t in data.trajectories for s in t.steps])
    return table[index, actions], (table * probability).sum(axis=1)[index]


@functools.cache
def exact_q():
    q, v = zip(*map(exact.ExactQ(POLICY).episode, enumerated()[0].trajectories), strict=True)
    return np.concatenate(q), np.concatenate(v)


def terms_of(name):
    data, _ = enumerated()
    if name in (IS, PDIS):
        return registry.make_estimator(name).fit(data, rng_for(0)).estimate(POLICY, rng_for(0)).terms[:, 0]
    episodes = weigh(data, POLICY)
    q = {"arbitrary": arbitrary_q, "exact": exact_q}[name]()
    return doubly_robust_terms(episodes, corrections(data, episodes, *q))[:, 0]


def variance(name):
    """Of one episode's term, on each instance, averaged: the part that more episodes per instance take away."""
    data, probability = enumerated()
    terms, instance = terms_of(name), data.columns.instance
    share = probability * len(HOUSES)
    mean = np.bincount(instance, weights=share * terms)
    return np.bincount(instance, weights=share * (terms - mean[instance]) ** 2).mean()


def test_the_process_ends_early_and_depends_on_history():
    data, probability = enumerated()
    assert len(set(data.columns.lengths)) > 3 and probability.sum() == pytest.approx(1, abs=1e-12)
    q, v = exact_q()
    seen = {}
    places = [(t.goal, s.observation) for t in data.trajectories for s in t.steps]
    for place, number in zip(places, v, strict=True):
        seen.setdefault(place, set()).add(round(number, 9))
    assert max(map(len, seen.values())) > 3  # one observation, many values


@pytest.mark.parametrize("name", [IS, PDIS, "arbitrary", "exact"])
def test_the_expectation_is_the_value_to_twelve_digits(name):
    _, probability = enumerated()
    assert probability @ terms_of(name) == pytest.approx(value(), abs=1e-12)


def test_without_carry_forward_the_expectation_is_wrong():
    data, probability = enumerated()
    episodes = weigh(data, POLICY)
    alive = np.arange(episodes.log_weight.shape[1]) < episodes.lengths[:, None]
    share = probability[:, None] * alive
    weight = np.exp(episodes.log_weight)
    stepwise = (share * weight * episodes.rewards).sum(axis=0) / (share * weight).sum(axis=0)
    assert abs(stepwise.sum() - value()) > 0.02


@pytest.mark.parametrize(("name", "key"), [(IS, "is"), (PDIS, "pdis")])
def test_variances_agree_with_moments_that_share_no_code(name, key):
    expected = exact.weighted_moments(POLICY, LOGGER, HOUSES)[key].variance.mean()
    assert variance(name) == pytest.approx(expected, rel=1e-10)


def test_a_good_q_lowers_the_variance_and_a_bad_one_raises_it():
    assert variance("exact") < 0.5 * variance(PDIS) < 0.5 * variance("arbitrary")


def test_variance_with_the_exact_q_is_the_bound_for_tree_mdps():
    """Jiang & Li 2016, theorem 2, on one instance: sum over t of E[w_t^2 Var(r_t + V(h_{t+1}) | h_t, a_t)]."""
    data, probability = enumerated()
    columns, episodes = data.columns, weigh(data, POLICY)
    q, v = exact_q()
    goes_on = np.roll(columns.turn, -1) > 0
    surprise = columns.rewards + np.where(goes_on, np.roll(v, -1), 0.0) - q  # of mean 0 given history and action
    weight = np.exp(episodes.log_weight)[columns.episode, columns.turn]
    bound = (probability[columns.episode] * weight**2 * surprise**2).sum()
    assert variance("exact") == pytest.approx(bound, rel=1e-9)


# Every log of n episodes of the give-up chain, with its probability: exact moments of estimators that divide by weights


def arbitrary_parts():
    data, _ = population()
    episodes, _ = weighted()
    words = list(TARGET.words)
    table = rng_for("a bad q").normal(size=(GAME.turns, len(words)))
    actions = [words.index(s.action) for t in data.trajectories for s in t.steps]
    v = table @ list(TARGET.words.values())
    return episodes, corrections(data, episodes, table[data.columns.turn, actions], v[data.columns.turn])


def family():
    episodes, parts = arbitrary_parts()
    weight = np.exp(episodes.log_weight)
    return {
        "is": ((weight[:, -1] * episodes.returns)[:, None], mean_of_terms),
        "pdis": ((weight * episodes.rewards).sum(axis=1, keepdims=True), mean_of_terms),
        "dr": (doubly_robust_terms(episodes, parts), mean_of_terms),
        "wis": (np.hstack([episodes.log_weight[:, -1:], episodes.returns[:, None]]), sum_of_normalized_means),
        "cwpdis": (np.hstack([episodes.log_weight, episodes.rewards]), sum_of_normalized_means),
        "wdr": (self_normalized_terms(episodes, parts), self_normalized_doubly_robust),
    }


def moments(name, n):
    _, probability = weighted()
    terms, combine = family()[name]
    counts, chance = logs_of(n, probability)
    values = combine(terms, counts)
    mean = chance @ values
    return mean, chance @ (values - mean) ** 2


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("name", ["is", "pdis", "dr"])
def test_plain_estimators_are_unbiased_in_logs_of_any_size(name, n):
    mean, spread = moments(name, n)
    assert mean == pytest.approx(TRUTH, abs=1e-12)
    assert spread == pytest.approx(moments(name, 1)[1] / n, rel=1e-9)


@pytest.mark.parametrize("name", ["wis", "cwpdis", "wdr"])
def test_self_normalized_estimators_are_biased_by_an_amount_that_vanishes(name):
    bias = {n: abs(moments(name, n)[0] - TRUTH) for n in (3, 6, 12)}
    assert 1e-3 < bias[12] < bias[6] < bias[3]
    assert bias[12] < 0.65 * bias[6]  # of order 1 / n


def test_self_normalization_pays_in_small_logs():
    for plain, normalized in (("is", "wis"), ("pdis", "cwpdis")):
        assert moments(normalized, 6)[1] < moments(plain, 6)[1]


def test_variance_of_weighted_estimators_approaches_the_delta_method():
    """n Var -> E[w^2 (G - V)^2] for WIS, at rate 1 / n."""
    episodes, probability = weighted()
    limit = probability @ (np.exp(2 * episodes.final_log_weight) * (episodes.returns - TRUTH) ** 2)
    error = [n * moments("wis", n)[1] / limit - 1 for n in (8, 16, 32)]
    assert error[1] == pytest.approx(0.5 * error[0], rel=0.1) and error[2] == pytest.approx(0.5 * error[1], rel=0.1)
