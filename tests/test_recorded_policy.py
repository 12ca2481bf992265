"""What was recorded is read once, when it is needed, and never mistaken for something else."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

from bench import registry
from bench.agents.recorded import RecordedPolicy, Recording
from bench.errors import DataError
from bench.recorded import RecordedTask
from tests.coins import Caller, coin_log


class Shelf:
    """Recordings of two logs that count how often they are read."""

    def __init__(self):
        self.read: list[str] = []

    def __call__(self):
        for name in ("pooled", "far"):
            self.read.append(name)
            episodes = {t.id: t for t in coin_log(name).subset(20, 0).trajectories}
            yield Recording(
                episodes, {i: np.full(len(t), -7.0) for i, t in episodes.items()}, lambda n=name: self.samples(n)
            )

    def samples(self, name):
        self.read.append(f"next actions of {name}")
        return {t.id: [("heads", "tails")] * len(t) for t in coin_log(name).subset(20, 0).trajectories}


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def policy(shelf) -> RecordedPolicy:
    return RecordedPolicy("bold", shelf, lambda: Caller("bold"))


def test_a_log_is_read_when_one_of_its_episodes_is_asked_for_and_only_once(policy, shelf):
    pooled, far = (coin_log(name).subset(20, 0).trajectories for name in ("pooled", "far"))
    assert shelf.read == []
    for _ in range(2):
        assert [x[0] for x in policy.log_prob_episodes(pooled)] == [-7.0] * 20
    assert shelf.read == ["pooled"]
    for _ in range(2):
        policy.log_prob_episodes(far)
    assert shelf.read == ["pooled", "far"]


def test_next_actions_are_read_when_an_estimator_asks_for_them(policy, shelf):
    pooled = coin_log("pooled").subset(20, 0).trajectories
    policy.log_prob_episodes(pooled)
    assert shelf.read == ["pooled"]
    for n, first in ((1, ("heads",)), (2, ("heads", "tails"))):
        assert policy.next_actions(pooled, n, 0)[0][0] == first
    assert shelf.read == ["pooled", "next actions of pooled"]
    assert policy.next_actions(pooled, 3, 0)[0][0] == ("heads",) * 3  # more than was recorded: from the model


def test_an_episode_that_differs_from_the_recorded_one_of_its_id_goes_to_the_model(policy):
    episode = coin_log("pooled").subset(20, 0).trajectories[0]
    other = replace(episode, goal="another goal")
    recorded, computed = policy.log_prob_episodes([episode, other])
    assert recorded[0] == -7.0
    np.testing.assert_array_equal(computed, Caller("bold").log_prob_episodes([other])[0])


def test_a_policy_travels_without_what_it_has_read(policy):
    episodes = coin_log("pooled").subset(20, 0).trajectories
    policy.log_prob_episodes(episodes)
    state = policy.__getstate__()
    assert not state["_read"] and state["_unread"] is None and state["_policy"] is None
    assert len(pickle.dumps({k: v for k, v in state.items() if not callable(v)})) < 1000


def test_an_incomplete_recording_is_named(tmp_path):
    class Partial(RecordedTask):
        name, folder, card = "partial", tmp_path, None

    task = Partial()
    with pytest.raises(DataError, match="task 'partial' has no recording at .*run_bench.py collect --task partial"):
        task.logs()
    (tmp_path / "recording.json").write_text('{"logs": ["pooled"],')
    with pytest.raises(DataError, match="recording.json, line 1"):
        task.logs()
    (tmp_path / "recording.json").write_text(json.dumps({"logs": ["pooled"]}))
    with pytest.raises(DataError, match="logs/pooled.parquet is missing"):
        Partial().log_fingerprint("pooled")


def test_the_fingerprint_of_a_recorded_log_follows_the_content_of_its_files(tmp_path):
    class Stub(RecordedTask):
        name, folder, card = "stub", tmp_path, None

    (tmp_path / "recording.json").write_text(
        json.dumps({"logs": ["pooled", "far"], "episodes": {"pooled": 3, "far": 3}})
    )
    for kind in ("logs", "log_probs", "next_actions"):
        (tmp_path / kind).mkdir()
        for log in ("pooled", "far"):
            (tmp_path / kind / f"{log}.parquet").write_bytes(f"{kind} {log}".encode())
    before = {log: Stub().log_fingerprint(log) for log in ("pooled", "far")}
    (tmp_path / "log_probs" / "far.parquet").write_bytes(b"scored anew")
    after = {log: Stub().log_fingerprint(log) for log in ("pooled", "far")}
    assert before["pooled"] == after["pooled"] != before["far"] != after["far"]


def test_toy_chain_identifies_its_logs_without_drawing_them(monkeypatch):
    from tasks.toy_chain import record

    monkeypatch.setattr(record, "play", lambda *_: pytest.fail("no episode is needed"))
    task = registry.task("toy_chain")
    first = {log: task.log_fingerprint(log) for log in task.logs()}
    assert len(set(first.values())) == 2
    monkeypatch.setattr(record, "LOG_EPISODES", record.LOG_EPISODES + 1)
    assert all(task.log_fingerprint(log) != value for log, value in first.items())
