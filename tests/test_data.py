"""Logs are frozen and checked, know their content by its hash, and fall into balanced, disjoint blocks."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import registry
from bench.data import LoggedDataset, Step, Trajectory
from bench.errors import DataError

TASK = registry.task("toy_chain")


def episode(name: str, rewards=(1.0,), instance="a", logger="x", logp: float | None = -1.0) -> Trajectory:
    steps = tuple(Step(f"see {t}", f"do {t}", r, behavior_logp=logp) for t, r in enumerate(rewards))
    return Trajectory(name, instance, "goal", steps, logger=logger)


def log(*episodes: Trajectory, loggers=("x",), horizon=5, gamma=1.0) -> LoggedDataset:
    return LoggedDataset("test", loggers, gamma, horizon, episodes)


def balanced(instances: int, loggers: int, each: int) -> LoggedDataset:
    names = [f"l{k}" for k in range(loggers)]
    episodes = [
        episode(f"{i}/{k}/{j}", instance=f"i{i}", logger=names[k])
        for i in range(instances)
        for k in range(loggers)
        for j in range(each)
    ]
    return log(*episodes, loggers=tuple(names))


def ids(data: LoggedDataset) -> set[str]:
    return {t.id for t in data.trajectories}


@pytest.mark.parametrize("part", [Step("o", "a", 0.0), episode("e"), log(episode("e"))], ids=lambda x: type(x).__name__)
def test_logs_are_frozen(part):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(part, dataclasses.fields(part)[0].name, "other")


def test_columns_are_the_numbers_of_ragged_episodes():
    columns = log(episode("p", (1, 2, 3), "b"), episode("q", (4,), "a"), episode("r", (5, 6), "b", logp=None)).columns
    assert columns.lengths.tolist() == [3, 1, 2] and columns.offsets.tolist() == [0, 3, 4, 6]
    assert columns.turn.tolist() == [0, 1, 2, 0, 0, 1] and columns.episode.tolist() == [0, 0, 0, 1, 2, 2]
    assert columns.instances == ("a", "b") and columns.instance.tolist() == [1, 0, 1]
    assert columns.returns(0.5).tolist() == [1 + 2 / 2 + 3 / 4, 4, 5 + 6 / 2]
    assert np.isnan(columns.behavior_logp).tolist() == [False] * 4 + [True] * 2


def test_a_log_has_propensities_only_if_every_step_has():
    assert log(episode("p"), episode("q")).has_propensities
    assert not log(episode("p"), episode("q", logp=None)).has_propensities


def test_fingerprint_is_of_the_content():
    data = log(episode("p", (1.0, 2.0)), episode("q"))
    assert data.fingerprint == log(episode("p", (1.0, 2.0)), episode("q")).fingerprint
    p, q = data.trajectories
    changed = [
        replace(p, goal="other"),
        replace(p, instance="b"),
        replace(p, terminated=False, truncated=True),
        replace(p, final_observation="bye"),
        *(replace(p, steps=(replace(p.steps[0], **one), *p.steps[1:])) for one in CHANGES),
    ]
    others = [log(x, q) for x in changed] + [log(q, p), log(p, q, horizon=6), log(p, q, gamma=0.9)]
    prints = {data.fingerprint, *(other.fingerprint for other in others)}
    assert len(prints) == len(others) + 1


CHANGES = (
    {"observation": "x"},
    {"action": "x"},
    {"reward": 7.0},
    {"action_tokens": (1, 2)},
    {"behavior_logp": -2.0},
    {"behavior_logp": None},
)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: log(), "no episode"),
        (lambda: log(episode("p"), episode("p")), "'p' occurs twice"),
        (lambda: log(episode("p", ())), "episode 'p': has no step"),
        (lambda: log(episode("p", [0.0] * 6)), "6 steps exceed the horizon 5"),
        (lambda: log(episode("p", logger="y")), r"logger 'y' is not among \['x'\]"),
        (lambda: log(episode("p", (0.0, np.nan))), "episode 'p', step 1: reward is nan"),
        (lambda: log(episode("p", (np.inf,))), "reward is inf"),
        (lambda: log(episode("p", logp=0.5)), "behavior_logp is 0.5"),
        (lambda: log(episode("p", logp=-np.inf)), "behavior_logp is -inf"),
        (lambda: log(episode("p", logp=np.nan)), "behavior_logp is nan"),
    ],
)
def test_a_log_that_cannot_be_used_is_refused_by_name_and_place(make, message):
    with pytest.raises(DataError, match=message):
        make()


@pytest.mark.parametrize("name", TASK.logs())
def test_blocks_of_different_seeds_are_disjoint_and_balanced(name):
    data = TASK.log(name)
    blocks = [data.subset(600, seed) for seed in range(5)]
    assert set.union(*map(ids, blocks)) == ids(data) and sum(map(len, blocks)) == len(data)
    for block in blocks:
        per_instance = Counter(t.instance for t in block.trajectories)
        assert len(per_instance) == 10 and max(per_instance.values()) - min(per_instance.values()) <= 1
        per_logger = Counter(t.logger for t in block.trajectories)
        assert max(per_logger.values()) - min(per_logger.values()) <= len(per_instance)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(1, 3), st.integers(1, 6), st.data())
def test_any_block_visits_instances_in_turn(instances, loggers, each, draw):
    data = balanced(instances, loggers, each)
    n = draw.draw(st.integers(1, len(data)))
    seed = draw.draw(st.integers(0, len(data) // n - 1))
    block = data.subset(n, seed)
    visits = Counter(t.instance for t in block.trajectories)
    counts = [visits[f"i{i}"] for i in range(instances)]
    assert len(block) == n and max(counts) - min(counts) <= 1
    both = Counter((t.instance, t.logger) for t in data.subset(n, 0).trajectories)
    pairs = [[both[(f"i{i}", f"l{k}")] for k in range(loggers)] for i in range(instances)]
    assert all(max(row) - min(row) <= 1 for row in pairs)


def test_blocks_do_not_depend_on_the_order_of_the_log():
    data = balanced(5, 3, 4)
    shuffled = data.with_trajectories(data.trajectories[i] for i in np.random.default_rng(0).permutation(len(data)))
    assert ids(data.subset(17, 1)) == ids(shuffled.subset(17, 1))


def test_small_blocks_of_the_first_seed_are_nested():
    data = TASK.log("pooled")
    assert ids(data.subset(100, 0)) < ids(data.subset(300, 0)) < ids(data.subset(1000, 0))


def test_a_block_beyond_the_end_is_refused():
    with pytest.raises(DataError, match="needs 40 episodes.*holds 30.*disjoint"):
        balanced(5, 2, 3).subset(20, 1)


def test_where_keeps_what_is_asked_for():
    data = balanced(2, 2, 2).where(lambda t: t.logger == "l1")
    assert len(data) == 4 and {t.logger for t in data.trajectories} == {"l1"} and data.loggers == ("l0", "l1")
