"""Web log formats: what the readers make of self-made miniatures, of damage, and of real published logs."""

from __future__ import annotations

import gzip
import importlib
import json
import os
import re
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from bench import importing
from bench.canonical import read_canonical
from bench.errors import DataError
from bench.formats.files import Member
from bench.formats.log import Import
from bench.importing import Format, import_log, read_any
from tasks.webarena import logged
from tasks.webarena.canonical import canonical_browser_use, canonical_browsergym, canonical_webarena
from tasks.webarena.outcomes import Outcomes
from tasks.webarena.readers import browser_use, go_browse
from tests.browsergym_pickles import step_info, write_experiment

FIXTURES = Path(__file__).parent / "fixtures" / "webarena"
NAMES = ("browser_use", "browsergym", "go_browse", "outcome_table", "render_html")
LOGS = ("browser_use", "browsergym", "go_browse", "render_html")


@pytest.fixture(autouse=True)
def all_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every reader there is, those of WebArena among them."""
    own = [Format("webarena", name, importlib.import_module(f"tasks.webarena.readers.{name}")) for name in NAMES]
    others = [f for f in importing.formats() if f.task != "webarena"]
    monkeypatch.setattr(importing, "formats", lambda: others + own)


def rewards(log: Import) -> dict[str, list[float]]:
    """Episode id -> rewards."""
    return {t.id: t.rewards.tolist() for t in log.episodes}


def ends(log: Import) -> list[tuple[bool, bool]]:
    return [(t.terminated, t.truncated) for t in log.episodes]


def canonical(log: Import) -> dict[str, tuple[str | None, ...]]:
    return {t.id: log.extras[t.id].action_canonical for t in log.episodes}


def copy(source: Path, target: Path) -> Path:
    """A copy of a fixture folder that may be changed."""
    for file in (f for f in source.rglob("*") if f.is_file()):
        new = target / file.relative_to(source)
        new.parent.mkdir(parents=True, exist_ok=True)
        new.write_bytes(file.read_bytes())
    return target


def test_render_miniature() -> None:
    log = read_any(FIXTURES / "render_html", None)
    assert rewards(log) == {"agent-a/webarena.7": [0.0, 1.0], "agent-a/webarena.8": [0.0, 0.0]}
    assert log.dropped == {logged.NO_OUTCOME: 1, logged.CRASHED: 1, logged.NO_STEP: 1}
    assert ends(log) == [(True, False), (False, True)]
    passed, failed = log.episodes
    assert (passed.goal, failed.goal) == ("What does the cup cost?", "Find the cheapest\nspoon.")
    assert passed.instance == "webarena.7"
    first = passed.steps[0]
    assert first.observation.startswith("Tab 0 (current): Shop\n\n[1] RootWebArea 'Shop' focused: True\n\t[12] link")
    assert first.observation.endswith("'odd </pre><div> text'\nURL: http://shop.example:7770")
    assert first.action.endswith("action I will perform is ```click [12]```")
    assert log.extras[passed.id].thought[0].startswith("Let's think. The cup")
    assert canonical(log) == {
        passed.id: ('click link "Ann\'s <b>cup</b>"', "stop '4 dollars'"),
        failed.id: ("none", "type textbox 'Search' 'spoon' [1]"),
    }
    assert log.extras[failed.id].metadata == {"success": False, "early_stop": "Early stop: Same action for 3 times"}
    assert failed.final_observation.startswith("Tab 0 (current): Cup")
    assert "exact_match" not in str(log.episodes) and "4 dollars'}" not in str(log.episodes)


@pytest.mark.parametrize(
    "name, content",
    [
        ("outcomes.csv", "task_id,agent,reward\nwebarena.7,agent-b,0.25\n7,agent-c,1\n"),
        ("outcomes.csv", '"task_id","success"\r\n"task_7","0.25"\r\n'),
        ("outcomes.json", '{"7": 0.25, "12": true}'),
        ("outcomes.json", '[{"task_id": 7, "agent": "agent-b", "score": 0.25}]'),
    ],
)
def test_outcomes_are_joined_from_a_table(name: str, content: str, tmp_path: Path) -> None:
    copy(FIXTURES / "render_html", tmp_path)
    (tmp_path / name).write_text(content)
    log = read_any(tmp_path, None)
    found = rewards(log)
    assert found.pop("agent-b/webarena.7") == [0.25]
    assert found == {"agent-a/webarena.7": [0.0, 1.0], "agent-a/webarena.8": [0.0, 0.0]}  # the nearer table counts


def test_the_last_result_of_a_task_counts(tmp_path: Path) -> None:
    copy(FIXTURES / "render_html", tmp_path)
    again = "2023-09-29 00:00:01,1 - INFO - [Intent]: a\n2023-09-29 00:00:01,1 - INFO - [Result] (PASS) /t/8.json\n"
    (tmp_path / "agent-a" / "merged_log.txt").write_text(again)
    assert rewards(read_any(tmp_path, None))["agent-a/webarena.8"] == [0.0, 1.0]


def test_browsergym_miniature() -> None:
    log = read_any(FIXTURES / "browsergym", None)
    assert rewards(log) == {"tiny-agent/webarena.21": [0.0, 0.5], "tiny-agent/webarena.23": [0.0]}
    assert log.dropped == {logged.CRASHED: 1, logged.NO_OUTCOME: 1}
    assert ends(log) == [(True, False), (False, True)]
    first = log.episodes[0]
    assert first.goal == "Open the report."
    assert first.steps[0].observation.startswith("RootWebArea 'Admin', focused\n\t[a5] link '\\ue60a REPORTS'\n\t[b7]")
    extras = log.extras[first.id]
    assert extras.action_canonical == (
        "click link '\\ue60a REPORTS'",
        "fill textbox 'From' '01/01/2022'; send_msg_to_user 'done'",
    )
    assert extras.thought == ("Reports are behind the link.", None)
    assert extras.metadata == {"success": False, "labelled_reward": 0.0}
    assert log.extras["tiny-agent/webarena.23"].metadata == {"success": False}  # the label is of another agent


def experiment(folder: Path, goal: str = "price of the cup", last: float = 0.0) -> Path:
    pages = ["RootWebArea 'Shop'\n\t[58] link 'Cup'", "RootWebArea 'Cup'\n\t[9] StaticText '4'"]
    steps = [
        step_info(0, pages[0], "click('58')"),
        step_info(1, pages[1], "send_msg_to_user('4')"),
        step_info(2, pages[1], None, np.float64(last), terminated=True),
    ]
    write_experiment(folder, steps, goal)
    return folder


def test_browsergym_pickles(tmp_path: Path) -> None:
    study = tmp_path / "2024-05-01_10-00-00_Agent-x_on_webarena"
    folder = experiment(study / "2024-05-01_10-00-01_Agent-x_on_webarena.21_0", last=0.5)
    experiment(study / "renamed", "price of the spoon")
    log = read_any(study, None)
    assert rewards(log) == {"Agent-x/webarena.21/0": [0.0, 0.5], "Agent-x/renamed": [0.0, 0.0]}
    assert [t.goal for t in log.episodes] == ["price of the cup", "price of the spoon"]
    assert canonical(log)["Agent-x/webarena.21/0"] == ("click link 'Cup'", "send_msg_to_user '4'")
    assert log.extras["Agent-x/webarena.21/0"].thought == ("I click.", "I click.")
    assert "passed over 2 files of other formats" in log.notes[-1]  # exp_args.pkl is not opened
    archive = tmp_path / "study.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(study, arcname=study.name)
    assert list(read_any(archive, None).episodes) == list(log.episodes)
    (folder / "step_1.pkl.gz").write_bytes((folder / "step_1.pkl.gz").read_bytes()[:-30])
    with pytest.raises(DataError, match=r"step_1\.pkl\.gz: cut off"):
        read_any(study, None)


def test_runs_of_a_task_with_other_seeds_are_episodes_of_their_own(tmp_path: Path) -> None:
    for seed in range(3):
        experiment(tmp_path / f"2024-05-01_10-00-01_Agent-x_on_webarena.21_{seed}", last=0.5)
    log = read_any(tmp_path, None)
    assert list(rewards(log)) == [f"Agent-x/webarena.21/{seed}" for seed in range(3)] and not log.dropped


def test_a_step_without_a_reward_has_no_outcome(tmp_path: Path) -> None:
    folder = copy(FIXTURES / "browsergym", tmp_path)
    whole = len(read_any(folder, None).episodes)
    path = next(p for p in sorted(folder.rglob("steps_info_2.json")) if '"reward"' in p.read_text())
    step = json.loads(path.read_text())
    del step["reward"]
    path.write_text(json.dumps(step))
    log = read_any(folder, None)
    assert len(log.episodes) == whole - 1 and log.dropped[logged.NO_OUTCOME] >= 1


def test_a_goal_that_is_no_text_is_refused(tmp_path: Path) -> None:
    folder = experiment(tmp_path / "agent" / "webarena.3")
    deep = b"\x80\x04" + b"}" + b"\x8c\x01a}" * 50_000 + b"s" * 50_000 + b"."
    (folder / "goal_object.pkl.gz").write_bytes(gzip.compress(deep))
    with pytest.raises(DataError, match=r"goal_object\.pkl\.gz: holds a dict, not the text of a goal"):
        read_any(tmp_path, None)


def test_a_hostile_step_refuses_the_log(tmp_path: Path) -> None:
    folder = experiment(tmp_path / "agent" / "webarena.3")
    hostile = b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R."
    (folder / "step_1.pkl.gz").write_bytes(gzip.compress(hostile))
    with pytest.raises(DataError, match=r"step_1\.pkl\.gz, byte 14: this pickle asks to use os\.system"):
        import_log(tmp_path, None, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_browser_use_miniature() -> None:
    log = read_any(FIXTURES / "browser_use", None)
    assert rewards(log) == {"mail/run-1/task_e1": [0.0, 1.0]}
    assert log.dropped == {browser_use.NO_HISTORY: 1, logged.NO_OUTCOME: 1}
    (episode,) = log.episodes
    assert ends(log) == [(True, False)]
    assert episode.goal == "Star the first letter."
    assert episode.steps[0].observation == "429 RESOURCE_EXHAUSTED\n[3]<button />\n\tStar"
    assert episode.steps[1].observation == "Clicked button\nNo such field\n[3]<button />\n\tUnstar"
    assert episode.steps[0].action == '[{"click": {"index": 3}}, {"input": {"index": 4, "text": "yes", "clear": true}}]'
    assert canonical(log)[episode.id] == (
        "click button 'Star'; input (no such element) clear=true text=\"yes\"",
        'done success=true text="Starred."',
    )
    assert log.extras[episode.id].metadata["success"] is True
    assert "1 model calls failed and were tried again; they are no turns of the agent" in log.notes


def test_browser_use_takes_outcomes_from_a_table(tmp_path: Path) -> None:
    copy(FIXTURES / "browser_use", tmp_path)
    (tmp_path / "outcomes.csv").write_text("task_id,reward\ntask_e3,0.5\n")
    log = read_any(tmp_path, None)
    assert rewards(log)["mail/run-1/task_e3"] == [0.5]
    assert log.episodes[1].goal == "Star the first letter."  # from the message: there is no result.json
    assert ends(log) == [(True, False), (False, True)]


def test_go_browse_miniature() -> None:
    log = read_any(FIXTURES / "go_browse", None)
    assert rewards(log) == {"map/1": [0.0, 1.0]}
    assert log.dropped == {go_browse.BROKEN: 2, logged.NO_OUTCOME: 1}
    assert canonical(log) == {"map/1": ("click link 'User Diaries'", "stop 'Here they are.'")}
    assert log.episodes[0].instance == "map/Open the diaries."
    assert log.extras["map/1"].thought == ("I look.", "I look.")
    assert any("the set was filtered" in note for note in log.notes)


def test_outcomes_alone_are_no_log() -> None:
    with pytest.raises(DataError, match="outcomes without episodes") as caught:
        read_any(FIXTURES / "outcome_table", None)
    assert "all episodes: 3 rows, mean 0.500, 1 without an outcome" in str(caught.value)


@pytest.mark.parametrize("name", LOGS)
def test_each_miniature_is_recognized_in_an_archive(name: str, tmp_path: Path) -> None:
    single = read_any(FIXTURES / name, "webarena")
    assert single.header.task == "webarena"
    archive = tmp_path / "logs.tar.xz"
    with tarfile.open(archive, "w:xz") as tar:
        tar.add(FIXTURES / name, arcname="logs")
    log = read_any(archive, None)
    assert list(log.episodes) == list(single.episodes)
    assert log.extras == single.extras
    told = import_log(archive, None, tmp_path / "out.parquet")
    assert f"{len(single.episodes)} on " in told
    assert list(read_canonical(tmp_path / "out.parquet").episodes) == list(single.episodes)


A, B = "render_html/agent-a/", "browsergym/tiny-agent/task_21/"
U, G = "browser_use/mail/results/run-1/task_e1/", "go_browse/map/"
DAMAGE = [
    (A + "render_7.html", "<div class='parsed_action'", "<div class='other'", "line 22: this page has no complete"),
    (A + "render_7.html", "task_id: 7", "task: 7", "line 1: no task_id and intent"),
    (A + "render_7.html", "Price", "Pr\udcffce", r"line \d+: not UTF-8"),
    (B + "steps_info_2.json", '"reward": 0.5', '"reward": NaN', "line 1: reward"),
    (B + "steps_info_2.json", '"reward": 0.5', '"reward": 0.75', r"cum_reward is 0\.5, but the steps add up to 0\.75"),
    (B + "steps_info_1.json", '"axtree_txt"', '"tree"', "step 1: no page as text"),
    (B + "steps_info_1.json", '"terminated": false', '"terminated": "no"', "line 1: terminated"),
    (B + "summary_info.json", '"n_steps": 2', '"n_steps": 3', "n_steps is 3, but there are 2 steps"),
    ("browsergym/annotations.csv", "Unsuccessful", "perhaps", "line 2, trajectory_success: 'perhaps' is neither"),
    ("browsergym/annotations.csv", "x,Unsuccessful,No", "Unsuccessful", "line 2: not as many fields"),
    (U + "result.json", '"passed": true', '"passed": true, "task_id": 4', "line 1: task_id"),
    (U + "history.json", '"result": [', '"results": [', r"line 1: history\[0\]\.result"),
    (G + "record_1.json", '"traj_reward": 1.0', '"traj_reward": 7', "line 1: traj_reward"),
    (G + "record_1.json", '"goal"', '"target"', r"line 1: step_data\.goal"),
    (G + "record_2.json", '"step_idx": 2', '"step_idx": 1', "another record of this folder has step_idx 1"),
]


@pytest.mark.parametrize("file, old, new, message", DAMAGE)
def test_damage_is_refused_with_file_and_place(file: str, old: str, new: str, message: str, tmp_path: Path) -> None:
    name = file.split("/")[0]
    copy(FIXTURES / name, tmp_path)
    path = tmp_path / Path(file).relative_to(name)
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_bytes(text.replace(old, new, 1).encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=message) as caught:
        read_any(tmp_path, "webarena")
    assert str(path.parent) in str(caught.value)


def test_a_missing_step_is_named(tmp_path: Path) -> None:
    copy(FIXTURES / "browsergym", tmp_path)
    (tmp_path / "tiny-agent/task_21/steps_info_0.json").unlink()
    with pytest.raises(DataError, match=r"task_21: step 0 is missing"):
        read_any(tmp_path, None)


def test_canonical_actions() -> None:
    page = "[7] link 'A \\'b\\' c'\n\t[8] textbox \"D'E\" required: True\n[a9] button 'x'"
    said = {
        "click [7]": "click link \"A 'b' c\"",
        "click [99]": "click (no such element)",
        "type [8] [cup] [0]": "type textbox \"D'E\" 'cup' [0]",
        "type [8] [cup]": "type textbox \"D'E\" 'cup' [1]",
        "scroll [down]": "scroll down",
        "press [Meta+a]": "press 'Meta+a'",
        "tab_focus [1]": "tab_focus 1",
        "goto [http://x/y]": "goto 'http://x/y'",
        "stop []": "stop",
        "go_back": "go_back",
        "fly [7]": "none",
    }
    assert {text: canonical_webarena(text, page) for text in said} == said
    assert canonical_browsergym("click('a9', button='right')", page) == "click button 'x' 'right'"
    assert canonical_browsergym("drag_and_drop('a9', '8')", page) == "drag_and_drop button 'x' textbox \"D'E\""
    assert canonical_browsergym("```noop()```", page) == "noop"
    for broken in ("click('a9'", "click(a9)", "x.click('a9')", "1", "", "(" * 500, "click(*'a')"):
        assert canonical_browsergym(broken, page) == "none", broken
    assert canonical_browser_use([{"wait": None}, {"click": {"index": 4}}], []) == "wait; click (no such element)"
    assert canonical_browser_use([], []) == "none"


def real(name: str) -> Path:
    """A folder or file of the real web logs."""
    root = os.environ.get("OPE_REAL_LOGS")
    if not root or not (Path(root) / "webarena").is_dir():
        pytest.skip("set OPE_REAL_LOGS to the folder of real logs to read them")
    return Path(root) / "webarena" / name


def by_logger(log: Import) -> dict[str, tuple[int, float, float]]:
    """Logger -> episodes, mean length, mean return."""
    found = {}
    for name in dict.fromkeys(t.logger for t in log.episodes):
        own = [t for t in log.episodes if t.logger == name]
        found[name] = (len(own), np.mean([len(t) for t in own]), np.mean([t.rewards.sum() for t in own]))
    return found


def test_real_browsergym_json() -> None:
    log = read_any(real("browsergym_json"), None)
    assert {t.instance: (len(t), t.rewards.sum()) for t in log.episodes} == {
        "webarena.21": (4, 0.8),
        "webarena.375": (2, 0.0),
        "webarena.652": (2, 1.0),
        "webarena.688": (2, 0.0),
        "webarena.93": (1, 1.0),
    }
    assert log.dropped == {logged.CRASHED: 1}  # task 626: the model's rate limit
    assert all(t.terminated for t in log.episodes)
    first = log.extras["browsergym_json/webarena.21"]
    assert first.action_canonical[:3] == ("click link 'Reviews (12)'", "click link 'Page 2'", "click link 'Page 1'")
    assert all(first.thought)
    assert not any("none" in extras.action_canonical for extras in log.extras.values())


def test_real_browsergym_pickles() -> None:
    log = read_any(real("browsergym_pickle"), None)
    assert by_logger(log) == {"ScriptedAgent": (1, 2.0, 0.0)}
    (episode,) = log.episodes
    assert (episode.goal, episode.truncated) == ("price of Item 7 Gadget", True)
    assert canonical(log)[episode.id] == ("click link 'Item 7 Gadget'", "send_msg_to_user '16.99'")
    assert log.extras[episode.id].thought == ("t", "done")
    assert "RootWebArea 'Item 7 Gadget'" in episode.steps[1].observation


def test_real_browser_use_histories() -> None:
    """Lengths as listed count the harness's own first navigation; rates as listed count runs without a history."""
    log = browser_use.read(real("webarena_infinity/all_runs_history_result.tar.xz"))
    assert (len(log.episodes), log.dropped) == (506, {browser_use.NO_HISTORY: 30})
    assert sum(t.rewards.sum() for t in log.episodes) == 383
    listed = {
        "gmail/gemini_20260225_003422_parallel": (30, 7.87, 0.5),
        "gmail/gemini_20260226_000245_tasks-function-test_parallel": (49, 8.71, 0.46 * 50 / 49),
        "gmail/gemini_20260226_075851_real-tasks_parallel": (45, 8.62, 0.717 * 60 / 45),
        "linear-account-settings/gemini_20260219_022152_parallel": (30, 5.43, 0.867),
        "linear-account-settings/gemini_20260219_023910_parallel": (30, 5.63, 0.867),
        "shopify-theme-editor/gemini_20260219_022736_parallel": (30, 11.3, 0.633),
    }
    found = by_logger(log)
    assert len(found) == 16
    for name, (episodes, entries, reward) in listed.items():
        assert found[name][0] == episodes
        assert 0.9 <= entries - found[name][1] <= 1.01, name  # one synthetic navigation in nearly every episode
        assert found[name][2] == pytest.approx(reward, abs=1e-3), name
    assert not any("<agent_history>" in step.observation for t in log.episodes for step in t.steps)
    folder = read_any(real("webarena_infinity/linear-account-settings"), None)
    linear = [t for t in log.episodes if t.logger.startswith("linear")]
    assert [t.steps for t in folder.episodes] == [t.steps for t in linear]


