"""Direct methods: equal to dynamic programming where they can be, never greedy, with intervals that count the fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench import registry
from bench.conformance.specimens import TwoTurns, Walk, value
from bench.data import LoggedDataset, Step, Trajectory
from bench.errors import BenchError, DataError, UnsupportedError
from bench.rng import rng_for
from estimators._averagers import sample_target_actions
from tests.give_up import TARGET, TRUTH, Decided, population, proportional

TABLE = "representation=table,n_actions=10"
FQE, TEXT = f"fitted_q[{TABLE}]", "fitted_q[n_actions=10,trees=5,dimensions=4,min_leaf=1]"
COIN = Decided("coin", {"left": 0.5, "right": 0.5})


def fitted(spec, data):
    return registry.make_estimator(spec).fit(data, rng_for("fit"))


def estimate_of(spec, data, policy):
    return fitted(spec, data).estimate(policy, rng_for("estimate"))


# A random Markov process of three states; every outcome has probability 1/2 or 1, so that a log can hold it exactly.
TURNS, STATES = 3, 3
KERNEL = rng_for("kernel").multinomial(2, np.full(STATES, 1 / STATES), size=(TURNS, STATES, 2)) / 2
REWARD = rng_for("reward").normal(size=(TURNS, STATES, 2))
WORDS = ("left", "right")


def markov_log(gamma: float) -> LoggedDataset:
    """Every path of a logger that tosses a coin, as often as it is probable."""
    paths: list[tuple[tuple[Step, ...], int]] = [((), 0)]
    for t in range(TURNS):
        paths = [
            ((*past, Step(f"state {state}", WORDS[a], REWARD[t, state, a], None, float(np.log(0.5)))), following)
            for past, state in paths
            for a in range(2)
            for following in outcomes(t, state, a)
        ]
    episodes = tuple(Trajectory(str(i), "x", "go", past, logger="coin") for i, (past, _) in enumerate(paths))
    return LoggedDataset("markov", ("coin",), gamma, TURNS, episodes)


def outcomes(t: int, state: int, word: int) -> list[int]:
    """Two next states, equally likely."""
    return [s for s in range(STATES) for _ in range(round(2 * KERNEL[t, state, word, s]))]


def dynamic_programming(policy: Decided, gamma: float) -> float:
    v = np.zeros(STATES)
    for t in reversed(range(TURNS)):
        q = REWARD[t] + gamma * KERNEL[t] @ v  # (states, words)
        v = q @ [policy.words[w] for w in WORDS]
    return float(v[0])


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_fitted_q_equals_dynamic_programming_on_a_table(gamma):
    data = markov_log(gamma)
    for right in (0.0, 0.3, 1.0):
        policy = Decided("policy", {"left": 1 - right, "right": right})
        assert estimate_of(FQE, data, policy).value == pytest.approx(dynamic_programming(policy, gamma), abs=1e-12)


@pytest.mark.parametrize("spec", [FQE, TEXT])
def test_fitted_q_is_exact_where_every_episode_was_logged_and_episodes_end_early(spec):
    assert estimate_of(spec, population()[0], TARGET).value == pytest.approx(TRUTH, abs=1e-9)


def test_the_next_value_is_expected_under_the_policy_and_not_the_best():
    data = population(TwoTurns(), COIN)[0]
    estimate = estimate_of(FQE, data, COIN)
    assert estimate.value == pytest.approx(value(TwoTurns(), COIN), abs=1e-12) == 0.25
    greedy = replace(COIN, words={"right": 1.0})
    assert estimate_of(FQE, data, greedy).value == pytest.approx(1.0)


def test_without_discount_and_without_an_end_values_stay_finite():
    data = population(Walk(turns=6), Decided("coin", {"yes": 0.5, "no": 0.5}))[0]
    policy = Decided("policy", {"yes": 0.8, "no": 0.2})
    assert estimate_of(FQE, data, policy).value == pytest.approx(0.8, abs=1e-12)


DIRECT = (FQE, f"reward_regression[{TABLE}]", f"reward_regression[outcome=reward,{TABLE}]", "prefix_tree")


@pytest.mark.parametrize("spec", DIRECT)
def test_the_interval_counts_what_was_learned(spec):
    """Counting an episode 1 % more often moves the refitted value by what `terms` and `combine` say."""
    copies, data = 50, uneven(population()[0])
    many = data.with_trajectories(replace(t, id=f"{t.id}#{k}") for t in data.trajectories for k in range(copies))
    estimate = estimate_of(spec, data, TARGET)
    moved = set()
    for i in range(len(data)):
        extra = many.with_trajectories([*many.trajectories, replace(data.trajectories[i], id="one more")])
        counts = np.ones((1, len(data)))
        counts[0, i] += 1 / copies
        predicted = estimate.combine(estimate.terms, counts)[0] - estimate.value
        assert estimate_of(spec, extra, TARGET).value - estimate.value == pytest.approx(predicted, rel=0.05, abs=2e-5)
        moved.add(round(predicted, 6))
    assert len(moved) > 1


def uneven(data):
    """The give-up chain whose wages differ between copies of an episode, so that there is something to average."""
    return data.with_trajectories(
        replace(t, id=f"{t.id}/{k}", steps=tuple(replace(s, reward=s.reward + k * 0.3 * len(t)) for s in t.steps))
        for t in data.trajectories
        for k in range(2)
    )


def test_reward_regression_moves_one_action_only():
    data = population(TwoTurns(), COIN)[0]
    right = replace(COIN, words={"right": 1.0})
    assert estimate_of(f"reward_regression[{TABLE}]", data, right).value == pytest.approx(0.5)  # the logger goes on
    assert estimate_of(f"reward_regression[outcome=reward,{TABLE}]", data, right).value == pytest.approx(0.5)
    assert estimate_of(f"reward_regression[{TABLE}]", data, COIN).value == pytest.approx(0.25)


def test_the_share_of_new_actions_is_reported():
    sings = Decided("sings", {"carry on": 0.5, "sing": 0.5})
    estimate = estimate_of(FQE, population()[0], sings)
    assert estimate.diagnostics["new_action_share"] == pytest.approx(0.5) and np.isfinite(estimate.value)


def test_equal_samples_are_merged_and_missing_ones_refused():
    data, _ = population()
    actions = sample_target_actions(TARGET, data, 10, rng_for(0))
    assert len(actions.step) == 2 * actions.steps
    np.testing.assert_allclose(actions.mixture.sum(axis=1), 1)
    short = type("Short", (), {"name": "short", "next_actions": lambda self, ts, n, seed: [[("a",)] for _ in ts]})()
    with pytest.raises(DataError, match="every step of every episode"):
        sample_target_actions(short, data, 1, rng_for(0))


def test_impossible_sizes_are_refused():
    with pytest.raises(BenchError, match="trees must be at least 1"):
        fitted("fitted_q[trees=0]", population()[0])


def test_an_encoder_that_is_not_installed_is_refused_with_advice(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sentence_transformers", None)
    with pytest.raises(UnsupportedError, match="install the extra"):
        fitted("fitted_q[encoder=some/model]", population()[0])


# The prefix tree


def test_the_prefix_tree_is_exact_where_every_action_was_logged():
    estimate = estimate_of("prefix_tree", population()[0], TARGET)
    assert estimate.value == pytest.approx(TRUTH, abs=1e-12)
    assert estimate.diagnostics["matched_mass"] == pytest.approx(1)
    assert [estimate.diagnostics[f"{side}_bound"] for side in ("lower", "upper")] == pytest.approx([TRUTH, TRUTH])


def test_the_prefix_tree_bounds_what_it_has_not_seen():
    data, _ = population()
    seen = data.where(lambda t: t.steps[-1].action == "carry on" or len(t) == 1)  # gave up at once, or never
    estimate = estimate_of("prefix_tree", seen, TARGET)
    matched = 0.1 + 0.9**4
    assert estimate.diagnostics["matched_mass"] == pytest.approx(matched)
    low, high = estimate.diagnostics["lower_bound"], estimate.diagnostics["upper_bound"]
    assert low <= TRUTH <= high and high - low == pytest.approx((1 - matched) * 1.4)
    assert low - 1e-12 <= estimate.value <= high + 1e-12


def test_two_spellings_of_an_action_are_two_ways_to_take_it():
    def spelled(i, tokens):
        return Trajectory(str(i), "x", "go", (Step("o", "yes", 1.0, tokens),), logger="coin")

    data = LoggedDataset("spelling", ("coin",), 1.0, 1, (spelled(0, (1, 2)), spelled(1, (3,)), spelled(2, (3,))))
    scores = {(1, 2): 0.2, (3,): 0.5}

    class Speller:
        name = "speller"

        def log_prob_episodes(self, trajectories):
            return [np.log([scores[s.action_tokens] for s in t.steps]) for t in trajectories]

    diagnostics = estimate_of("prefix_tree", data, Speller()).diagnostics
    assert diagnostics["matched_mass"] == pytest.approx(0.7)
    scores[3,] = 0.9
    with pytest.raises(UnsupportedError, match="must not exceed 1"):
        estimate_of("prefix_tree", data, Speller())


def test_the_prefix_tree_equals_importance_sampling_with_the_empirical_behavior_policy():
    data = proportional(10_000)  # empirical frequencies are the logger's probabilities
    weighted = estimate_of("importance_sampling", data, TARGET).value
    assert estimate_of("prefix_tree", data, TARGET).value == pytest.approx(weighted, abs=1e-9)
    skewed, _ = population()  # the same episodes, other frequencies
    assert estimate_of("prefix_tree", skewed, TARGET).value == pytest.approx(TRUTH, abs=1e-9)
    assert abs(estimate_of("importance_sampling", skewed, TARGET).value - TRUTH) > 0.1
