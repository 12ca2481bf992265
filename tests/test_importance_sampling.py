"""The importance-sampling family: what each variant is, what it leaves unchanged, what it takes away and says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench import registry
from bench.data import Step
from bench.errors import BenchError, UnsupportedError
from bench.rng import rng_for
from bench.stats import bootstrap
from tests.give_up import LOGGER, TARGET, TRUTH, population

TASK = registry.task("toy_chain")
IS = "importance_sampling"
WIS, PDIS = f"{IS}[self_normalized=true]", f"{IS}[per_decision=true]"
CWPDIS = f"{IS}[self_normalized=true,per_decision=true]"
UNBIASED = (IS, PDIS, f"{IS}[balanced=true]")
RENORMALIZED = (WIS, CWPDIS, "control_variate", "control_variate[per_decision=true]")


def estimate_of(spec, data, policy):
    return registry.make_estimator(spec).fit(data, rng_for("fit")).estimate(policy, rng_for("estimate"))


def with_rewards(data, change):
    return data.with_trajectories(
        replace(t, steps=tuple(replace(s, reward=change(s)) for s in t.steps)) for t in data.trajectories
    )


@pytest.fixture(scope="module")
def log():
    return TASK.log("pooled").subset(120, 0)


@pytest.mark.parametrize("spec", [*UNBIASED[:2], *RENORMALIZED, "turn_level", f"{IS}[clip=10]"])
def test_a_policy_that_acts_like_the_logger_is_worth_the_log_mean(spec):
    data, _ = population()
    assert estimate_of(spec, data, LOGGER).value == pytest.approx(data.columns.returns(1.0).mean(), abs=1e-12)


@pytest.mark.parametrize("spec", [*UNBIASED, *RENORMALIZED])
def test_the_limit_of_many_episodes_is_the_value(spec):
    data, probability = population()
    estimate = estimate_of(spec, data, TARGET)
    assert estimate.combine(estimate.terms, probability[None])[0] == pytest.approx(TRUTH, abs=1e-9)


def test_with_one_reward_at_the_end_per_decision_weights_gain_nothing():
    data = TASK.log("pooled").subset(60, 0)
    last = {id(t.steps[-1]) for t in data.trajectories[::2]}
    data = with_rewards(data, lambda s: float(id(s) in last))
    policy = TASK.policy("careful")
    assert estimate_of(PDIS, data, policy).value == pytest.approx(estimate_of(IS, data, policy).value, rel=1e-12)


@pytest.mark.parametrize("spec", RENORMALIZED)
def test_adding_a_constant_to_the_first_reward_adds_it_to_the_estimate(spec, log):
    first = {id(t.steps[0]) for t in log.trajectories}
    shifted = with_rewards(log, lambda s: s.reward + 10.0 * (id(s) in first))
    policy = TASK.policy("careful")
    before, after = (estimate_of(spec, data, policy) for data in (log, shifted))
    assert after.value == pytest.approx(before.value + 10, abs=1e-8)
    spreads = [bootstrap(e, rng_for("b"), replicates=100)[0].std() for e in (before, after)]
    assert spreads[0] == pytest.approx(spreads[1], rel=1e-5)


@pytest.mark.parametrize("spec", [*UNBIASED, *RENORMALIZED, "turn_level", f"{IS}[clip=3]"])
def test_order_and_number_of_copies_do_not_matter(spec, log):
    policy = TASK.policy("expert")
    once = estimate_of(spec, log, policy).value
    reverse = log.with_trajectories(reversed(log.trajectories))
    twice = log.with_trajectories([*log.trajectories, *(replace(t, id=f"{t.id} again") for t in log.trajectories)])
    assert estimate_of(spec, reverse, policy).value == pytest.approx(once, rel=1e-10)
    assert estimate_of(spec, twice, policy).value == pytest.approx(once, rel=1e-10)


def test_self_normalized_estimates_stay_within_the_logged_returns(log):
    returns = log.columns.returns(1.0)
    for card in TASK.targets():
        value = estimate_of(WIS, log, TASK.policy(card.name)).value
        assert returns.min() - 1e-12 <= value <= returns.max() + 1e-12


@pytest.mark.parametrize("spec", [IS, WIS, PDIS, CWPDIS, f"{WIS[:-1]},clip=2]"])
def test_every_resample_is_normalized_by_itself(spec, log):
    policy = TASK.policy("expert")
    estimate = estimate_of(spec, log, policy)
    counts = rng_for("counts").integers(0, 4, size=(3, len(log))).astype(float)
    for row, value in zip(counts, estimate.combine(estimate.terms, counts), strict=True):
        drawn = [
            replace(t, id=f"{t.id}/{k}") for t, c in zip(log.trajectories, row, strict=True) for k in range(int(c))
        ]
        assert estimate_of(spec, log.with_trajectories(drawn), policy).value == pytest.approx(value, rel=1e-9)


def test_clipping_reports_what_it_takes_away():
    data, _ = population()
    estimate, free = (estimate_of(spec, data, TARGET) for spec in (f"{IS}[clip=1.5]", IS))
    heaviest = (0.9 / 0.7) ** 4
    total = heaviest + sum((0.1 / 0.3) * (0.9 / 0.7) ** t for t in range(4))
    assert free.diagnostics["max_weight_share"] == pytest.approx(heaviest / total)
    assert estimate.diagnostics["clipped_mass"] == pytest.approx((heaviest - 1.5) / total)
    assert estimate.diagnostics["clipped_share"] == pytest.approx(1 / 5)
    assert "clipped at 1.5" in estimate.note and not free.note


def test_a_generous_clip_changes_nothing_and_a_generous_shrinkage_little(log):
    policy = TASK.policy("careful")
    plain = estimate_of(WIS, log, policy)
    clipped = estimate_of(f"{WIS[:-1]},clip=1e9]", log, policy)
    shrunk = estimate_of(f"{WIS[:-1]},shrink=1e9]", log, policy)
    assert clipped.value == plain.value and clipped.diagnostics["clipped_mass"] == 0
    assert shrunk.value == pytest.approx(plain.value, abs=1e-5) and 0 < shrunk.diagnostics["clipped_mass"] < 1e-4


def test_clip_and_shrink_exclude_each_other(log):
    with pytest.raises(BenchError, match="choose clip or shrink"):
        estimate_of(f"{IS}[clip=1,shrink=1]", log, TASK.policy("expert"))
    with pytest.raises(BenchError, match="above 0"):
        estimate_of(f"{IS}[clip=-1]", log, TASK.policy("expert"))


def test_balanced_weights_have_less_spread_than_those_of_single_loggers(log):
    policy = TASK.policy("expert")
    spreads = [bootstrap(estimate_of(s, log, policy), rng_for("b"))[0].std() for s in (IS, f"{IS}[balanced=true]")]
    assert spreads[1] < spreads[0]


def test_balanced_weights_are_refused_without_all_loggers(log):
    bare = log.with_trajectories(
        replace(t, steps=tuple(replace(s, logger_logps=None) for s in t.steps)) for t in log.trajectories
    )
    estimator = registry.make_estimator(f"{IS}[balanced=true]")
    assert "under every logger" in estimator.unsupported(bare, TASK.policy("expert"))
    assert registry.make_estimator(IS).unsupported(bare, TASK.policy("expert")) is None


def test_turn_level_averages_log_ratios_over_turns_or_tokens():
    data, _ = population()
    data = data.with_trajectories(
        replace(t, steps=tuple(replace(s, action_tokens=tuple(range(2 + k))) for k, s in enumerate(t.steps)))
        for t in data.trajectories
    )
    total = np.array([sum(TARGET.log_prob(s.action) - s.behavior_logp for s in t.steps) for t in data.trajectories])
    for unit, size in (("turn", len), ("token", lambda t: sum(len(s.action_tokens) for s in t.steps))):
        weight = np.exp(total / np.array([size(t) for t in data.trajectories]))
        expected = weight @ data.columns.returns(1.0) / weight.sum()
        estimate = estimate_of(f"turn_level[unit={unit}]", data, TARGET)
        assert estimate.value == pytest.approx(expected) and "changes the estimand" in estimate.note


def test_token_averages_are_refused_where_tokens_are_missing():
    data, _ = population()
    assert "tokens" in registry.make_estimator("turn_level[unit=token]").unsupported(data, TARGET)
    with pytest.raises(UnsupportedError, match="tokens"):
        estimate_of("turn_level[unit=token]", data, TARGET)


def test_a_matched_average_gives_every_instance_the_same_weight():
    data, _ = population()
    won, lost = (replace(data.trajectories[0], steps=(Step("o", "carry on", r),)) for r in (1.0, 0.0))
    data = data.with_trajectories([won, *(replace(lost, id=f"lost {i}", instance="often lost") for i in range(3))])
    assert estimate_of("behavior_average", data, TARGET).value == pytest.approx(0.25)
    assert estimate_of("behavior_average[matched=true]", data, TARGET).value == pytest.approx(0.5)