def test_real_go_browse_records() -> None:
    assert len(read_any(real("gobrowse_weboperator"), None).episodes) == 25
    log = go_browse.read(real("gobrowse_weboperator/sample_300_goals.tar.xz"))
    assert not log.dropped
    listed = {"gitlab": (268, 3.21), "map": (277, 3.55), "reddit": (246, 3.51), "shopping": (280, 3.12)}
    listed["shopping_admin"] = (246, 3.49)
    site = {t.id: log.extras[t.id].metadata["site"] for t in log.episodes}
    assert Counter(site.values()) == {name: count for name, (count, _) in listed.items()}
    for name, (_, length) in listed.items():
        own = [t for t in log.episodes if site[t.id] == name]
        assert np.mean([len(t) for t in own]) == pytest.approx(length, abs=6e-3), name
        assert len({t.goal for t in own}) == 60
    assert all(t.rewards.sum() == 1 for t in log.episodes)
    assert any("the set was filtered" in note for note in log.notes)


def test_real_render_pages(tmp_path: Path) -> None:
    """Four pages with 4, 6, 4 and 4 states, the last of each with a stop that the harness forced."""
    folder = real("official_render")
    with pytest.raises(DataError, match="no outcome"):
        read_any(folder, None).dataset()
    copy(folder, tmp_path / "renders")
    (tmp_path / "renders" / "outcomes.json").write_text('{"0": 0, "4": 1}')
    log = read_any(tmp_path / "renders", None)
    lengths = {t.id: len(t) + 1 for t in log.episodes}
    assert lengths == {
        "HuiyuanYan/webarena.0": 6,
        "HuiyuanYan/webarena.4": 4,
        "baseline__llama2_7b/webarena.0": 4,
        "retrieval__prompt_based__qwen2_7b@llama2_7b/webarena.0": 4,
    }
    assert all(t.truncated and t.steps[0].observation.startswith("Tab 0") for t in log.episodes)
    assert [t.rewards.sum() for t in log.episodes if t.instance == "webarena.4"] == [1.0]
    clicked = canonical(log)["retrieval__prompt_based__qwen2_7b@llama2_7b/webarena.0"]
    assert clicked == ("click SPAN 'Stores'",) * 3
    assert not re.search("base64|reference_answers", str(log.episodes))


