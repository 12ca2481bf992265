"""Calibration of world models: what is counted, and that heads are asked about real steps from their real past."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from bench.errors import BenchError
from bench.registry import task
from estimators._world.flat import flatten
from studies import calibration
from studies._episodes import Played, Repeats, really_played, repeats, success_gap
from studies._heads import _transcript, heads, observed
from studies._reliability import calibration_error, of_ending, of_reward
from studies._worlds import held_out, simulator

TINY = {
    "gaussian": "gaussian_wm[size=tiny,updates=20,encoder_updates=10]",
    "text": "autoregressive_wm[hidden=32,layers=1,updates=12,batch_tokens=512,max_observation_tokens=32,window=400]",
    "joint": "joint_diffusion[size=tiny,updates=20,encoder_updates=10,window_updates=20]",
}
N = 60


@pytest.fixture(scope="module")
def log():
    return task("toy_chain").log("pooled")


def fitted(spec, log):
    return simulator(spec).fit(log.subset(N, 0), np.random.default_rng(0))


def test_reliability_by_hand():
    predicted, happened = np.array([0.05, 0.05, 0.95, 0.85, 0.85]), np.array([0.0, 1.0, 1.0, 1.0, 0.0])
    found = of_ending(predicted, happened)
    assert [(b["steps"], b["happened"]) for b in found["bins"]] == [(2, 0.5), (2, 0.5), (1, 1.0)]
    assert found["ece"] == pytest.approx((2 * 0.45 + 2 * 0.35 + 1 * 0.05) / 5)
    assert found["brier"] == pytest.approx((0.05**2 + 0.95**2 + 0.05**2 + 0.15**2 + 0.85**2) / 5)
    assert found["brier_of_base_rate"] == pytest.approx(0.6 * 0.4)


def test_a_calibrated_prediction_has_no_calibration_error_and_a_shifted_one_its_shift():
    rng = np.random.default_rng(0)
    chance = rng.random(40_000)
    happened = (rng.random(len(chance)) < chance).astype(float)
    assert of_ending(chance, happened)["ece"] < 0.01
    assert of_ending(chance * 0.5, happened)["ece"] == pytest.approx(0.25, abs=0.02)
    reward = of_reward(chance + 0.1, happened)
    assert reward["bias"] == pytest.approx(0.1, abs=0.01) and reward["ece"] == pytest.approx(0.1, abs=0.01)
    constant = of_reward(np.zeros(10), np.ones(10))
    assert calibration_error(constant["bins"]) == 1 and len(constant["bins"]) == 1


def test_repeats_are_counted_with_nothing_but_looks_in_between():
    def episode(*steps):  # an answer is the observation of the next step
        return [(o, a) for o, a in steps]

    same = episode(("s", "look around"), ("room", "inventory"), ("a cup", "look around"), ("room", "go on"))
    assert repeats([same]) == Repeats(1, 0, 1, 0)
    other = episode(("s", "look around"), ("room", "look around"), ("cave", "go on"))
    assert repeats([other]) == Repeats(1, 1, 1, 1)
    moved = episode(("s", "look around"), ("room", "go on"), ("moved", "look around"), ("hall", "go on"))
    assert repeats([moved]) == Repeats(0, 0, 0, 0)
    doors = episode(
        ("s", "open door"), ("now open", "look"), ("room", "open door"), ("already open", "look"), ("room", "x")
    )
    assert repeats([doors]) == Repeats(1, 1, 0, 0)  # the look is not a repeat: opening may have shown something new
    unanswered = episode(("s", "look"), ("room", "look"))
    assert repeats([unanswered]) == Repeats(0, 0, 0, 0)
    assert repeats([same, other]) == Repeats(2, 1, 2, 1)


def test_hallucinated_success_is_the_difference_of_shares():
    def played(successes, n):
        returns = np.repeat([1.0, 0.4], [successes, n - successes])
        return Played(returns, np.ones(n), np.ones(n, dtype=bool), np.arange(n) % 10)

    gap, low, high = success_gap(played(60, 100), played(150, 600), 0.9, np.random.default_rng(0))
    assert gap == pytest.approx(0.35)
    assert low < gap < high and 0.1 < high - low < 0.3


def test_an_interval_of_episodes_that_were_played_once_per_instance_has_its_width():
    rng = np.random.default_rng(1)
    won = rng.random(50) < 0.5
    once = Played(won.astype(float), np.ones(50), won, np.arange(50).astype(str))
    many = Played(np.tile(won, 40).astype(float), np.ones(2000), np.tile(won, 40), np.tile(once.instances, 40))
    _, low, high = success_gap(once, many, 0.9, np.random.default_rng(0))
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(won.mean() * (1 - won.mean()) / 50), rel=0.25)


def test_real_episodes_are_those_behind_the_truth():
    toy = task("toy_chain")
    real = really_played(toy, "expert")
    np.testing.assert_array_equal(real.returns, toy.truth("expert").returns)
    assert real.lengths.max() <= toy.card.horizon and real.ended.dtype == bool
    recorded = task("scienceworld")
    name = recorded.targets()[0].name
    real = really_played(recorded, name)
    np.testing.assert_allclose(real.returns, recorded.truth(name).returns)
    assert 1 <= real.lengths.min() and real.lengths.max() <= recorded.card.horizon and len(set(real.instances)) == 50


def test_heads_after_real_observations_are_those_of_the_training(log):
    estimator = fitted(TINY["gaussian"], log)
    fit, block = estimator.fit_, estimator.fitted_data()
    chosen = [3, 0, 7]
    real, generated = heads(estimator, [block.trajectories[i] for i in chosen], False, np.random.default_rng(0))
    with torch.no_grad():
        batch = fit.material.batch(chosen)
        latents = fit.model.read(*fit.material.words(batch.texts.tolist()))
        flat = flatten(fit.model, batch, latents, latents.observation)
        reward, ending = fit.model.events(flat.z, flat.action, flat.after, flat.past, flat.done)
    np.testing.assert_allclose(real.reward, fit.model.expected_reward(reward), atol=1e-5)
    np.testing.assert_allclose(real.ending, ending.sigmoid(), atol=1e-5)
    assert generated.reward.shape == real.reward.shape and not np.allclose(generated.ending, real.ending)


def test_a_text_model_is_asked_after_the_real_past_and_only_what_it_can_look_back_on(log):
    estimator = fitted(TINY["text"], log)
    world, t = estimator.world(None), max(log.trajectories, key=len)
    language = world.language
    whole = language.segments(t)[0].ids.tolist()
    for k in range(len(t)):
        asked = _transcript(world, t, k)
        assert asked == whole[: len(asked)]
        assert (
            asked[-1]
            == language.segments(t)[0].ids[
                language.segments(t)[0].place[k]
                - len(language.answer(t.steps[k + 1].observation if k + 1 < len(t) else t.final_observation))
            ]
        )
    language.window = 100
    short = _transcript(world, t, len(t) - 1)
    opening = list(language.opening(t.instance, t.goal))
    assert len(short) + language.cap + 1 <= 100 and short[: len(opening)] == opening
    assert short[-20:] == asked[-20:]
    episodes = held_out(log, N, 0, 5)
    language.window = 400
    real, generated = heads(estimator, episodes, False, np.random.default_rng(0))
    steps = sum(map(len, episodes))
    assert real.reward.shape == generated.ending.shape == (steps,)
    assert ((0 <= real.ending) & (real.ending <= 1)).all()


def test_models_without_heads_of_their_own_answer_with_what_they_generate(log):
    episodes = held_out(log, N, 0, 10)
    steps, real = sum(map(len, episodes)), observed(episodes)
    assert real.ending.sum() == sum(t.terminated for t in episodes)
    for spec in (TINY["joint"], "retrieval_wm"):
        none, said = heads(fitted(spec, log), episodes, False, np.random.default_rng(0))
        assert none is None and said.reward.shape == (steps,) and set(said.ending) <= {0.0, 1.0}
    assert (said.ending == real.ending).mean() > 0.9  # what was logged in the same house after the same action


def test_the_study_goes_on_where_it_was(tmp_path, monkeypatch):
    arguments = dict(
        tasks=("toy_chain",),
        models=("retrieval_wm", "adwm[size=tiny,updates=20,encoder_updates=10]"),
        targets=("expert",),
        n=N,
        episodes=10,
        rollouts=20,
        results=tmp_path,
    )
    calibration.main(**arguments)
    first = json.loads((tmp_path / "studies" / "calibration.json").read_text())
    models = first["tasks"]["toy_chain"]["models"]
    expert = models["retrieval_wm"]["targets"]["expert"]
    assert expert["simulated_episodes"] == 20 and expert["real_episodes"] == 600
    assert expert["hallucinated_success"] == pytest.approx(expert["simulated_success"] - expert["real_success"])
    assert expert["diagnostics"]["abstained_share"] == 0
    declined = models[arguments["models"][1]]["targets"]["expert"]["declined"]
    assert "black box" in declined and declined in first["table"]
    assert (tmp_path / "studies" / "figures" / "calibration_toy_chain.png").stat().st_size > 10_000

    def no_more(self, spec, estimator, name):
        raise AssertionError(f"{name} was simulated again")

    monkeypatch.setattr(calibration.TaskStudy, "target", no_more)
    calibration.main(**arguments)
    assert json.loads((tmp_path / "studies" / "calibration.json").read_text())["tasks"] == first["tasks"]
    with pytest.raises(AssertionError, match="random was simulated again"):
        calibration.main(**{**arguments, "targets": ("expert", "random")})
    with pytest.raises(BenchError, match="no target expret. Its targets: .*expert"):
        calibration.main(**{**arguments, "targets": ("expret",)})


def test_models_of_several_worlds_are_not_studied_as_one():
    for spec in ("diffusion_wm", "adwm_dr"):
        with pytest.raises(BenchError, match="several world models"):
            simulator(spec)


def test_heads_of_a_corrected_model_pay_what_it_pays(log):
    estimator = fitted("calibrated_wm[encoder_updates=10,size=tiny,updates=20]", log)
    estimator.new_actions_ = replace(estimator.new_actions_, factor=0.25)
    episodes = held_out(log, N, 0, 30)
    real, _ = heads(estimator, episodes, False, np.random.default_rng(0))
    estimator.new_actions_ = replace(estimator.new_actions_, factor=1.0)
    uncorrected, _ = heads(estimator, episodes, False, np.random.default_rng(0))
    steps = [(t.instance, s.action) for t in episodes for s in t.steps]
    new = estimator.new_actions_.known.new(*zip(*steps, strict=True)).numpy()
    assert 0 < new.sum() < len(steps)
    np.testing.assert_allclose(real.reward, np.where(new, 0.25, 1.0) * uncorrected.reward)
