"""Every metric against a definition that is slow and plain, or against scipy."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, spearmanr

from bench.metrics import (
    covers_noisy_truth,
    errors,
    interval_score,
    pairwise_accuracy,
    rank_correlations,
    ranking,
    regret,
    scope_regret,
    wilson_interval,
)

TRUTH = np.array([0.1, 0.4, 0.6, 0.9])
ESTIMATES = np.array([0.2, 0.7, 0.5, 0.8])
"""Four policies, the middle two in the wrong order."""


def values(size: int):
    """Few distinct values, so that ties are common."""
    return st.lists(st.integers(0, 5), min_size=size, max_size=size).map(lambda x: np.array(x, dtype=float))


def test_the_table_of_four_policies_is_what_one_computes_by_hand():
    found = errors(ESTIMATES, TRUTH)
    assert found["mae"] == pytest.approx((0.1 + 0.3 + 0.1 + 0.1) / 4)
    assert found["bias"] == pytest.approx((0.1 + 0.3 - 0.1 - 0.1) / 4)
    assert found["rmse"] == pytest.approx(np.sqrt((0.01 + 0.09 + 0.01 + 0.01) / 4))
    ranks = ranking(ESTIMATES, TRUTH, np.full(4, 0.01), span=0.8)
    assert ranks["spearman"] == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert ranks["kendall"] == pytest.approx((5 - 1) / 6)
    assert ranks["regret@1"] == pytest.approx(0.0)
    assert ranks["pairwise_accuracy"] == pytest.approx(5 / 6)


def test_regret_is_the_best_value_missed_and_is_divided_by_the_range():
    picked_third = np.array([0.1, 0.2, 0.9, 0.3])
    assert regret(picked_third, TRUTH, 1) == pytest.approx(0.9 - 0.6)
    assert ranking(picked_third, TRUTH, np.zeros(4), span=0.8)["regret@1"] == pytest.approx(0.3 / 0.8)
    assert regret(picked_third, TRUTH, 3) == pytest.approx(0.0)


def test_scope_regret_is_another_quantity_under_another_name():
    picked = np.array([0.9, 0.1, 0.8, 0.2])  # selects the first and the third of the truths
    assert scope_regret(picked, TRUTH, 2) == pytest.approx((0.9 + 0.6) - (0.1 + 0.6))


@settings(deadline=None, max_examples=60)
@given(estimates=values(6), truths=values(6))
def test_rank_correlations_agree_with_scipy_ties_included(estimates, truths):
    rho, tau = rank_correlations(estimates, truths)
    if len(set(estimates)) == 1 or len(set(truths)) == 1:
        assert np.isnan(rho) and np.isnan(tau)
    else:
        assert rho == pytest.approx(spearmanr(estimates, truths).statistic, abs=1e-12)
        assert tau == pytest.approx(kendalltau(estimates, truths).statistic, abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(estimates=values(5), truths=values(5), k=st.integers(1, 4))
def test_regret_is_the_mean_over_all_ways_to_break_ties(estimates, truths, k):
    boundary = np.sort(estimates)[::-1][k - 1]
    certain, tied = np.flatnonzero(estimates > boundary), np.flatnonzero(estimates == boundary)
    selections = [[*certain, *extra] for extra in combinations(tied, k - len(certain))]
    expected = truths.max() - np.mean([truths[list(s)].max() for s in selections])
    assert regret(estimates, truths, k) == pytest.approx(expected)
    expected_scope = np.sort(truths)[::-1][:k].sum() - np.mean([truths[list(s)].sum() for s in selections])
    assert scope_regret(estimates, truths, k) == pytest.approx(expected_scope)


def test_a_constant_estimator_has_no_rank_correlation_and_the_regret_of_a_random_choice():
    constant = np.full(4, 0.5)
    assert all(np.isnan(x) for x in rank_correlations(constant, TRUTH))
    assert regret(constant, TRUTH, 1) == pytest.approx(0.9 - TRUTH.mean())
    assert pairwise_accuracy(constant, TRUTH, np.full(4, 0.01)) == pytest.approx(0.5)


def test_noise_in_the_last_digits_is_a_tie():
    assert np.isnan(rank_correlations(0.5 + np.array([0, 1e-16, -1e-16, 1e-15]), TRUTH)[0])


def test_two_policies_have_no_rank_correlation():
    assert np.isnan(rank_correlations(np.array([1.0, 2.0]), np.array([1.0, 2.0]))[0])


def test_policies_without_an_estimate_are_left_out_of_errors_and_never_selected():
    partial = np.array([0.2, np.nan, 0.5, np.nan])
    assert errors(partial, TRUTH)["mae"] == pytest.approx((0.1 + 0.1) / 2)
    assert regret(partial, TRUTH, 1) == pytest.approx(0.9 - 0.6)  # measured against the best of the whole pool
    assert np.isnan(scope_regret(partial, TRUTH, 3))
    nothing = np.full(4, np.nan)
    assert np.isnan(errors(nothing, TRUTH)["mae"]) and np.isnan(regret(nothing, TRUTH, 1))


def test_pairs_that_the_truth_cannot_separate_do_not_count():
    truths, stderrs = np.array([0.50, 0.51, 0.90]), np.full(3, 0.02)
    wrong_within_noise = np.array([0.51, 0.50, 0.90])
    assert pairwise_accuracy(wrong_within_noise, truths, stderrs) == 1.0
    assert np.isnan(pairwise_accuracy(truths, truths, np.full(3, 1.0)))


def test_metrics_of_many_resamples_at_once_are_those_of_each():
    rng = np.random.default_rng(0)
    estimates, truths = rng.integers(0, 6, (2, 20, 7)).astype(float)
    estimates[rng.random(estimates.shape) < 0.1] = np.nan
    at_once = ranking(estimates, truths, np.full(7, 0.1), span=5.0)
    for i in range(20):
        for name, value in ranking(estimates[i], truths[i], np.full(7, 0.1), span=5.0).items():
            assert np.array_equal(value, at_once[name][i], equal_nan=True), name


def test_interval_score_is_the_width_plus_forty_times_the_miss():
    low, high = np.array([0.0, 0.0, 0.5]), np.array([1.0, 0.2, 1.0])
    truths = np.array([0.5, 0.3, 0.4])
    assert interval_score(low, high, truths) == pytest.approx([1.0, 0.2 + 40 * 0.1, 0.5 + 40 * 0.1])


def test_an_interval_may_miss_a_measured_truth_by_the_noise_of_the_measurement():
    value, low, high, truth = (np.array([x]) for x in (0.5, 0.4, 0.6, 0.65))
    assert not covers_noisy_truth(value, low, high, truth, np.array([0.0])).any()
    assert covers_noisy_truth(value, low, high, truth, np.array([0.06])).all()


def test_wilson_interval_is_the_textbook_one():
    assert wilson_interval(19, 20) == pytest.approx((0.7639, 0.9911), abs=5e-4)
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert wilson_interval(20, 20)[1] == pytest.approx(1.0)
