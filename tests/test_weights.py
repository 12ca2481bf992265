"""One carry-forward, in log space: weights of ragged episodes, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.data import Columns, LoggedDataset, Step, Trajectory
from bench.errors import DataError, UnsupportedError
from estimators._weights import (
    effective_sample_size,
    linear,
    normalized_means,
    sum_of_normalized_means,
    weigh,
    weigh_against_mixture,
    weigh_columns,
    weight_diagnostics,
)


class Scores:
    """A policy known only by the log-probabilities it gives to logged actions."""

    name = "scores"

    def __init__(self, *values):
        self.values = [np.array(v, dtype=float) for v in values]

    def log_prob_episodes(self, trajectories):
        return self.values

    def next_actions(self, trajectories, n, seed):
        raise NotImplementedError

    def start(self, goals, seeds):
        raise NotImplementedError


def log_of(*rewards: tuple[float, ...], logp: float = -1.0) -> LoggedDataset:
    episodes = tuple(
        Trajectory(str(i), "x", "go", tuple(Step("o", "a", r, None, logp, (logp,)) for r in row), logger="l")
        for i, row in enumerate(rewards)
    )
    return LoggedDataset("ragged", ("l",), 0.5, 3, episodes)


RAGGED = log_of((1, 2, 3), (4,), (5, 6))


def test_the_weight_is_carried_forward_and_rewards_stop_at_the_end():
    episodes = weigh(RAGGED, Scores([-2, -1, -0.5], [-3], [-1, -2]))
    np.testing.assert_allclose(episodes.log_weight, [[-1, -1, -0.5], [-2, -2, -2], [0, -1, -1]])
    np.testing.assert_allclose(episodes.rewards, [[1, 1, 0.75], [4, 0, 0], [5, 3, 0]])
    np.testing.assert_allclose(episodes.previous_log_weight, [[0, -1, -1], [0, -2, -2], [0, 0, -1]])
    np.testing.assert_allclose(episodes.returns, [2.75, 4, 8])


def test_a_forbidden_action_gives_weight_zero_from_its_turn_on():
    episodes = weigh(RAGGED, Scores([-1, -np.inf, -1], [-1], [-1, -1]))
    np.testing.assert_allclose(np.exp(episodes.log_weight), [[1, 0, 0], [1, 1, 1], [1, 1, 1]])
    assert weight_diagnostics(episodes)["zero_weight_share"] == pytest.approx(1 / 3)
    assert weight_diagnostics(episodes)["ess"] == pytest.approx(2)


def test_zero_overlap_is_refused_with_its_reason():
    with pytest.raises(UnsupportedError, match="zero overlap"):
        weigh(RAGGED, Scores([-1, -np.inf, -1], [-np.inf], [-np.inf, -1]))


@pytest.mark.parametrize("wrong", [np.nan, 0.5, np.inf])
def test_what_is_no_log_probability_is_refused_and_located(wrong):
    with pytest.raises(UnsupportedError, match="turn 1 in episode '2'"):
        weigh(RAGGED, Scores([-1, -1, -1], [-1], [-1, wrong]))


def test_the_wrong_number_of_scores_is_an_error():
    with pytest.raises(DataError, match="one value per step"):
        weigh(RAGGED, Scores([-1, -1], [-1], [-1, -1]))


def test_an_impossible_logged_action_is_refused_by_the_log_itself():
    with pytest.raises(DataError, match="behavior_logp"):
        log_of((1,), logp=-np.inf)


def test_sixty_nat_actions_over_two_hundred_turns_stay_finite():
    rng = np.random.default_rng(0)
    data = replace(log_of(*[(0.01,)] * 20, logp=-60.0), horizon=200)
    lengths = rng.integers(150, 201, size=20)
    long = [replace(t, steps=t.steps * int(k)) for t, k in zip(data.trajectories, lengths, strict=True)]
    data = data.with_trajectories(long)
    scores = Scores(*[-60 + 0.05 * rng.standard_normal(len(t)) for t in data.trajectories])
    episodes = weigh(data, scores)
    terms = np.hstack([episodes.log_weight, episodes.rewards])
    assert np.isfinite(sum_of_normalized_means(terms, np.ones((1, len(terms))))).all()
    assert np.isfinite(linear(episodes.log_weight)).all()
    with np.errstate(invalid="ignore"):  # the same in probabilities is 0 / 0
        behavior, target = np.exp(-60.0 * np.arange(1, 20)), np.exp(-59.9 * np.arange(1, 20))
        assert np.isnan(target / behavior).any()


def test_splitting_an_action_into_tokens_changes_nothing():
    whole, parts = -60.0 + 0.1 * np.arange(4.0), np.full((4, 30), -2.0) + 0.1 * np.arange(4.0)[:, None] / 30
    one = weigh(log_of((1, 2), (3, 4), logp=-60), Scores(whole[:2], whole[2:]))
    many = weigh(log_of((1, 2), (3, 4), logp=-60), Scores(parts[:2].sum(axis=1), parts[2:].sum(axis=1)))
    np.testing.assert_allclose(one.log_weight, many.log_weight, atol=1e-12)


def test_steps_with_ratio_one_and_reward_zero_change_nothing():
    short = weigh(log_of((1, 2), (3,)), Scores([-2, -1], [-3]))
    long = weigh(log_of((1, 2, 0), (3, 0, 0)), Scores([-2, -1, -1], [-3, -1, -1]))
    np.testing.assert_allclose(long.log_weight[:, :2], short.log_weight)
    terms = [np.hstack([episodes.log_weight, episodes.rewards]) for episodes in (short, long)]
    before, after = (sum_of_normalized_means(x, np.ones((1, 2)))[0] for x in terms)
    assert after == pytest.approx(before)


def test_mixture_weights_divide_by_the_average_probability_of_the_prefix():
    rng = np.random.default_rng(0)
    lengths, logger = np.array([2, 3, 1, 2]), np.array([0, 0, 0, 1])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    steps = int(lengths.sum())
    unknown, instance = np.full(steps, np.nan), np.zeros(4, int)
    columns = Columns(offsets, np.ones(steps), unknown, instance, ("x",), logger, np.zeros(4, bool))
    target, loggers = -rng.random(steps), -rng.random((steps, 2))
    log_weight = weigh_against_mixture(columns, 1.0, target, loggers).log_weight
    for i in range(4):
        for t in range(3):
            prefix = slice(offsets[i], min(offsets[i] + t + 1, offsets[i + 1]))
            mixture = np.exp(loggers[prefix].sum(axis=0)) @ [0.75, 0.25]
            assert log_weight[i, t] == pytest.approx(target[prefix].sum() - np.log(mixture))


def test_one_logger_as_a_mixture_is_that_logger():
    columns = RAGGED.columns
    target = -np.arange(1.0, 7.0)
    mixed = weigh_against_mixture(columns, 0.5, target, columns.behavior_logp[:, None])
    np.testing.assert_allclose(mixed.log_weight, weigh_columns(columns, 0.5, target).log_weight)


def test_normalized_means_match_their_definition():
    rng = np.random.default_rng(0)
    log_weight, values = rng.normal(size=(6, 3)), rng.normal(size=(6, 3))
    counts = rng.integers(0, 4, size=(5, 6)).astype(float)
    weight = counts[:, :, None] * np.exp(log_weight)
    np.testing.assert_allclose(normalized_means(log_weight, values, counts), (weight * values).sum(1) / weight.sum(1))


def test_a_resample_without_the_heaviest_episode_is_normalized_by_itself():
    log_weight, values = np.array([[0.0], [-2000.0], [-2001.0]]), np.array([[5.0], [1.0], [2.0]])
    share = 1 / (1 + np.exp(-1.0))
    means = normalized_means(log_weight, values, np.array([[1.0, 1, 1], [0, 1, 1], [0, 0, 3]]))
    np.testing.assert_allclose(means[:, 0], [5, share + 2 * (1 - share), 2])


def test_weights_beyond_floating_point_are_refused_where_they_must_be_averaged():
    with pytest.raises(UnsupportedError, match="self-normalized or clipped"):
        linear(np.array([[400.0]]))


def test_effective_sample_size_counts_equal_weights_and_ignores_their_scale():
    log_weight = np.array([[0.0, 500.0, -np.inf], [0.0, 500.0, -np.inf], [-np.inf, 500.0, -np.inf]])
    np.testing.assert_allclose(effective_sample_size(log_weight), [2, 3, 0])


def test_diagnostics_say_where_overlap_is_lost():
    data = log_of((1, 1, 1), (1, 1, 1))
    diagnostics = weight_diagnostics(weigh(data, Scores([-1, -6, -1], [-1, -1, -1])))
    assert diagnostics["max_weight_share"] == pytest.approx(1 / (1 + np.exp(-5)))
    assert diagnostics["ess_turn_1"] == pytest.approx(2) and diagnostics["ess_turn_2"] < 1.1
    assert np.isnan(diagnostics["first_divergence_turn"])
    both = weight_diagnostics(weigh(data, Scores([-1, -6, -1], [-1, -1, -6])))
    assert both["first_divergence_turn"] == 2.5
