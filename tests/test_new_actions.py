"""Actions that the log does not show: which they are, how heads are corrected for them, and nothing else changes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from bench import material, registry
from bench.data import Step, Trajectory
from bench.registry import make_estimator
from bench.rng import rng_for
from estimators._world import novelty
from estimators._world.novelty import Known, NewActions
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
    correction = NewActions(Known([episode("a", "go")]), 0.25, -2.0, 9)
    reward, ending = correction.corrected(["a", "a"], ["go", "fly"], torch.tensor([0.8, 0.8]), torch.tensor([1.0, 1.0]))
    assert reward.tolist() == pytest.approx([0.8, 0.2]) and ending.tolist() == [1.0, -1.0]


def test_the_factor_is_a_ridge_regression_in_any_currency():
    rng = np.random.default_rng(0)
    said, real = rng.random(50), rng.random(50) * 0.4
    best = minimize_scalar(lambda c: ((real - c * said) ** 2).sum() + 0.7 * (c - 1) ** 2).x
    assert novelty._factor(said, real, 0.7) == pytest.approx(best)
    assert novelty._factor(10 * said, 10 * real, 100 * 0.7) == pytest.approx(best)
    assert novelty._factor(said, said, 0.7) == pytest.approx(1.0) and novelty._factor(said, -9 * said, 0.01) == 0.0


def test_the_shift_is_the_mode_of_a_logistic_regression():
    rng = np.random.default_rng(1)
    for bias, n in ((-3.0, 40), (4.0, 15), (0.0, 1)):
        logits = rng.normal(0, 3, n)
        ended = (rng.random(n) < 1 / (1 + np.exp(-logits - bias))).astype(float)

        def loss(d, logits=logits, ended=ended):
            x = logits + d
            return (np.logaddexp(0, x) - ended * x).sum() + d**2 / 2

        assert novelty._shift(logits, ended) == pytest.approx(minimize_scalar(loss).x, abs=1e-5)


def test_the_correction_is_fitted_on_held_out_steps_alone_and_never_retrieves_their_answers(fitted, monkeypatch):
    (corrected, _), _ = fitted
    data, of = corrected.fitted_data(), corrected.config()
    learned, held_out = of.split(len(data))
    alone = novelty.without(data, held_out)
    assert len(alone) == len(learned) and len(set(learned) | set(held_out)) == len(data)
    known = Known(data.trajectories[i] for i in learned)
    steps = [(data.trajectories[i].instance, s.action) for i in held_out for s in data.trajectories[i].steps]
    assert corrected.new_actions_.steps == int(known.new(*zip(*steps, strict=True)).sum()) > 0
    assert not corrected.new_actions_.known.new(*zip(*known._here, strict=True)).any()
    banks: list[int] = []
    kernel = type(corrected)._kernel
    monkeypatch.setattr(type(corrected), "_kernel", lambda self, log: banks.append(len(log)) or kernel(self, log))
    make_estimator(f"calibrated_wm[{TINY}]").fit(material.block(*BLOCK), rng_for("fit"))
    assert banks == [len(learned)]


def test_without_a_correction_it_is_the_kernel_that_reads_text(fitted):
    (corrected, kernel), policy = fitted
    of = corrected.new_actions_
    corrected.new_actions_ = NewActions(of.known, 1.0, 0.0, 0)
    same = corrected.estimate(policy, rng_for("estimate")), kernel.estimate(policy, rng_for("estimate"))
    assert (same[0].terms == same[1].terms).all()
    corrected.new_actions_ = NewActions(Known([]), 0.0, 0.0, 0)
    assert (corrected.estimate(policy, rng_for("estimate")).terms == 0).all()
    corrected.new_actions_ = of
    facts = corrected.estimate(policy, rng_for("estimate")).diagnostics
    assert facts["new_action_reward_factor"] == of.reward_factor and facts["new_action_steps"] == of.steps


def test_a_log_in_another_currency_has_the_same_correction(fitted):
    (corrected, _), _ = fitted
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
    other = make_estimator(f"calibrated_wm[{TINY}]").fit(doubled, rng_for("fit"))
    assert other.new_actions_.reward_factor == pytest.approx(corrected.new_actions_.reward_factor, rel=0.02)


def test_a_log_is_studied_once_and_its_sums_are_those_of_its_steps(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(new_actions, "SPEC", f"calibrated_wm[{TINY}]")
    settings = {"tasks": ("toy_chain",), "n": 200, "seed": 0, "episodes": 80, "results": tmp_path}
    main(**settings)
    kept = json.loads((tmp_path / "studies" / "new_actions.json").read_text("utf-8"))
    kinds = kept["tasks"]["toy_chain, pooled"]["kinds"]
    from studies._worlds import held_out

    outside = held_out(registry.task("toy_chain").log("pooled"), 200, 0, 80)
    assert sum(kind["steps"] for kind in kinds.values()) == sum(map(len, outside))
    paid = sum(kind["reward"]["real"] for kind in kinds.values())
    assert paid == pytest.approx(sum(float(t.rewards.sum()) for t in outside), rel=1e-5)
    assert kinds["known"]["reward"]["kernel"] == kinds["known"]["reward"]["corrected"]
    ratio = kinds["known"]["reward"]["kernel_over_real"]
    assert ratio["low"] < ratio["value"] < ratio["high"] and "| toy_chain, pooled" in capsys.readouterr().out
    monkeypatch.setattr(new_actions, "study_board", lambda *a, **k: pytest.fail("computed again"))
    main(**settings)
