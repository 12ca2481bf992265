"""The horizon curve: what is counted at which depth, and that a perfect model is perfect."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from bench.data import LoggedDataset, Step, Trajectory
from bench.errors import BenchError, DataError, UnsupportedError
from bench.registry import task
from bench.tables import DASH
from estimators._world.world import Answer, World
from studies import horizon
from studies._comparison import InverseDynamics, TextSpace, same_text, token_f1
from studies._open_loop import MEASURES, curve, measure, reality
from studies._worlds import REDRAWN, STEPWISE, clamped, drive, drivers, follow, held_out, simulator, start_of

TINY_JOINT = "joint_diffusion[size=tiny,updates=20,encoder_updates=10,window_updates=20]"
N = 60


@pytest.fixture(scope="module")
def log() -> LoggedDataset:
    return task("toy_chain").log("pooled")


@pytest.fixture(scope="module")
def inverse(log) -> InverseDynamics:
    return InverseDynamics(log.subset(N, 0), np.random.default_rng(0))


def test_held_out_episodes_stay_when_the_log_grows(log):
    small = log.subset(3 * N, 0)
    renamed = tuple(replace(t, id=f"{t.id} later") for t in small.trajectories)
    grown = replace(small, trajectories=small.trajectories + renamed, volume_sizes=(3 * N, 3 * N))
    for seed in range(3):
        assert held_out(grown, N, seed, 2 * N) == held_out(small, N, seed, 2 * N)
        assert len({t.id for t in held_out(grown, N, seed, 5 * N)}) == 5 * N


class Replay(World):
    """Answers as the given episodes went, shifted by `late` steps, and never ends them if it is `endless`."""

    def __init__(self, episodes: Sequence[Trajectory], late: int = 0, endless: bool = False):
        self.episodes, self.late, self.endless = episodes, late, endless

    def reset(self, starts, rng):
        self.turn = 0

    def step(self, actions):
        answers = [None if a is None else self._answer(t) for t, a in zip(self.episodes, actions, strict=True)]
        self.turn += 1
        return answers

    def _answer(self, t: Trajectory) -> Answer:
        seen = [s.observation for s in t.steps] + [t.final_observation]
        k = min(max(self.turn + 1 - self.late, 0), len(t))
        return Answer(seen[k], t.steps[self.turn].reward, not self.endless and t.terminated and self.turn == len(t) - 1)


def led(world: World, episodes: Sequence[Trajectory]) -> list[list[Answer]]:
    actions = [[s.action for s in t.steps] for t in episodes]
    return follow(world, [start_of(t) for t in episodes], actions, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("text", "reference", "wanted"),
    [
        ("the red door", "a red key", 0.5),  # red door / red key: 1 of 2 shared either way
        ("a cup, a cup", "cup on cup on table", 2 * 2 / (2 + 5)),  # bags: both cups count
        ("Open the DOOR!", "open door", 1.0),
        ("", "", 1.0),
        ("", "a door", 0.0),
        ("the", "an", 1.0),  # both without a word
        ("fox", "hound", 0.0),
    ],
)
def test_token_f1_by_hand(text, reference, wanted):
    assert token_f1(text, reference) == pytest.approx(wanted)
    assert token_f1(reference, text) == pytest.approx(wanted)


def test_exact_match_ignores_white_space_alone_and_distance_is_that_of_the_angle():
    assert same_text("a  door\n", "a door") and not same_text("A door", "a door")
    found = TextSpace().distance(["red", "red door", "", ""], ["red", "blue door", "", "door"])
    # words and pairs {red, door, red door} and {blue, door, blue door}: cosine 1/3
    assert found == pytest.approx([0.0, 2 / 3, 0.0, 1.0])


def test_a_world_that_replays_the_real_episode_is_perfect_at_every_depth(log, inverse):
    episodes = held_out(log, N, 0, 40)
    found = measure(episodes, led(Replay(episodes), episodes), log.horizon, inverse)
    alive = np.arange(log.horizon) < np.array([[len(t)] for t in episodes])
    for name in ("token_f1", "exact_match", "compared"):
        assert (found[name][alive] == 1).all(), name
    for name in ("text_distance", "reward_error", "return_error", "termination_error"):
        assert found[name][alive] == pytest.approx(0, abs=1e-9), name
    for name in MEASURES:
        late = found[name][~alive]
        assert (np.isnan(late) | (late == (0 if name == "termination_error" else np.nan))).all(), name
    np.testing.assert_array_equal(found["action_error"], reality(episodes, log.horizon, inverse))
    assert np.nanmean(found["action_error"]) < 0.35  # chance: the most frequent action is 40 % of steps


def test_an_answer_is_compared_with_what_followed_the_same_action(log, inverse):
    steps = tuple(Step(f"sight {k}", "go on", float(k)) for k in range(4))
    t = Trajectory("x", "mill", "goal", steps, "sight 4", terminated=False, truncated=True)
    right, late = (measure([t], led(Replay([t], lag), [t]), 6, inverse) for lag in (0, 1))
    assert right["exact_match"][0, :4].tolist() == [1, 1, 1, 1] and np.isnan(right["exact_match"][0, 4:]).all()
    assert late["exact_match"][0, :4].tolist() == [0, 0, 0, 0]
    answers = [[Answer("sight 1", 0.5, False), Answer("sight 2", 1.0, False), Answer("sight 3", 1.0, False)]]
    found = measure([replace(t, steps=steps[:3], final_observation=None)], answers, 6, inverse)
    assert found["reward_error"][0, :3].tolist() == [0.5, 0.0, 1.0]
    assert found["return_error"][0, :3].tolist() == [0.5, 0.5, 0.5]
    assert np.isnan(found["exact_match"][0, 2]) and found["compared"][0, 2] == 1  # nothing recorded to compare with


def test_after_an_ending_that_did_not_happen_there_is_no_text_and_every_depth_is_an_error(inverse):
    steps = tuple(Step(f"sight {k}", "go on", 0.25) for k in range(4))
    t = Trajectory("x", "mill", "goal", steps, "sight 4", terminated=True)
    answers = [[Answer("sight 1", 0.25, False), Answer("sight 2", 0.25, True)]]
    found = measure([t], answers, 5, inverse)
    assert found["termination_error"][0, :4].tolist() == [0, 1, 1, 0]  # at depth 4 both are over
    assert found["compared"][0, :4].tolist() == [1, 0, 0, 0]
    assert found["token_f1"][0, :4].tolist() == [1, 0, 0, 0] and np.isnan(found["token_f1"][0, 4])
    assert found["text_distance"][0, 1:4].tolist() == [1, 1, 1]
    assert found["action_error"][0, 1:4].tolist() == [1, 1, 1]
    assert found["termination_error"][0, 4] == 0  # nor is it when reality has been over for long
    assert found["return_error"][0, :4].tolist() == [0, 0, 0.25, 0.5]  # nothing is paid after the end
    endless = measure([t], led(Replay([t], endless=True), [t]), 5, inverse)
    assert endless["termination_error"][0].tolist() == [0, 0, 0, 1, 1] and endless["compared"][0, :4].all()
    cut = replace(t, terminated=False, truncated=True)
    assert np.isnan(measure([cut], led(Replay([cut]), [cut]), 5, inverse)["termination_error"][0, 4])
    strange = replace(t, steps=tuple(replace(s, action="sing") for s in steps))
    assert np.isnan(measure([strange], answers, 5, inverse)["action_error"]).all()  # an action nobody tells apart


def test_intervals_contain_the_mean_and_know_how_many_episodes_there_are():
    rng = np.random.default_rng(3)
    values = rng.random((60, 5))
    values[rng.random((60, 5)) < np.linspace(0, 0.9, 5)] = np.nan
    values[:, 4] = np.nan
    points = curve(values, [str(i % 10) for i in range(60)], True, np.random.default_rng(0))
    assert [p.depth for p in points] == [1, 2, 3, 4]
    for p in points:
        assert p.low < p.mean < p.high
        assert p.episodes == (~np.isnan(values[:, p.depth - 1])).sum()
        assert p.mean == pytest.approx(np.nanmean(values[:, p.depth - 1]))
    spread = [p.high - p.low for p in points]
    assert spread[0] < spread[-1]
    sem = np.nanstd(values[:, 0]) / np.sqrt(60)
    assert 2.8 * sem < spread[0] < 5 * sem


def test_held_out_episodes_lie_outside_the_block_and_visit_the_same_instances(log):
    block, outside = log.subset(200, 2), held_out(log, 200, 2, 100)
    assert not {t.id for t in block.trajectories} & {t.id for t in outside}
    assert {t.instance for t in outside} == {t.instance for t in block.trajectories}
    assert len(held_out(log, 1000, 2, 100)) == 100  # after the last block: before it
    with pytest.raises(DataError, match="outside block"):
        held_out(log, 2950, 0, 100)


def test_clamped_windows_follow_the_given_actions(log):
    episodes = held_out(log, N, 0, 12)
    windows = clamped(simulator(TINY_JOINT).fit(log.subset(N, 0), np.random.default_rng(0)))
    starts, actions = [start_of(t) for t in episodes], [[s.action for s in t.steps] for t in episodes]
    asked = []
    nearest = windows.bank.nearest
    windows.bank.nearest = lambda z, instances, texts: asked.extend(texts) or nearest(z, instances, texts)
    for ahead in (1, windows.length):
        asked.clear()
        answers = windows.follow(starts, actions, ahead, np.random.default_rng(5))
        told = [a for row, given in zip(answers, actions, strict=True) for a in given[: len(row)]]
        assert sorted(asked) == sorted(told)
        for row, given in zip(answers, actions, strict=True):
            assert len(row) == len(given) or row[-1].ended
            assert not any(a.ended for a in row[:-1])
    live = windows._begin(starts)
    sample = windows.sample_given(live, [row[:1] for row in actions])
    told = [(s.goal, row[0]) for s, row in zip(starts, actions, strict=True)]
    wanted = windows.units.action(windows.reader.actions(told))
    np.testing.assert_allclose(windows.units.blocks(sample[:, 0])[0], wanted, atol=1e-6)
    assert not np.allclose(windows.units.blocks(sample[:, 1])[0], wanted, atol=1e-2)  # the second action is free


def test_the_study_goes_on_where_it_was_and_draws(tmp_path, monkeypatch):
    arguments = dict(tasks=("toy_chain",), models=("retrieval_wm",), n=100, episodes=30, results=tmp_path)
    horizon.main(**arguments)
    first = json.loads((tmp_path / "studies" / "horizon.json").read_text())
    models = first["tasks"]["toy_chain"]["models"]
    assert set(models) == {"retrieval_wm", REDRAWN}
    assert "retrieval_wm" in first["table"] and first["provenance"]["command"]
    for measured, points in models["retrieval_wm"]["curves"].items():
        assert points[0]["depth"] == 1 and points[0]["episodes"] == 30, measured
        assert all(p["low"] - 1e-9 <= p["mean"] <= p["high"] + 1e-9 for p in points), measured
    for kind in ("svg", "png"):
        assert (tmp_path / "studies" / "figures" / f"horizon_toy_chain.{kind}").stat().st_size > 10_000

    def no_more(driver, *_):
        raise AssertionError(f"{driver.label} was computed again")

    monkeypatch.setattr(horizon, "drive", no_more)
    horizon.main(**arguments)
    assert json.loads((tmp_path / "studies" / "horizon.json").read_text())["tasks"] == first["tasks"]
    with pytest.raises(BenchError, match="made with episodes 30 .now 31.. Run with --again"):
        horizon.main(**{**arguments, "episodes": 31})
    with pytest.raises(AssertionError, match="computed again"):
        horizon.main(**{**arguments, "episodes": 31, "again": True})
    assert json.loads((tmp_path / "studies" / "horizon.json").read_text())["tasks"] == first["tasks"]


def test_a_log_of_actions_that_nobody_tells_apart_has_curves_but_no_action_error(tmp_path, monkeypatch):
    monkeypatch.setattr("studies._comparison.InverseDynamics.wrong", lambda self, b, a, c: np.full(len(a), np.nan))
    horizon.main(tasks=("toy_chain",), models=("retrieval_wm",), n=60, episodes=20, results=tmp_path)
    table = json.loads((tmp_path / "studies" / "horizon.json").read_text())["table"]
    cells = [[c.strip() for c in line.split("|")] for line in table.splitlines() if "`retrieval_wm`" in line]
    assert cells and all(row[7:9] == [DASH, DASH] and row[4] != DASH for row in cells)


def test_joint_diffusion_is_led_in_both_ways_and_an_estimator_without_a_world_is_refused():
    assert [d.label for d in drivers(("joint_diffusion",), "scienceworld")] == [
        "joint_diffusion",
        f"joint_diffusion, {STEPWISE}",
    ]
    assert [d.ahead for d in drivers(("joint_diffusion",), "scienceworld")] == [0, 1]
    with pytest.raises(BenchError, match="no world model"):
        simulator("behavior_average")


def test_a_model_that_declines_has_no_point_and_says_why(tmp_path, monkeypatch):
    cls = type(simulator("retrieval_wm"))
    monkeypatch.setattr(cls, "unsupported", lambda self, data, policy: "does not like this log")
    horizon.main(tasks=("toy_chain",), models=("retrieval_wm",), n=60, episodes=20, results=tmp_path)
    kept = json.loads((tmp_path / "studies" / "horizon.json").read_text())
    assert kept["tasks"]["toy_chain"]["models"]["retrieval_wm"]["declined"] == "does not like this log"
    assert "does not like this log" in kept["table"]


def test_guided_models_decline_where_there_is_no_agent(log):
    guided = drivers(("adwm",), "scienceworld")[0]
    with pytest.raises(UnsupportedError, match="'nobody' is a black box"):
        drive(guided, log.subset(N, 0), held_out(log, N, 0, 3), 0)
