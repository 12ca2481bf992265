"""A recording from end to end on a tiny recipe: made, resumed, made again, and read as a task."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.canonical import write_parquet
from bench.cells import same_recording
from bench.collect import PARTS, carry_out, collect
from bench.errors import BenchError, DataError
from bench.recorded import RecordedTask, _read_volumes, file_hash
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


def test_what_a_log_is_added_to_must_be_there(made, tmp_path):
    with pytest.raises(BenchError, match="unknown log"):
        carry_out(RECIPE, *made, logs=["pool"])
    with pytest.raises(BenchError, match="names every log"):
        carry_out(RECIPE, *made, logs=["pooled"])
    two = replace(RECIPE, logs=RECIPE.logs | {"other": ("a-050",)}, log_episodes=2)
    with pytest.raises(BenchError, match="leave out"):
        carry_out(two, *made, ["agents"], logs=["other"])
    with pytest.raises(BenchError, match=r"recording\.json is missing"):
        carry_out(two, tmp_path, tmp_path / "work", logs=["other"])
    assert not any(tmp_path.iterdir())


def test_volumes_are_of_the_same_loggers(task, tmp_path):
    logs = {"pooled": ("a-050",), "pooled-2": ("a-100",)}
    for volumes in (("pooled", "pooled-2"), ("pooled-2", "pooled"), ("pooled", "pooled-3")):
        with pytest.raises(BenchError, match="same loggers"):
            replace(RECIPE, logs=logs, volumes={"pooled": volumes})
    paths = tuple(tmp_path / f"{name}.parquet" for name in logs)
    write_parquet(task.log("pooled"), paths[0])
    renamed = tuple(replace(t, id=f"{t.id} again") for t in task.log("pooled").trajectories)
    write_parquet(replace(task.log("pooled"), trajectories=renamed, horizon=STEP_LIMIT + 1), paths[1])
    with pytest.raises(DataError, match=r"pooled-2\.parquet: horizon differ"):
        _read_volumes(paths)


def test_every_episode_seeds_its_environment(made, tmp_path, monkeypatch):
    seeds = []
    monkeypatch.setattr(type(RECIPE), "seed", lambda self, environment, seed: seeds.append(seed))
    shutil.copytree(made[0] / "agents", tmp_path / "recorded" / "agents")
    carry_out(replace(RECIPE, deterministic=False), tmp_path / "recorded", tmp_path / "work", ("episodes",), workers=1)
    per_instance = RECIPE.log_episodes + len(RECIPE.targets) * RECIPE.truth_episodes + 2  # two of them masked
    assert len(set(seeds)) == len(seeds) == per_instance * len(INSTANCES)


def test_a_log_grows_by_a_volume_and_what_was_there_stays(made, task, tmp_path):
    """Only the new volume is played and scored; blocks of the first one, and their identity, are what they were."""
    recorded, work = tmp_path / "recorded", tmp_path / "work"
    shutil.copytree(made[0], recorded)
    before = _hashes(recorded)
    logs = RECIPE.logs | {"pooled-2": ("a-050",)}
    recipe = replace(
        RECIPE, logs=logs, log_episodes={"pooled": 4, "pooled-2": 6}, volumes={"pooled": ("pooled", "pooled-2")}
    )
    carry_out(recipe, recorded, work, workers=1, logs=("pooled-2",))
    assert {path.name for path in (work / "episodes").iterdir()} == {"pooled-2"}
    after = _hashes(recorded)
    assert {name for name in after if before.get(name) != after[name]} == {
        "recording.json",
        *(f"{kind}/pooled-2.parquet" for kind in ("logs", "log_probs", "next_actions")),
    }

    class Grown(type(task)):
        folder = recorded

    old, new, size = task.log("pooled"), Grown().log("pooled"), len(INSTANCES)
    assert Grown().logs() == ("pooled",) and Grown().log_size("pooled") == len(new) == 10 * size
    assert new.volume_sizes == (4 * size, 6 * size) and new.trajectories[: 4 * size] == old.trajectories
    for n, seed in ((size, 0), (size, 3), (4 * size, 0)):
        assert new.subset(n, seed).fingerprint == old.subset(n, seed).fingerprint
    later = [t.id for t in new.subset(3 * size, 1).trajectories]
    assert sum(name.startswith("pooled-2:") for name in later) == 2 * size
    assert not set(later) & {t.id for t in new.subset(3 * size, 0).trajectories}
    first, whole = task.log_fingerprint("pooled"), Grown().log_fingerprint("pooled")
    assert Grown().block_fingerprints("pooled", [1, 4 * size, 4 * size + 1]) == [first, first, whole] != [whole] * 3
    assert same_recording(first, whole) and not same_recording(first, whole.rpartition("+")[2])
    assert replace(new, volume_sizes=()).fingerprint != new.fingerprint
    policy = Grown().policy("a-100")
    served = np.concatenate(policy.log_prob_episodes(new.trajectories))
    live = np.concatenate(Grown().live_policy(task.cards["a-100"]).log_prob_episodes(new.trajectories))
    assert served == pytest.approx(live, abs=1e-4)
    assert [len(s) for s in policy.next_actions(new.trajectories, 2, seed=0)] == [len(t) for t in new.trajectories]
    measured = Grown().manifest["measured"]
    assert measured["logged_steps"] == sum(map(len, new.trajectories)) and "masked_return" in measured
    assert set(Grown().manifest["files"]) == set(after) - {"recording.json"}


def test_a_log_may_have_its_own_number_of_episodes():
    assert replace(RECIPE, log_episodes={"pooled": 2}).repeats("pooled") == 2
    three = replace(RECIPE, log_episodes=6, logs={"pooled": ("a-050", "a-100", "a-100-t050")})
    assert three.repeats("pooled") == 2
