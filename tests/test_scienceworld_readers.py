"""ScienceWorld log formats: what the readers make of self-made miniatures, of damage, and of real published logs."""

from __future__ import annotations

import os
import re
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from bench.canonical import read_canonical
from bench.errors import DataError
from bench.formats import agentboard as board
from bench.formats.building import DUPLICATE
from bench.formats.log import Import
from bench.importing import import_log, read_any
from tasks.scienceworld.readers import agentboard, agentsquare, swiftsage

FIXTURES = Path(__file__).parent / "fixtures" / "scienceworld"
AGENTBOARD = FIXTURES / "agentboard" / "tiny-agent" / "logs" / "scienceworld.jsonl"
CONSOLE = FIXTURES / "agentsquare" / "run-tiny" / "files" / "output.log"
GOLD = FIXTURES / "swiftsage" / "task3-4-6.json"
GOAL = "Your task is to find a(n) plant. First, focus on the thing. Then, move it to the red box in the kitchen."


def test_agentboard_miniature() -> None:
    log = agentboard.read(AGENTBOARD)
    assert [t.id for t in log.episodes] == ["tiny-agent/0", "tiny-agent/1", "tiny-agent/1#2"]
    assert log.dropped == {board.FAILED_CALL: 1, board.NO_STEP: 1, DUPLICATE: 1}
    done, cut = log.episodes[:2]
    assert (done.instance, done.goal, done.logger) == ("find-plant/agentboard-0", GOAL, "tiny-agent")
    assert [s.observation for s in done.steps] == ["", "You move to the garden."]
    assert done.final_observation == "You focus on the fern."
    assert done.steps[0].action == "<|assistant|>\n\nAction: go to garden"
    assert log.extras[done.id].action_canonical == ("go to garden", "focus on fern")
    assert done.rewards.tolist() == [0.5, 0.5]
    assert (done.terminated, done.truncated) == (True, False)
    assert (cut.terminated, cut.truncated) == (False, True)
    assert cut.rewards.tolist() == [0.0, 0.25, 0.0]
    assert [log.extras[t.id].metadata["success"] for t in log.episodes] == [True, False, False]
    assert "open box" not in str(log)  # the few-shot example of the prompt


def test_console_miniature() -> None:
    log = agentsquare.read(CONSOLE)
    assert [t.id for t in log.episodes] == ["run-tiny/0", "run-tiny/1"]
    assert log.dropped == {agentsquare.SKIPPED: 1, agentsquare.FAILED_CALL: 1, agentsquare.NO_OUTCOME: 1}
    cut, done = log.episodes
    things = (
        "In it, you see:\n\ta fern\n\ta substance called air\nYou also see:\n\tA door to the kitchen (that is open)"
    )
    assert [(s.observation, s.action, s.reward) for s in cut.steps] == [
        (f"This room is called the garden. {things}", "focus on fern", 0.5),
        ("You focus on the fern.", "check valid actions", 0.0),
    ]
    assert cut.final_observation == ""
    assert (cut.instance, cut.goal) == ("find-plant/7", "Your task is to find a(n) plant.")
    assert (cut.terminated, cut.truncated) == (False, True)
    assert (done.terminated, done.truncated) == (True, False)
    assert done.rewards.tolist() == [1.0]
    assert log.extras[cut.id].metadata == {"success": False, "example": 0, "reported_steps": 3}
    assert "1 observations are missing in the log; they read as empty text here" in log.notes


def test_gold_miniature() -> None:
    log = swiftsage.read(GOLD)
    assert log.dropped == {swiftsage.NO_STEP: 1}
    done, failed = log.episodes
    garden = "This room is called the garden. In it, you see: \n\ta fern"
    assert [(s.observation, s.action, s.reward) for s in done.steps] == [
        (garden, "look around", 0.25),
        (garden, "focus on fern", 0.75),
    ]
    assert (done.id, done.instance, done.logger) == ("gold/find-plant/4", "find-plant/4", "gold path")
    assert (done.terminated, done.truncated) == (True, False)
    assert log.extras[done.id].metadata == {"success": True, "fold": "dev", "logged_steps": 3}
    assert failed.rewards.tolist() == [0.0]  # a score below zero counts as zero
    assert (failed.terminated, failed.truncated) == (False, True)


