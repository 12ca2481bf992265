"""The committed HotpotQA recording: what its episodes say happens again, its agents read, its files are those
listed."""

from __future__ import annotations

import numpy as np
import pytest

from bench import registry
from bench.recorded import RecordedTask, file_hash
from tasks.hotpotqa.recipe import RECIPE

MEBIBYTES = 12


@pytest.fixture(scope="module")
def task() -> RecordedTask:
    return registry.task("hotpotqa")


def test_the_roster_is_that_of_the_recipe(task):
    assert tuple(task.instances()) == RECIPE.instances
    assert tuple(task.cards.values()) == RECIPE.policies
    assert task.manifest["environment"] == task.card.environment == RECIPE.environment_version
    assert {log: len(task.log(log)) for log in task.logs()} == {"pooled": 3_000, "far": 3_000}
    assert len(task.targets()) == 12


def test_logged_episodes_happen_again_in_the_live_environment(task):
    environment = RECIPE.environment()
    for log in task.logs():
        for episode in task.log(log).trajectories[::10]:
            goal, observation = environment.reset(episode.instance)
            assert goal == episode.goal
            for step in episode.steps:
                assert observation == step.observation
                observation, reward, ended = environment.step(step.action)
                assert reward == step.reward
            assert (observation, ended) == (episode.final_observation, episode.terminated)


def test_the_agents_read_what_they_are_shown(task):
    measured = task.manifest["measured"]
    assert measured["masked_policy"] == "a-100"
    assert measured["masked_return"] + 2 * measured["masked_stderr"] < measured["unmasked_return"] / 2


def test_true_returns_spread_from_hardly_any_to_half_of_the_scale(task):
    values = {card.name: task.truth(card.name).mean for card in task.targets()}
    assert min(values.values()) < 0.1 and max(values.values()) > 0.5, values


def test_recorded_log_probabilities_are_those_of_the_committed_agents(task):
    for log in task.logs():
        episodes = task.log(log).subset(20, 0).trajectories
        for name in ("a-010", "b-100", "a-100-eps050", "b-100-t040"):
            served = np.concatenate(task.policy(name).log_prob_episodes(episodes))
            live = np.concatenate(task.live_policy(task.cards[name]).log_prob_episodes(episodes))
            assert served == pytest.approx(live, abs=1e-4)


def test_files_are_those_of_the_manifest_and_small(task):
    files = {str(p.relative_to(task.folder)): p for p in task.folder.rglob("*") if p.is_file()}
    del files["recording.json"]
    assert {name: file_hash(path) for name, path in files.items()} == task.manifest["files"]
    assert sum(path.stat().st_size for path in files.values()) < MEBIBYTES * 2**20
