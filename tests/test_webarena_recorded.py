"""The committed WebArena-style recording: played again it is the same, its agents read, ids differ between episodes."""

from __future__ import annotations

import re

import pytest

from bench import registry
from bench.data import Trajectory
from bench.rng import seed_for
from bench.task import Task
from tasks.webarena.canonical import NONE, raw_webarena
from tasks.webarena.recipe import RECIPE

IDS = re.compile(r"^\t*\[(\d+)\]", re.M)


@pytest.fixture(scope="module")
def task() -> Task:
    return registry.task("webarena")


def sample(task: Task, log: str) -> tuple[Trajectory, ...]:
    return task.log(log).subset(50, 0).trajectories


@pytest.mark.parametrize("log", ["pooled", "far"])
def test_logged_episodes_played_again_are_the_same(task, log):
    env = RECIPE.environment()
    for episode in sample(task, log):
        purpose, policy, instance, repeat = episode.id.split(":")
        assert (purpose, instance) == (log, episode.instance)
        RECIPE.seed(env, seed_for("episode", "webarena", purpose, policy, instance, int(repeat)))
        goal, shown = env.reset(instance)
        assert goal == episode.goal
        for step in episode.steps:
            assert shown == step.observation
            shown, reward, done = env.step(step.action)
            assert reward == step.reward
        assert (shown, done) == (episode.final_observation, episode.terminated)


def test_element_ids_differ_between_episodes_of_an_instance(task):
    first = [t for t in task.log("pooled").trajectories if t.instance == task.instances()[0]][:12]
    assert len({tuple(IDS.findall(t.steps[0].observation)) for t in first}) == len(first)
    assert len({IDS.sub("[]", t.steps[0].observation) for t in first}) == 1


def test_most_logged_actions_have_a_raw_action_behind_them(task):
    steps = [step for episode in sample(task, "far") for step in episode.steps]
    raw = [raw_webarena(step.action, step.observation) for step in steps]
    assert sum(action == NONE for action in raw) < 0.5 * len(raw)  # weak agents often name what no page has
    assert any(re.fullmatch(r"click \[\d+\]", action) for action in raw)


def test_agents_read_the_pages(task):
    measured = task.manifest["measured"]
    assert measured["masked_return"] + 2 * measured["masked_stderr"] < 0.5 * measured["unmasked_return"]