@pytest.mark.parametrize("name", ["agentboard", "agentsquare", "swiftsage"])
def test_each_miniature_is_recognized_in_a_folder_and_an_archive(name: str, tmp_path: Path) -> None:
    single = read_any({"agentboard": AGENTBOARD, "agentsquare": CONSOLE, "swiftsage": GOLD}[name], None)
    archive = tmp_path / "logs.tar.xz"
    with tarfile.open(archive, "w:xz") as tar:
        tar.add(FIXTURES / name, arcname=name)
    for path in (FIXTURES / name, archive):
        log = read_any(path, "scienceworld")
        assert log.header.task == "scienceworld"
        assert list(log.episodes) == list(single.episodes)
        assert log.extras == single.extras
    import_log(archive, None, tmp_path / "out.parquet")
    back = read_canonical(tmp_path / "out.parquet")
    assert list(back.episodes) == list(single.episodes)
    assert {k: v.metadata for k, v in back.extras.items()} == {k: v.metadata for k, v in single.extras.items()}


def test_several_formats_in_one_folder_are_not_mixed() -> None:
    with pytest.raises(
        DataError,
        match="several formats.*:\n  scienceworld/agentboard.*\n  scienceworld/agentsquare.*\n  scienceworld/sw",
    ):
        read_any(FIXTURES, None)


DAMAGE = [
    (
        AGENTBOARD,
        '"Progress Rate": 0.25',
        '"Progress Rate": NaN',
        r"line \d+: trajectory\.Interaction Turn 1\.Progress Rate",
    ),
    (AGENTBOARD, '"progress_rate": 0.25', '"progress_rate": 0.5', r"line \d+: progress_rate 0.5 differs from 0.25"),
    (AGENTBOARD, '"is_done": true', '"is_done": "yes"', "line 1: is_done"),
    (AGENTBOARD, '"goal"', '"aim"', "line 1: goal: Field required"),
    (AGENTBOARD, "sing", "s\udcffng", r"line \d+: not UTF-8"),
    (
        CONSOLE,
        "Progress Rate: 0.5\n",
        "Progress Rate: nan\n",
        "line 12: progress rate 'nan' is not a number between 0 and 1",
    ),
    (
        CONSOLE,
        "Progress Rate: 0.5 , Steps",
        "Progress Rate: 0.75 , Steps",
        "line 16: progress rate 0.75 differs from 0.5",
    ),
    (CONSOLE, "Success: False ,", "Success: maybe ,", "line 16: cannot read this FINISH line"),
    (CONSOLE, "Example 0 | Success", "Example 7 | Success", "line 16: ends example 7, but example 0 is running"),
    (CONSOLE, "Step 01 - Progress Rate", "Step 01 - Action", "line 12: a second action"),
    (CONSOLE, "Step 01 - Action", "Step 01 - Observation", "line 12: a progress rate without an action"),
    (CONSOLE, "focus on fern", "focus on f\udcffrn", "line 10: not UTF-8"),
    (GOLD, '"score": "0.25"', '"score": "NaN"', r"line 1, episode '4': history\.history\[0\]\.score: .*finite"),
    (GOLD, '"score": "0.25"', '"score": "25"', r"history\.history\[0\]\.score: .*less than or equal to 1"),
    (GOLD, '"variationIdx": 5', '"variationIdx": "five"', "episode '5': history.variationIdx"),
    (GOLD, '"isCompleted": "false"', '"isCompleted": "perhaps"', r"history\[0\]\.isCompleted"),
]


@pytest.mark.parametrize("source, old, new, message", DAMAGE)
def test_damage_is_refused_with_file_and_place(source: Path, old: str, new: str, message: str, tmp_path: Path) -> None:
    text = source.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / source.name
    path.write_bytes(text.replace(old, new, 1).encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=message) as caught:
        read_any(path, None)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("source", [AGENTBOARD, GOLD])
def test_json_that_is_cut_off_is_refused(source: Path, tmp_path: Path) -> None:
    path = tmp_path / source.name
    path.write_bytes(source.read_bytes()[:-30])
    with pytest.raises(DataError, match=rf"{re.escape(str(path))}, line \d+, column \d+: .*cut off"):
        read_any(path, None)


def test_a_console_log_that_is_cut_off_loses_only_its_last_episode(tmp_path: Path) -> None:
    text = CONSOLE.read_text(encoding="utf-8")
    (tmp_path / "output.log").write_text(text[: text.index("The water boils")], encoding="utf-8")
    log = agentsquare.read(tmp_path / "output.log")
    assert len(log.episodes) == 1
    assert log.dropped == {agentsquare.NO_OUTCOME: 1}


