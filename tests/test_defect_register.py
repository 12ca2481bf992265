"""Defects found in public code, each as a negative control: the defective formula fails the check that ours passes.

All formulas are applied to the give-up chain (four turns, most episodes end early) with every episode weighted by its
probability, so a wrong answer is wrong in the limit of infinitely many episodes and not by bad luck.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import spearmanr, t

from bench import registry
from bench.conformance.specimens import TwoTurns
from bench.data import LoggedDataset
from bench.errors import UnsupportedError
from bench.estimator import Estimate, mean_of_terms
from bench.metrics import errors, rank_correlations, regret
from bench.policy import Policy
from bench.rng import rng_for
from bench.stats import bootstrap, percentile_interval, resample_counts
from estimators._doubly_robust import Corrections
from estimators._weights import WeightedEpisodes, sum_of_normalized_means
from estimators.magic import Magic, partial_contributions, simplex_minimum
from tests.give_up import TARGET, TRUTH, Decided, population, weighted

SAMPLED = 1000
"""Episodes that a defect's factor of n is shown with."""


@dataclass(frozen=True)
class Chain:
    """The population as padded arrays: (n,) probabilities p, (n, T) cumulative weights w, rewards r, who is alive."""

    p: np.ndarray
    w: np.ndarray
    r: np.ndarray
    alive: np.ndarray

    @property
    def masked(self) -> np.ndarray:
        """(n, T) weights set to 0 after the end instead of carried forward."""
        return self.w * self.alive

    @property
    def last(self) -> np.ndarray:
        """(n, T) marks the last turn of each episode."""
        return self.alive & ~np.hstack([self.alive[:, 1:], np.zeros((len(self.w), 1), bool)])


def chain() -> Chain:
    episodes, probability = weighted()
    alive = np.arange(episodes.rewards.shape[1]) < episodes.lengths[:, None]
    return Chain(probability, np.exp(episodes.log_weight), episodes.rewards, alive)


def estimate_of(spec: str, data: LoggedDataset, policy: Policy) -> Estimate:
    return registry.make_estimator(spec).fit(data, rng_for(0)).estimate(policy, rng_for(0))


def ours(inside: str) -> float:
    data, probability = population()
    estimate = estimate_of(f"importance_sampling[{inside}]", data, TARGET)
    return float(estimate.combine(estimate.terms, probability[None])[0])


def d1_terminal_reward_masked_by_done(c: Chain) -> float:
    return c.p @ (c.w * c.r * ~c.last).sum(axis=1)


def d9_normalized_over_the_living(c: Chain) -> float:
    return ((c.p @ (c.masked * c.r)) / (c.p @ c.masked)).sum()


def d10_divided_by_the_number_alive(c: Chain) -> float:
    return ((c.p @ (c.masked * c.r)) / (c.p @ c.alive)).sum()


def d11_normalized_over_the_living_then_averaged_over_all(c: Chain) -> float:
    return ((c.p @ (c.masked * c.r)) / (c.p @ c.masked) * (c.p @ c.alive)).sum()


def d12_padding_enters_the_normalizer_with_weight_one(c: Chain) -> float:
    padded = np.where(c.alive, c.w, 1.0)
    return ((c.p @ (padded * c.r)) / (c.p @ padded)).sum()


def d13_mean_over_turns_of_sums_over_episodes(c: Chain) -> float:
    return (SAMPLED * (c.p @ (c.w * c.r))).mean()


def d15_one_normalizer_for_all_slots(c: Chain) -> float:
    return c.p @ (c.w * c.r).sum(axis=1) / (c.p @ c.masked.sum(axis=1)) * (c.p @ c.alive.sum(axis=1))


def d16_episodes_without_return_dropped(c: Chain) -> float:
    kept = c.r.sum(axis=1) > 0
    return (c.p @ (kept * (c.w * c.r).sum(axis=1))) / (c.p @ kept)


DEFECTIVE = {
    "D1": (d1_terminal_reward_masked_by_done, "per_decision=true"),
    "D9": (d9_normalized_over_the_living, "self_normalized=true,per_decision=true"),
    "D10": (d10_divided_by_the_number_alive, "per_decision=true"),
    "D11": (d11_normalized_over_the_living_then_averaged_over_all, "self_normalized=true,per_decision=true"),
    "D12": (d12_padding_enters_the_normalizer_with_weight_one, "self_normalized=true,per_decision=true"),
    "D13": (d13_mean_over_turns_of_sums_over_episodes, "per_decision=true"),
    "D15": (d15_one_normalizer_for_all_slots, "self_normalized=true,per_decision=true"),
    "D16": (d16_episodes_without_return_dropped, "per_decision=true"),
}


