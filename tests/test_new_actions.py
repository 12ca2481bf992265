"""Actions that the log does not show: which they are, what such actions paid, and that nothing else changes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from bench import material, registry
from bench.data import Step, Trajectory
from bench.registry import make_estimator
from bench.rng import rng_for
from estimators._world import novelty
from estimators._world.novelty import Known, NewActions
from estimators._world.rollout import Episode, simulation
from estimators._world.world import Start
from studies import new_actions
from studies.new_actions import main

BLOCK = ("toy_chain", "pooled", 120, 0)
TINY = ",".join(f"{k}={v}" for k, v in registry.estimator_class("calibrated_wm").tiny.items())


def episode(instance: str, *actions: str) -> Trajectory:
    return Trajectory("1", instance, "goal", tuple(Step("o", a, 0.0) for a in actions), "o", True, False, "logger")


@pytest.fixture(scope="module")
def fitted():
    """Both estimators on one training, and a policy."""
    data, policy = material.block(*BLOCK), material.policy(*BLOCK, "expert")
    pair = make_estimator(f"calibrated_wm[{TINY}]"), make_estimator(f"adwm[omega=1.0,eta=0.0,reads=text,{TINY}]")
    return [estimator.fit(data, rng_for("fit")) for estimator in pair], policy


def test_an_action_is_new_to_its_instance_or_to_the_log_where_the_instance_is_unknown():
    known = Known([episode("a", "go", "look"), episode("b", "take")])
    asked = [("a", "go"), ("a", "take"), ("b", "go"), ("c", "take"), ("c", "sing")]
    assert known.new(*zip(*asked, strict=True)).tolist() == [False, True, True, False, True]


def test_only_new_actions_are_corrected():
    correction = NewActions(Known([episode("a", "go")]), 0.25, 9, 9)
    assert correction.corrected(["a", "a"], ["go", "fly"], torch.tensor([0.8, 0.8])).tolist() == pytest.approx(
        [0.8, 0.2]
    )


def test_what_one_episode_alone_took_was_new():
    """However often it took it; an instance with a single episode is compared with all others."""
    episodes = [
        episode("a", "go", "sing", "sing"),
        episode("a", "go", "look"),
        episode("b", "look", "dance"),
        episode("c", "go", "go"),
    ]
    paid = [replace(t, steps=tuple(replace(s, reward=float(len(s.action))) for s in t.steps)) for t in episodes]
    assert novelty.paid_once(paid).tolist() == [4.0, 4.0, 4.0, 5.0]  # sing, sing, look in a, dance


def test_the_factor_is_paid_over_foretold_in_any_currency_the_more_so_the_more_steps_tell():
    paid, said = np.array([0.0, 0.0, 0.0, 1.0]), np.array([0.5, 0.7])
    noise = 1 / (1 + 1) + 1 / (1.2 + 1)
    assert novelty.factor(paid, said, 1.0) == pytest.approx(((1 + 1) / (4 * 0.6 + 1)) ** (1 / (1 + noise)))
    assert novelty.factor(7 * paid, 7 * said, 7.0) == pytest.approx(novelty.factor(paid, said, 1.0))
    many = [novelty.factor(np.tile(paid, n), np.tile(said, n), 1.0) for n in (1, 3, 30, 9999)]
    assert many == sorted(many, reverse=True) and many[-1] == pytest.approx(0.25 / 0.6, rel=1e-3)
    assert novelty.factor(paid, said[:0], 1.0) == novelty.factor(paid[:0], said, 1.0) == 1.0


def test_its_effect_is_the_difference_that_it_makes_to_discounted_returns():
    correction = NewActions(Known([episode("a", "go")]), 0.25, 9, 9)
    starts = [Start("a", "goal", "o"), Start("a", "goal", "o")]
    played = [[("o", "go", 3.0), ("o", "fly", 0.5), ("o", "swim", 1.0)], [("o", "fly", 0.25)]]
    simulated = simulation(starts, [Episode(steps) for steps in played], 3, 0.5, {})
    without = (3.0 + 0.5 * 0.5 / 0.25 + 0.25 * 1.0 / 0.25 + 0.25 / 0.25) / 2
    effect = correction.effect(simulated, 0.5)
    assert effect["change"] == pytest.approx(simulated.returns.mean() - without) and effect["share"] == 3 / 4


def test_the_factor_never_raises():
    paid, said = np.ones(100), np.full(100, 0.1)
    assert novelty.factor(paid, said, 1.0) == 1.0
    assert novelty.factor(0 * paid, 0 * said, 1.0) == 1.0


def test_the_factor_is_where_its_posterior_is_highest():
    """Under what it is taken for, on a grid: half a normal below 0, and a normal likelihood of the log ratio."""
    rng = np.random.default_rng(3)
    grid = np.linspace(-4, 0, 40_001)
    for _ in range(20):
        paid, said = (rng.exponential(size=rng.integers(5, 60)) * rng.uniform(0.01, 2) for _ in range(2))
        one, other = paid.sum() + novelty.PRIOR_REWARDS, said.sum() + novelty.PRIOR_REWARDS
        seen = np.log(one / (len(paid) * said.mean() + novelty.PRIOR_REWARDS))
        density = -(grid**2) / (2 * novelty.SPREAD**2) - (grid - seen) ** 2 / (2 * (1 / one + 1 / other))
        assert np.log(novelty.factor(paid, said, 1.0)) == pytest.approx(grid[density.argmax()], abs=2e-4)


def test_actions_taken_once_are_paid_as_unseen_ones_are():
    """Good and Turing: loggers take actions from a long tail, all of which a head foretells alike."""
    rng = np.random.default_rng(0)
    worth = rng.random(4000) < np.linspace(0.6, 0.05, 4000)  # frequent actions pay more
    share = 1 / (np.arange(4000) + 10.0)
    drawn = rng.choice(4000, size=(2000, 2), p=share / share.sum())
    episodes = [
        Trajectory("1", "a", "g", tuple(Step("o", str(a), float(worth[a])) for a in pair), "o", True, False, "l")
        for pair in drawn
    ]
    unseen = np.setdiff1d(np.arange(4000), drawn)
    truly = np.average(worth[unseen], weights=share[unseen])
    assert novelty.paid_once(episodes).mean() == pytest.approx(truly, abs=0.04)
    assert worth[drawn].mean() > truly + 0.08  # what the log's own actions pay is no guide


def test_the_correction_is_fitted_on_held_out_steps_alone_and_never_retrieves_their_answers(fitted, monkeypatch):
    (corrected, _), _ = fitted
    data, of = corrected.fitted_data(), corrected.config()
    learned, held_out = of.split(len(data))
    alone = novelty.without(data, held_out)
    assert len(alone) == len(learned) and len(set(learned) | set(held_out)) == len(data)
    known = Known(data.trajectories[i] for i in learned)
    steps = [(data.trajectories[i].instance, s.action) for i in held_out for s in data.trajectories[i].steps]
    assert corrected.new_actions_.held_out == int(known.new(*zip(*steps, strict=True)).sum()) > 0
    assert not corrected.new_actions_.known.new(*zip(*known._here, strict=True)).any()
    banks: list[int] = []
    kernel = type(corrected)._kernel
    monkeypatch.setattr(type(corrected), "_kernel", lambda self, log: banks.append(len(log)) or kernel(self, log))
    make_estimator(f"calibrated_wm[{TINY}]").fit(material.block(*BLOCK), rng_for("fit"))
    assert banks == [len(learned)]


def test_without_a_correction_it_is_the_kernel_that_reads_text(fitted):
    (corrected, kernel), policy = fitted
    of = corrected.new_actions_
    corrected.new_actions_ = NewActions(of.known, 1.0, 0, 0)
    same = corrected.estimate(policy, rng_for("estimate")), kernel.estimate(policy, rng_for("estimate"))
    assert (same[0].terms == same[1].terms).all()
    assert "no correction" in same[0].note and "no correction" not in same[1].note
    corrected.new_actions_ = NewActions(of.known, 1.0, 9, 9)
    assert "not foretold too much" in corrected.estimate(policy, rng_for("estimate")).note
    corrected.new_actions_ = NewActions(Known([]), 0.5, 9, 9)
    everything = corrected.estimate(policy, rng_for("estimate"))
    assert everything.terms == pytest.approx(same[1].terms / 2) and "no correction" not in everything.note
    assert everything.diagnostics["new_action_share"] == 1.0
    longest = max(corrected.fitted_data().trajectories, key=len)
    corrected.new_actions_ = NewActions(Known([longest]), 0.3, 9, 9)
    some = corrected.estimate(policy, rng_for("estimate"))
    assert some.value - some.diagnostics["new_action_change"] == pytest.approx(same[1].value)
    assert some.diagnostics["new_action_change"] < 0 < some.diagnostics["new_action_share"] < 1
    corrected.new_actions_ = of
    found = corrected.estimate(policy, rng_for("estimate"))
    facts = found.diagnostics
    assert facts["new_action_factor"] == of.factor and facts["new_action_once"] == of.once


def test_in_another_currency_everything_behind_the_factor_is_the_same(monkeypatch):
    data = material.block(*BLOCK)
    doubled = data.with_trajectories(
        [
            Trajectory(
                t.id, t.instance, t.goal,
                tuple(Step(s.observation, s.action, 2 * s.reward) for s in t.steps),
                t.final_observation, t.terminated, t.truncated, t.logger,
            )
            for t in data.trajectories
        ]
    )  # fmt: skip
    asked = []
    monkeypatch.setattr(novelty, "factor", lambda paid, said, usual: asked.append((paid.sum(), said.sum(), usual)) or 1)
    for log in (data, doubled):
        make_estimator(f"calibrated_wm[{TINY}]").fit(log, rng_for("fit"))
    assert all(x > 0 for x in asked[0][1:]) and asked[1] == pytest.approx([2 * x for x in asked[0]], rel=0.02)


def test_a_log_is_studied_once_and_its_sums_are_those_of_its_steps(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(new_actions, "SPEC", f"calibrated_wm[{TINY}]")
    settings = {"tasks": ("toy_chain",), "n": 200, "seed": 0, "episodes": 80, "results": tmp_path}
    main(**settings)
    kept = json.loads((tmp_path / "studies" / "new_actions.json").read_text("utf-8"))
    kinds = kept["tasks"]["toy_chain, pooled"]["kinds"]
    from studies._worlds import held_out

    outside = held_out(registry.task("toy_chain").log("pooled"), 200, 0, 80)
    assert sum(kind["steps"] for kind in kinds.values()) == sum(map(len, outside))
    paid = sum(kind["real"] for kind in kinds.values())
    assert paid == pytest.approx(sum(float(t.rewards.sum()) for t in outside), rel=1e-5)
    assert kinds["known"]["kernel"] == kinds["known"]["corrected"]
    ratio = kinds["known"]["kernel_over_real"]
    assert ratio["low"] < ratio["value"] < ratio["high"] and "| toy_chain, pooled" in capsys.readouterr().out
    monkeypatch.setattr(new_actions, "study_board", lambda *a, **k: pytest.fail("computed again"))
    main(**settings)
