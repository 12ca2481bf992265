"""Intervals cover what they promise, and the truth's standard error is that of a fixed list of instances."""

from __future__ import annotations

import numpy as np
import pytest

from bench import stats
from bench.estimator import Estimate, mean_of_terms, ratio_of_sums
from bench.rng import rng_for, seed_for
from bench.stats import bootstrap, percentile_interval, resample_counts, resampling_scheme
from bench.task import GroundTruth

CLUSTERS = np.repeat(np.arange(10), 20)


def mean_estimate(values: np.ndarray, clusters: np.ndarray = CLUSTERS) -> Estimate:
    return Estimate(values[:, None], mean_of_terms, clusters)


def test_redrawing_episodes_keeps_the_number_of_each_instance():
    counts = resample_counts(CLUSTERS, 50, np.random.default_rng(0), "episodes")
    assert counts.shape == (50, 200) and counts.std() > 0.5
    np.testing.assert_allclose(np.add.reduceat(counts, np.arange(0, 200, 20), axis=1), 20)


def test_redrawing_instances_moves_whole_instances():
    counts = resample_counts(CLUSTERS, 50, np.random.default_rng(0), "instances").reshape(50, 10, 20)
    assert (counts == counts[:, :, :1]).all()
    np.testing.assert_allclose(counts[:, :, 0].sum(axis=1), 10)


def test_a_single_episode_of_an_instance_counts_once():
    counts = resample_counts(np.array([0, 1, 1]), 30, np.random.default_rng(0), "episodes")
    assert (counts[:, 0] == 1).all() and set(counts[:, 1]) == {0.0, 2.0}
    assert (resample_counts(np.zeros(3, int), 5, np.random.default_rng(0), "instances") == 1).all()


def test_equal_clusters_and_seeds_give_equal_counts_whatever_the_estimator():
    one = resample_counts(CLUSTERS, 5, rng_for("bootstrap"), "episodes")
    assert np.array_equal(one, resample_counts(CLUSTERS, 5, rng_for("bootstrap"), "episodes"))


def test_the_scheme_follows_the_estimand_and_is_announced_when_it_cannot():
    assert resampling_scheme(CLUSTERS, True) == ("episodes", "")
    assert resampling_scheme(CLUSTERS, False) == ("instances", "")
    scheme, note = resampling_scheme(np.arange(50), True)
    assert scheme == "instances" and "conservative" in note


def coverage(draw, truth: float, combine, clusters: np.ndarray, *, fixed: bool = True) -> float:
    """Share of 300 simulated logs whose 95 % interval holds the truth."""
    rng, hits = np.random.default_rng(1), 0
    for _ in range(300):
        values, _ = bootstrap(Estimate(draw(rng), combine, clusters), rng, fixed_instances=fixed, replicates=150)
        low, high = percentile_interval(values)
        hits += low <= truth <= high
    return hits / 300


@pytest.mark.parametrize(("instances", "episodes"), [(10, 20), (50, 4), (50, 2)])
def test_intervals_of_a_mean_cover_95_percent_however_few_episodes_an_instance_has(instances, episodes):
    clusters = np.repeat(np.arange(instances), episodes)
    level = np.linspace(0, 1, instances)[clusters]  # instances differ; that is no noise
    covered = coverage(lambda rng: (level + 0.5 * rng.normal(size=len(level)))[:, None], 0.5, mean_of_terms, clusters)
    assert 0.92 <= covered <= 0.975


def test_intervals_of_a_ratio_cover_95_percent():
    def draw(rng):
        weight = rng.gamma(4, 0.25, size=200)
        return np.stack([weight * (1 + rng.normal(size=200)), weight], axis=1)

    assert 0.92 <= coverage(draw, 1.0, ratio_of_sums, CLUSTERS) <= 0.975


def test_intervals_over_instances_cover_95_percent_when_instances_are_a_sample():
    clusters = np.repeat(np.arange(50), 4)

    def draw(rng):
        return (rng.normal(size=50)[clusters] + 0.3 * rng.normal(size=200))[:, None]

    assert 0.92 <= coverage(draw, 0.0, mean_of_terms, clusters, fixed=False) <= 0.975


def test_width_shrinks_with_the_square_root_of_the_log():
    rng = np.random.default_rng(0)
    widths = []
    for n in (200, 3200):
        values, _ = bootstrap(mean_estimate(rng.normal(size=n), np.arange(n) % 10), rng, replicates=400)
        widths.append(np.subtract(*reversed(percentile_interval(values))))
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.25)


def test_an_offset_moves_an_interval_and_does_not_widen_it():
    rng = np.random.default_rng(0)
    weight, returns = rng.gamma(1, 1, size=200), rng.normal(size=200)
    spread = []
    for offset in (0.0, 10.0):
        terms = np.stack([weight * (returns + offset), weight], axis=1)
        values, _ = bootstrap(Estimate(terms, ratio_of_sums, CLUSTERS), rng_for("same"))
        spread.append(values.std())
    assert spread[0] == pytest.approx(spread[1], rel=1e-9)


def test_interval_of_negative_rewards_is_in_order():
    values, _ = bootstrap(mean_estimate(-np.random.default_rng(0).gamma(1, 1, size=200)), rng_for("x"))
    low, high = percentile_interval(values)
    assert low < high < 0


def test_a_log_too_large_for_all_counts_at_once_is_resampled_in_parts(monkeypatch):
    monkeypatch.setattr(stats, "LARGEST_COUNTS", 7 * 200)
    estimate = mean_estimate(np.random.default_rng(0).normal(size=200))
    values, note = bootstrap(estimate, rng_for("x"), replicates=1000)
    assert values.shape == (1000,) and note == "" and len(np.unique(values)) == 1000
    assert values.std() == pytest.approx(estimate.terms.std() / np.sqrt(200), rel=0.15)


def test_ground_truth_weighs_instances_equally_and_its_error_is_stratified():
    truth = GroundTruth("p", np.array([0.0, 2.0, 10.0, 10.0, 13.0]), np.array([7, 7, 8, 8, 8]), "env")
    assert truth.episodes == 5 and truth.mean == pytest.approx((1 + 11) / 2)
    assert truth.stderr == pytest.approx(np.sqrt(2 / 2 + 3 / 3) / 2)


def test_exact_truth_has_no_error():
    truth = GroundTruth("p", np.array([0.0, 2.0]), np.array([0, 0]), "env", exact=0.7)
    assert truth.mean == 0.7 and truth.stderr == 0


def test_streams_are_named_not_counted():
    assert seed_for("fit", 1) == seed_for("fit", 1) and seed_for("fit", 1) != seed_for("estimate", 1)
    assert seed_for("a", "bc") != seed_for("ab", "c")
    assert rng_for("x").random() == rng_for("x").random()