def real(name: str) -> Path:
    """A folder of the real ScienceWorld logs."""
    root = os.environ.get("OPE_REAL_LOGS")
    if not root or not (Path(root) / "scienceworld").is_dir():
        pytest.skip("set OPE_REAL_LOGS to the folder of real logs to read them")
    return Path(root) / "scienceworld" / name


def by_logger(log: Import) -> dict[str, tuple[int, float, float, float]]:
    """Logger -> episodes, mean length, mean return, mean success."""
    found = {}
    for name in dict.fromkeys(t.logger for t in log.episodes):
        own = [t for t in log.episodes if t.logger == name]
        success = np.mean([log.extras[t.id].metadata["success"] for t in own])
        found[name] = (len(own), np.mean([len(t) for t in own]), np.mean([t.rewards.sum() for t in own]), success)
    return found


def test_real_agentboard_logs() -> None:
    """The table in which these logs were first counted: episodes, mean length, mean progress rate, mean success."""
    log = read_any(real("agentboard_m") / "all_policies.tar.xz", None)
    expected = {
        "CodeActAgent-Llama-7b": (86, 30, 0.000, 0.0),
        "CodeActAgent-Mistral-7b-v0.1": (84, 30, 0.094, 0.0),
        "agentlm-13b": (90, 30, 0.150, 0.0),
        "agentlm-70b": (90, 29.7, 0.139, 0.011),
        "agentlm-7b": (90, 30, 0.089, 0.0),
        "agentlm-7b_mix_3ep_temp0": (90, 30, 0.078, 0.0),
        "agentlm-7b_mix_3ep_temp07": (90, 30, 0.147, 0.0),
        "codeact": (86, 30, 0.000, 0.0),
        "llama3-8b": (90, 28.7, 0.287, 0.078),
        "mistral-7b": (90, 29.8, 0.166, 0.022),
    }
    found = by_logger(log)
    assert set(found) == set(expected)
    for name, numbers in expected.items():
        assert found[name] == pytest.approx(numbers, abs=6e-4), name
    per_id = Counter(t.instance for t in log.episodes)
    assert sum(count == 10 for count in per_id.values()) == 84
    assert len({t.instance.partition("/")[0] for t in log.episodes}) == 16
    goals = {(t.instance, t.goal) for t in log.episodes}
    assert len(goals) == len(per_id) == 90
    assert not log.dropped
    plain = read_any(real("agentboard_m") / "llama3-8b.jsonl", None)
    assert list(plain.episodes) == [t for t in log.episodes if t.logger == "llama3-8b"]


def test_real_agentsquare_logs() -> None:
    """90 examples per run; in the first, one never started (its reported 8 steps are those of the example before)."""
    log = read_any(real("agentsquare_wandb"), None)
    expected = {
        "run-20240831_124210-dtwn9gbk": (89, 12.49, 0.049),
        "run-20240831_151217-mrqow2bd": (90, 10.3, 0.039),
        "run-20240831_170238-ks8bo1f7": (90, 10.31, 0.038),
    }
    found = by_logger(log)
    assert set(found) == set(expected)
    assert log.dropped == {agentsquare.SKIPPED: 1}
    for name, (episodes, reported, progress) in expected.items():
        own = [t for t in log.episodes if t.logger == name]
        steps = [log.extras[t.id].metadata["reported_steps"] for t in own]
        assert all(len(t) == n - 1 for t, n in zip(own, steps, strict=True))
        lost = 90 - episodes
        assert (sum(steps) + 8 * lost) / 90 == pytest.approx(reported, abs=6e-3)
        assert found[name][2] * episodes / 90 == pytest.approx(progress, abs=6e-4)
        assert (found[name][0], found[name][3]) == (episodes, 0.0)
    assert len({t.instance for t in log.episodes}) == 90


def test_real_gold_paths() -> None:
    log = read_any(real("swiftsage_oracle"), None)
    assert len(log.episodes) == 93
    assert by_logger(log) == {"gold path": (93, pytest.approx(11.05, abs=5e-3), pytest.approx(1.0), 1.0)}
    assert np.mean([log.extras[t.id].metadata["logged_steps"] for t in log.episodes]) == pytest.approx(11.82, abs=5e-3)
    assert all(t.terminated for t in log.episodes)


def test_real_logs_survive_the_canonical_form(tmp_path: Path) -> None:
    path = real("agentsquare_wandb")
    log = read_any(path, None)
    import_log(path, "scienceworld", tmp_path / "out.parquet")
    assert read_canonical(tmp_path / "out.parquet").dataset() == log.dataset()