@pytest.mark.parametrize("name", DEFECTIVE)
def test_the_limit_is_the_value_and_the_defect_misses_it(name):
    defect, inside = DEFECTIVE[name]
    assert ours(inside) == pytest.approx(TRUTH, abs=1e-9)
    assert abs(defect(chain()) - TRUTH) > 0.05 * TRUTH


def test_d2_products_of_probabilities_are_nan_where_log_weights_are_finite():
    turns = 13
    logp = np.full((5, turns), -60.0)
    episodes = WeightedEpisodes(np.zeros((5, turns)), np.full((5, turns), 0.1), np.full(5, turns), np.zeros(5, int))
    estimate = registry.make_estimator("importance_sampling[self_normalized=true]").from_weights(episodes)
    assert estimate.value == pytest.approx(0.1 * turns)
    with np.errstate(invalid="ignore"):
        assert np.isnan(np.exp(logp).cumprod(axis=1) / np.exp(logp).cumprod(axis=1)).any()


def coverage(interval, draws: int = 600, n: int = 200) -> float:
    rng = rng_for("coverage")
    samples = rng.normal(size=(draws, n))
    return float(np.mean([low <= 0 <= high for low, high in map(interval, samples)]))


def test_d3_and_d4_intervals_cover_what_they_promise():
    counts = resample_counts(np.zeros(200, int), 200, rng_for("b"), "episodes")

    def bootstrapped(sample):
        return percentile_interval(mean_of_terms(sample[:, None], counts))

    def one_sided_quantile(sample):
        half = t.ppf(0.95, len(sample) - 1) * sample.std(ddof=1) / np.sqrt(len(sample))
        return sample.mean() - half, sample.mean() + half

    def hoeffding_with_the_wrong_precedence(n):
        return np.sqrt(np.log(2 / 0.05) / 2 * n)

    assert 0.93 <= coverage(bootstrapped) <= 0.97
    assert coverage(one_sided_quantile) < 0.92
    assert hoeffding_with_the_wrong_precedence(1600) > hoeffding_with_the_wrong_precedence(100) > 1  # and grows


def test_d5_widths_of_self_normalized_intervals_do_not_depend_on_a_reward_offset():
    rng = rng_for("offset")
    log_weight, returns = rng.normal(size=(200, 1)), rng.random((200, 1))
    clusters = np.zeros(200, int)

    def width(values, combine):
        return np.ptp(percentile_interval(bootstrap(Estimate(values, combine, clusters), rng_for("b"))[0]))

    def normalized_beforehand(offset):
        weight = np.exp(log_weight)
        return width(weight / weight.mean() * (returns + offset), mean_of_terms)

    def renormalized(offset):
        return width(np.hstack([log_weight, returns + offset]), sum_of_normalized_means)

    assert renormalized(10.0) == pytest.approx(renormalized(0.0), rel=1e-6)
    assert normalized_beforehand(10.0) > 3 * normalized_beforehand(0.0)


def test_d6_errors_are_per_policy_and_finite_where_episodes_fail():
    returns = np.array([0.0, 1.0, 0.0])
    with np.errstate(divide="ignore"):
        assert np.isinf(np.abs(0.5 - returns) / returns).any()  # relative to each episode
    found = errors(np.array([0.5, 0.2]), np.array([returns.mean(), 0.0]))
    assert found["mae"] == pytest.approx((1 / 6 + 0.2) / 2) and all(np.isfinite(v) for v in found.values())


def test_d7_a_constant_estimator_has_no_rank_correlation():
    truths, constant = np.array([0.1, 0.5, 0.9]), np.zeros(3)
    assert all(np.isnan(rank_correlations(constant, truths)))
    by_argsort = spearmanr(np.argsort(constant)[::-1], truths).statistic
    assert by_argsort == pytest.approx(-1)
    assert regret(constant, truths, 1) == pytest.approx(0.9 - 0.5)  # the mean over ties, not the worst case


def test_d8_the_greedy_next_action_is_not_the_policys():
    coin = Decided("coin", {"left": 0.5, "right": 0.5})
    data, _ = population(TwoTurns(), coin)
    estimate = estimate_of("fitted_q[representation=table]", data, coin)
    outcome = {tuple(s.action for s in t.steps): t.rewards.sum() for t in data.trajectories}
    greedy = np.mean([max(outcome[first, second] for second in coin.words) for first in coin.words])
    assert estimate.value == pytest.approx(0.25) and greedy == 0.5


def test_d14_the_point_estimate_uses_every_episode_once():
    data, _ = population()
    estimator = registry.make_estimator("importance_sampling").fit(data, rng_for(0))
    values = {estimator.estimate(TARGET, rng_for(seed)).value for seed in range(5)}
    assert len(values) == 1
    terms = estimator.estimate(TARGET, rng_for(0)).terms[:, 0]
    assert len({rng_for(seed).choice(terms, 5).mean() for seed in range(5)}) > 1


