"""A recording from end to end on a tiny recipe: made, resumed, made again, and read as a task."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.collect import PARTS, carry_out, collect
from bench.errors import BenchError
from bench.recorded import RecordedTask, file_hash
from bench.task import TaskCard
from tests.tiny_recipe import INSTANCES, RECIPE, STEP_LIMIT


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Path]:
    """(recording, working folder)."""
    root = tmp_path_factory.mktemp("collect")
    carry_out(RECIPE, root / "recorded", root / "work", PARTS, workers=1)
    return root / "recorded", root / "work"


@pytest.fixture(scope="module")
def task(made) -> RecordedTask:
    class Tiny(RecordedTask):
        name = "tiny"
        folder = made[0]
        card = TaskCard("", STEP_LIMIT, 1.0, (0.0, 1.0), True, "corridor 1", "", "")
        explore = staticmethod(RECIPE.explore)

    return Tiny()


def _hashes(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): file_hash(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def test_log_and_truth_visit_every_instance_equally_often(task):
    log = task.log("pooled")
    assert len(log) == RECIPE.log_episodes * len(INSTANCES)
    assert (np.bincount(log.columns.instance) == RECIPE.log_episodes).all()
    for card in task.targets():
        assert (np.bincount(task.truth(card.name).instance) == RECIPE.truth_episodes).all()


def test_recorded_log_probs_are_those_of_the_model(task):
    log = task.log("pooled")
    assert log.has_propensities
    for name in task.cards:
        served = np.concatenate(task.policy(name).log_prob_episodes(log.trajectories))
        live = np.concatenate(task.live_policy(task.cards[name]).log_prob_episodes(log.trajectories))
        assert served == pytest.approx(live, abs=1e-4)
    logger = np.concatenate(task.policy("a-050").log_prob_episodes(log.trajectories))
    assert logger == pytest.approx(log.columns.behavior_logp, abs=1e-4)
    assert all(s.logger_logps == pytest.approx((s.behavior_logp,), abs=1e-4) for t in log.trajectories for s in t.steps)


def test_recorded_next_actions_are_served(task):
    log = task.log("pooled")
    samples = task.policy("a-100").next_actions(log.trajectories, 2, seed=0)
    assert [len(s) for s in samples] == [len(t) for t in log.trajectories]
    assert all(len(actions) == 2 for episode in samples for actions in episode)
    mixed = task.policy("a-100-eps050").next_actions(log.trajectories, 2, seed=0)
    assert "wait" in {a for episode in mixed for actions in episode for a in actions}


def test_the_manifest_states_what_was_measured(task):
    measured = task.manifest["measured"]
    assert 0 <= measured["non_canonical_share"] <= 1
    assert measured["masked_stderr"] > 0 or measured["masked_return"] == 0
    assert set(task.manifest["files"]) == set(_hashes(task.folder)) - {"recording.json"}


def test_a_second_run_finds_everything_done_and_changes_nothing(made):
    before = _hashes(made[0])
    carry_out(RECIPE, *made, PARTS, workers=1)
    assert _hashes(made[0]) == before


def test_making_everything_again_gives_the_same_recording(made, tmp_path):
    carry_out(RECIPE, tmp_path / "recorded", tmp_path / "work", PARTS, workers=2)
    ours, theirs = _hashes(made[0]), _hashes(tmp_path / "recorded")
    timed = {name for name in ours if name.endswith("training.json")} | {
        "recording.json"
    }  # hold seconds, and their hashes
    assert {k: v for k, v in ours.items() if k not in timed} == {k: v for k, v in theirs.items() if k not in timed}


def test_a_lost_part_is_made_again_from_what_is_there(made, tmp_path):
    recorded, work = tmp_path / "recorded", tmp_path / "work"
    shutil.copytree(made[0], recorded)
    shutil.copytree(made[1], work)
    shutil.rmtree(work / "log_probs")
    lost = recorded / "log_probs" / "pooled.parquet"
    before = file_hash(lost)
    lost.unlink()
    carry_out(RECIPE, recorded, work, ["log_probs"], workers=1)
    assert file_hash(lost) == before


def test_unknown_parts_and_tasks_without_recipe_are_refused(tmp_path):
    with pytest.raises(BenchError, match="unknown part"):
        carry_out(RECIPE, tmp_path, tmp_path, ["logs"], workers=1)
    with pytest.raises(BenchError, match="nothing to collect"):
        collect("toy_chain", tmp_path)


def test_every_episode_seeds_its_environment(made, tmp_path, monkeypatch):
    seeds = []
    monkeypatch.setattr(type(RECIPE), "seed", lambda self, environment, seed: seeds.append(seed))
    shutil.copytree(made[0] / "agents", tmp_path / "recorded" / "agents")
    carry_out(replace(RECIPE, deterministic=False), tmp_path / "recorded", tmp_path / "work", ("episodes",), workers=1)
    per_instance = RECIPE.log_episodes + len(RECIPE.targets) * RECIPE.truth_episodes + 2  # two of them masked
    assert len(set(seeds)) == len(seeds) == per_instance * len(INSTANCES)


def test_a_log_may_have_its_own_number_of_episodes():
    assert replace(RECIPE, log_episodes={"pooled": 2}).repeats("pooled") == 2
    three = replace(RECIPE, log_episodes=6, logs={"pooled": ("a-050", "a-100", "a-100-t050")})
    assert three.repeats("pooled") == 2