def test_real_annotations_say_what_they_hold() -> None:
    with pytest.raises(DataError, match="outcomes without episodes") as caught:
        read_any(real("agent_reward_bench/annotations.csv"), None)
    said = str(caught.value)
    assert "GenericAgent-anthropic_claude-3.7-sonnet: 100 rows, mean 0.520, 0 without an outcome" in said
    assert "GenericAgent-gpt-4o-2024-11-20: 200 rows, mean 0.387, 1 without an outcome" in said


def test_real_annotations_join_by_task_and_agent(tmp_path: Path) -> None:
    """First labels by agent, as listed."""
    path = real("agent_reward_bench/annotations.csv")
    table = Outcomes()
    assert table.add(Member(str(tmp_path / "annotations.csv"), path.read_bytes()))
    (rows,) = table.tables.values()
    listed = {"Qwen": (100, 0.33), "claude": (100, 0.52), "gpt-4o": (100, 0.39), "Llama": (98, 0.224)}
    for mark, (tasks, mean) in listed.items():
        own = [reward for (_, agent), reward in rows.items() if mark in agent]
        assert len(own) == tasks
        assert sum(reward == 1 for reward in own) / tasks == pytest.approx(mean, abs=6e-4), mark
    agent = next(agent for _, agent in rows if "Qwen" in agent)
    assert table.reward(tmp_path / "runs", "webarena.177", agent) == 0.0
    assert table.reward(tmp_path / "runs", "webarena.177", "another") is None