def random_parts(gamma: float = 1.0):
    rng = rng_for("magic")
    n, turns = 50, 4
    log_weight = np.cumsum(0.5 * rng.normal(size=(n, turns)), axis=1)
    discount = gamma ** np.arange(turns)
    episodes = WeightedEpisodes(log_weight, discount * rng.random((n, turns)), np.full(n, turns), np.zeros(n, int))
    return episodes, Corrections(episodes.rewards - discount * 0.5, discount * (0.7 + 0.1 * rng.random((n, turns))))


def test_d17_the_error_of_a_blend_is_covariance_plus_the_outer_product_of_biases():
    bias = np.array([0.5, -0.5])
    exact, elementwise = np.outer(bias, bias), np.tile(bias**2, (2, 1))
    x = np.array([0.5, 0.5])
    assert x @ exact @ x == 0 == (x @ bias) ** 2  # opposite biases cancel in the blend
    assert x @ elementwise @ x > 0.1
    np.testing.assert_allclose(simplex_minimum(exact), x, atol=1e-4)
    episodes, parts = random_parts()
    counts = resample_counts(episodes.instance, 200, rng_for("c"), "episodes")
    full, published = (Magic(covariance=c, delta=0.1).blend(episodes, parts, counts) for c in ("full", "published"))
    assert not np.allclose(full, published)


def test_d17_the_covariance_is_that_of_the_sum_over_episodes():
    episodes, parts = random_parts()
    contributions = partial_contributions(episodes, parts)
    n = len(contributions)
    counts = resample_counts(episodes.instance, 4000, rng_for("c"), "episodes")
    sums = counts @ contributions  # what n episodes drawn anew would contribute, their weights as they are
    np.testing.assert_allclose(n * np.diag(np.cov(contributions.T)), sums.var(axis=0), rtol=0.1)
    assert sums.var(axis=0).max() > 10 * np.diag(np.cov(contributions.T)).max()


def test_d18_the_value_after_turn_j_is_discounted_once_more_than_its_reward():
    gamma = 0.5
    n, turns = 4, 3
    discount = gamma ** np.arange(turns)
    ahead = np.array([(1 - gamma**k) / (1 - gamma) for k in range(turns, 0, -1)])  # value of a reward of 1 per turn
    episodes = WeightedEpisodes(np.zeros((n, turns)), np.tile(discount, (n, 1)), np.full(n, turns), np.zeros(n, int))
    parts = Corrections(episodes.rewards - discount * ahead, np.tile(discount * ahead, (n, 1)))
    np.testing.assert_allclose(partial_contributions(episodes, parts).sum(axis=0), ahead[0])  # every blend is right
    too_early = ahead[0] + (gamma**0 - gamma**1) * ahead[1]  # gamma^j in the place of gamma^(j + 1), j = 0
    assert abs(too_early - ahead[0]) > 0.5


def test_d19_the_value_is_the_plug_in_and_not_the_bootstrap_mean():
    rng = rng_for("plug-in")
    terms = np.hstack([2 * rng.normal(size=(20, 1)), rng.random((20, 1))])
    estimate = Estimate(terms, sum_of_normalized_means, np.zeros(20, int))
    weight, returns = np.exp(estimate.terms[:, 0]), estimate.terms[:, 1]
    assert estimate.value == pytest.approx(weight @ returns / weight.sum())
    assert abs(bootstrap(estimate, rng_for("b"))[0].mean() - estimate.value) > 1e-3


def test_d20_resamples_follow_their_generator_and_are_shared_between_estimators():
    clusters = np.repeat(np.arange(4), 5)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    one, two = (resample_counts(clusters, 10, rng_for("seed"), "episodes") for _ in range(2))
    assert np.array_equal(one, two)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_d21_probabilities_renormalized_over_kept_tokens_sum_to_more_than_one_and_are_refused():
    """Log-probabilities among what a sampler kept (90 % of the mass), mixed with raw ones."""
    data, _ = population()

    class Renormalized(Decided):
        def log_prob_episodes(self, trajectories):
            raw = super().log_prob_episodes(trajectories)
            kept = [np.array([s.action == "carry on" for s in t.steps]) for t in trajectories]
            return [x - np.log(0.9) * k for x, k in zip(raw, kept, strict=True)]

    kept_only = Renormalized("kept", TARGET.words)
    with pytest.raises(UnsupportedError, match="must not exceed 1"):
        estimate_of("prefix_tree", data, kept_only)
    off, honest = (estimate_of("importance_sampling", data, policy).diagnostics for policy in (kept_only, TARGET))
    kept_mass = 4 * np.log(0.9)  # once per action
    assert off["max_log_weight"] == pytest.approx(honest["max_log_weight"] - kept_mass)
