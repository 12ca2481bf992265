"""ALFWorld log formats: what the readers make of self-made miniatures, of damage, and of real published logs."""

from __future__ import annotations

import importlib
import os
import re
import tarfile
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from bench import importing
from bench.canonical import read_canonical
from bench.errors import DataError
from bench.formats import mint as mint_format
from bench.formats.building import DUPLICATE
from bench.formats.chat import Message
from bench.formats.files import members
from bench.formats.log import Import
from bench.formats.loggers import loggers_by_file
from bench.importing import Format, import_log, read_any
from tasks.alfworld import logged
from tasks.alfworld.readers import chat, reflexion
from tasks.alfworld.transcripts import opening_of, outcome, parse_messages, parse_prompt, without_outcome

FIXTURES = Path(__file__).parent / "fixtures" / "alfworld"
NAMES = ("agentboard", "chat", "knowagent", "mint", "react", "reflexion")
FILES = {
    "agentboard": FIXTURES / "agentboard" / "tiny-agent" / "logs" / "alfworld.jsonl",
    "chat": FIXTURES / "chat" / "toy.jsonl",
    "knowagent": FIXTURES / "knowagent" / "ToyAgent_D0.jsonl",
    "mint": next((FIXTURES / "mint").rglob("results.jsonl")),
    "react": FIXTURES / "react" / "toy-console.out",
    "reflexion": FIXTURES / "reflexion" / "toy_run",
}
LOOK = "You are in the middle of a room. Looking quickly around you, you see"
ROOM = f"{LOOK} a desk 1, a drawer 2, a drawer 1, and a shelf 1."
KITCHEN = f"{LOOK} a countertop 1, a fridge 1, and a sinkbasin 1."
MUG = "pick_and_place_simple-Mug-None-Desk-308/trial_T20250101_000000_000001"
CUP = "pick_clean_then_place_in_recep-Cup-None-CounterTop-7/trial_T20250101_000000_000002"
PEN = "look_at_obj_in_light-Pen-None-DeskLamp-308/trial_T20250101_000000_000003"


@pytest.fixture(autouse=True)
def all_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every reader there is, those of ALFWorld among them."""
    own = [Format("alfworld", name, importlib.import_module(f"tasks.alfworld.readers.{name}")) for name in NAMES]
    others = [f for f in importing.formats() if f.task != "alfworld"]
    monkeypatch.setattr(importing, "formats", lambda: others + own)


def rewards(log: Import) -> dict[str, list[float]]:
    """Episode id -> rewards."""
    return {t.id: t.rewards.tolist() for t in log.episodes}


def ends(log: Import) -> list[tuple[bool, bool]]:
    """(terminated, truncated) of every episode."""
    return [(t.terminated, t.truncated) for t in log.episodes]


def steps(log: Import, number: int) -> list[tuple[str, str]]:
    """Observation and action of every step of an episode."""
    return [(s.observation, s.action) for s in log.episodes[number].steps]


def test_react_console_miniature() -> None:
    log = read_any(FILES["react"], None)
    assert rewards(log) == {
        f"toys/tiny-1b toy-console/{MUG}": [0.0, 0.0, 0.0, 1.0],
        f"toys/tiny-1b toy-console/{CUP}": [0.0, 0.0],
    }
    assert log.dropped == {logged.CUT_OFF: 1}
    assert ends(log) == [(True, False), (False, True)]
    assert steps(log, 0) == [
        (ROOM, "think: First I need to find a mug."),
        ("OK.", "go to shelf 1"),
        ("On the shelf 1, you see a mug 1.", "take mug 1 from shelf 1"),
        ("You pick up the mug 1 from the shelf 1.", "put mug 1 in/on desk 1"),
    ]
    mug = log.episodes[0]
    assert (mug.goal, mug.instance) == ("put a mug in desk.", MUG)
    assert mug.final_observation == "You put the mug 1 in/on the desk 1."  # and not that the task is completed
    extras = log.extras[mug.id]
    assert extras.action_canonical == (None, "go to shelf 1", "take mug 1 from shelf 1", "put mug 1 in/on desk 1")
    assert extras.thought == ("First I need to find a mug.", None, None, None)
    assert "2 lines that other programs printed between the steps were left out" in log.notes
    assert "shelf 9" not in str(log) and "watch" not in str(log)  # the dump of the model, the example in it


def test_reflexion_miniature() -> None:
    log = read_any(FILES["reflexion"], None)
    mug, cup = "environment-0: put a mug in desk.", "environment-1: put a clean cup in countertop."
    assert rewards(log) == {
        f"trial_0/{mug}": [0.0, 0.0, 1.0],
        f"trial_0/{cup}": [0.0, 0.0, 0.0],
        f"trial_1/{cup}": [0.0, 1.0],
    }
    assert log.dropped == {logged.NO_STEP: 1, reflexion.CARRIED: 1, logged.CUT_OFF: 1}
    assert ends(log) == [(True, False), (False, True), (True, False)]
    memory = "Your memory for the task below:\nTrial 0:\nI should have opened the fridge 1. New plan: open it."
    assert log.episodes[1].steps[0].observation == KITCHEN
    assert log.episodes[2].steps[0].observation == f"{memory}\n{KITCHEN}"
    assert log.episodes[2].instance == log.episodes[1].instance == cup
    assert any(note.startswith("passed over 1 files") and note.endswith("world.log first") for note in log.notes)
    assert "watch" not in str(log)  # the few-shot example


def test_knowagent_miniature() -> None:
    log = read_any(FILES["knowagent"], None)
    assert rewards(log) == {
        f"ToyAgent_D0/{MUG}": [0.0, 0.0, 1.0],
        f"ToyAgent_D0/{CUP}": [0.0],
        f"ToyAgent_D0/{PEN}": [0.0],
    }
    assert log.dropped == {DUPLICATE: 1}
    assert ends(log) == [(True, False), (False, True), (False, True)]
    thoughts = "Think: To solve the task, I need to find a mug.", "Think: First I need to look on the shelf."
    assert steps(log, 0)[0] == (ROOM, f"{thoughts[0]}\nActionPath: Start\n{thoughts[1]}\ngo to shelf 1")
    assert log.extras[f"ToyAgent_D0/{MUG}"].action_canonical == (
        "go to shelf 1",
        "take mug 1 from shelf 1",
        "put mug 1 in/on desk 1",
    )
    assert [log.extras[t.id].metadata["ended_by"] for t in log.episodes] == ["success", "step limit", "exception"]
    assert any(note.startswith("1 episodes have result 0 instead of false") for note in log.notes)


def test_chat_miniature() -> None:
    log = read_any(FILES["chat"], None)
    fast, limit, openai, pairs, said = log.episodes
    assert log.dropped == {logged.NO_OUTCOME: 1, logged.CRASHED: 1, chat.NO_TASK: 1}
    assert ends(log) == [(True, False), (False, True), (True, False), (False, True), (False, True)]
    assert (fast.id, fast.instance, fast.goal) == (f"toy/{MUG}", MUG, "put a mug in desk.")
    assert fast.rewards.tolist() == [0.0, 0.0, 1.0]
    assert [s.observation for s in fast.steps] == [
        ROOM,
        "On the shelf 1, you see a mug 1.",
        "You pick up the mug 1 from the shelf 1.",
    ]
    assert fast.final_observation == "You put the mug 1 in/on the desk 1."
    commands = "go to shelf 1", "take mug 1 from shelf 1", "put mug 1 in/on desk 1"
    assert log.extras[fast.id].action_canonical == commands
    assert log.extras[fast.id].thought == ("The shelf first.", "Take it.", "To the desk.")
    assert "watch" not in str(log.episodes)  # the few-shot episode in messages of its own
    assert (limit.logger, limit.instance[:29]) == ("toy-chat", "put a clean cup in countertop")
    assert log.extras[limit.id].metadata == {"success": False, "outcome": "success", "terminate_reason": "max_steps"}
    assert openai.steps[0].observation == f"{KITCHEN}\nAVAILABLE ACTIONS: go to fridge 1, look"
    assert log.extras[openai.id].action_canonical == ("go to fridge 1", "look")
    assert log.extras[openai.id].thought == ("The fridge may hold it.", "take it")
    assert openai.final_observation == "You are in the middle of a room."
    assert log.extras[pairs.id].action_canonical == ("go to desk 1",)
    assert log.extras[said.id].metadata["outcome"] == "observation"
    assert pairs.instance.rpartition("/")[2] == said.instance.rpartition("/")[2] == instance_hash(ROOM)


def instance_hash(room: str) -> str:
    """The part of an instance's name that stands for its room."""
    return logged.instance_of(parse_prompt(f"{room}\nYour task is to: x.\n")).rpartition("/")[2]


def test_agentboard_miniature() -> None:
    log = read_any(FILES["agentboard"], None)
    assert rewards(log) == {"tiny-agent/0": [0.5, 0.5], "tiny-agent/1": [0.0, 0.25]}
    assert ends(log) == [(True, False), (False, True)]
    assert [log.extras[t.id].metadata["success"] for t in log.episodes] == [True, False]
    assert log.episodes[0].instance == "look_at_obj_in_light-Pen-None-DeskLamp-308/agentboard-0"
    assert "watch" not in str(log)  # the few-shot example of the prompt


def test_mint_miniature() -> None:
    log = read_any(FILES["mint"], None)
    assert rewards(log) == {
        f"toy-model F=None/alfworld/put/{MUG}": [0.0, 1.0],
        f"toy-model F=None/alfworld/clean/{CUP}": [0.0, 0.0],
    }
    assert log.dropped == {mint_format.FAILED_CALL: 1}
    assert ends(log) == [(True, False), (False, True)]
    assert [t.instance for t in log.episodes] == [MUG, CUP]
    assert "watch" not in str(log)  # the one-shot example of the prompt


@pytest.mark.parametrize("name", NAMES)
def test_each_miniature_is_recognized_in_a_folder_and_an_archive(name: str, tmp_path: Path) -> None:
    single = read_any(FILES[name], None)
    archive = tmp_path / "logs.tar.xz"
    with tarfile.open(archive, "w:xz") as tar:
        tar.add(FIXTURES / name, arcname=name)
    for path in (FIXTURES / name, archive):
        log = read_any(path, "alfworld")
        assert log.header.task == "alfworld"
        assert [t.steps for t in log.episodes] == [t.steps for t in single.episodes]
    text = import_log(archive, None, tmp_path / "out.parquet")
    assert "task         alfworld" in text and "propensities absent" in text
    back = read_canonical(tmp_path / "out.parquet")
    assert [t.steps for t in back.episodes] == [t.steps for t in single.episodes]
    assert [v.metadata for v in back.extras.values()] == [v.metadata for v in single.extras.values()]


def test_a_canonical_log_of_the_task_stays_canonical(tmp_path: Path) -> None:
    import_log(FILES["react"], "alfworld", tmp_path / "log.parquet")
    assert read_any(tmp_path / "log.parquet", None).header.task == "alfworld"
    with pytest.raises(DataError, match="is not a log of task 'scienceworld'; it looks like\n  alfworld/react"):
        read_any(FILES["react"], "scienceworld")


DAMAGE = [
    ("react", "Act 2: go to shelf 1", "Act 4: go to shelf 1", "line 32: step 4 follows step 1; lines are missing"),
    ("react", "1 r True", "1 r yes", "line 39: outcome 'yes' is neither"),
    ("react", "\nYour task is to: put a clean", "\nYour job is to: put a clean", "line 42: game .* states no task"),
    ("react", "Obs 1: OK.", "Obs 1: \udcff", "line 31: not UTF-8"),
    ("reflexion", "STATUS: FAIL", "STATUS: MAYBE", "line 29: environment 1 ends with STATUS 'MAYBE'"),
    ("reflexion", "Your task is to", "Your job is to", "line 4: environment 0 states no task"),
    ("knowagent", '"result": true', '"result": "yes"', "line 1: result"),
    ("knowagent", '"result": 0', '"result": 3', "line 3: result 3 is neither true nor false"),
    ("knowagent", "Your task is to", "Your job is to", "line 1: traj states no task"),
    ("chat", '"success": true', '"success": 7', "line 1: success 7 is not a number between 0 and 1"),
    ("chat", '"from": "human"', '"from": "alien"', r"line 1: messages\[0\]"),
    ("agentboard", '"Progress Rate": 0.25', '"Progress Rate": NaN', r"line \d+: trajectory\.Interaction Turn 1\."),
    ("mint", '"task_success"', '"luck"', "line 1: state.terminate_reason"),
]


@pytest.mark.parametrize("name, old, new, message", DAMAGE)
def test_damage_is_refused_with_file_and_place(name: str, old: str, new: str, message: str, tmp_path: Path) -> None:
    source = FILES[name] / "trial_0.log" if name == "reflexion" else FILES[name]
    text = source.read_text(encoding="utf-8")
    assert old in text
    count = -1 if name == "reflexion" and "task" in old else 1  # the example states a task, too
    path = tmp_path / source.name
    path.write_bytes(text.replace(old, new, count).encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=message) as caught:
        read_any(path, None)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["agentboard", "chat", "knowagent", "mint"])
def test_json_that_is_cut_off_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / FILES[name].name
    path.write_bytes(FILES[name].read_bytes()[:-30])
    with pytest.raises(DataError, match=rf"{re.escape(str(path))}, line \d+, column \d+: .*cut off"):
        read_any(path, None)


def test_openings() -> None:
    assert opening_of(f"-= Welcome to TextWorld, ALFRED! =-\n\n{ROOM}\n\nYour task is to: examine the pen.\n") == (
        "examine the pen.",
        ROOM,
    )
    assert opening_of(f"Your task is to: examine the pen.\n{ROOM}\n") == ("examine the pen.", ROOM)
    assert opening_of(f"{ROOM} Your task is to: examine the pen.") == ("examine the pen.", ROOM)
    assert opening_of(f"Your task is to: examine the pen. {ROOM}") == ("examine the pen.", ROOM)
    assert opening_of(f"{KITCHEN}\nYour task is to: a.\n> look\n{ROOM}\nYour task is to: b.\n") == ("b.", ROOM)


def test_what_was_not_answered_belongs_to_what_follows() -> None:
    written = "> go to desk 1\n> think: hm\n> look\nNothing\nhappens.\n> think: end"
    episode = parse_prompt(f"{ROOM}\nYour task is to: a.\n{written}")
    assert [(t.written, t.observation) for t in episode.turns] == [
        ("go to desk 1", None),
        ("think: hm\nlook", "Nothing\nhappens."),
    ]


def test_chat_prompts_that_repeat_the_task_are_one_episode() -> None:
    def task(room: str) -> Message:
        return Message(role="user", content=f"{room}\nYour task is to: put a mug in desk.")

    def said(text: str) -> Message:
        return Message(role="assistant", content=text)

    episode = parse_messages([task(ROOM), said("go to desk 1"), task("On the desk 1, you see nothing."), said("look")])
    assert [turn.command for turn in episode.turns] == ["go to desk 1", "look"]
    assert parse_messages([said("look")]) is None


@pytest.mark.parametrize(
    "text, said, left",
    [
        ("You put the mug 1 in/on the desk 1. Task completed!", 1.0, "You put the mug 1 in/on the desk 1."),
        ("You won!", 1.0, ""),
        ("Success!", 1.0, ""),
        ("Task failed", 0.0, ""),
        ("On the desk 1, you see a pen 1.\nreward: 1.0", 1.0, "On the desk 1, you see a pen 1."),
        ("Nothing happens. Score: 0.75", 0.75, "Nothing happens."),
        ("Nothing happens. Episode finished, reward = 0", 0.0, "Nothing happens."),
        ("Failed to parse the action.", None, "Failed to parse the action."),
        ("Failure: the action is not admissible.", None, "Failure: the action is not admissible."),
        ("You won't find anything here.", None, "You won't find anything here."),
        ("Success! You opened it.", None, "You opened it."),
        ("Task solved 1 of 2 subgoals.", None, "Task solved 1 of 2 subgoals."),
        ("Score: 1/2", None, "Score: 1/2"),
        ("On the desk 1, you see a successful failure 1.", None, "On the desk 1, you see a successful failure 1."),
        ("You turn on the desklamp 1.", None, "You turn on the desklamp 1."),
    ],
)
def test_outcomes_are_read_and_removed(text: str, said: float | None, left: str) -> None:
    assert outcome(text) == said
    assert without_outcome(text) == left


def test_files_below_a_common_folder_name_the_agents() -> None:
    names = ["logs.tar.xz:runs/a/out.jsonl", "logs.tar.xz:runs/b/out.jsonl.gz"]
    assert list(loggers_by_file(names).values()) == ["a/out", "b/out"]


def real(name: str) -> Path:
    """A file or folder of the real ALFWorld logs."""
    root = os.environ.get("OPE_REAL_LOGS")
    if not root or not (Path(root) / "alfworld").is_dir():
        pytest.skip("set OPE_REAL_LOGS to the folder of real logs to read them")
    return Path(root) / "alfworld" / name


@cache
def read_real(name: str) -> Import:
    """A file or folder of the real ALFWorld logs, recognized among all formats and read."""
    return read_any(real(name), None)


def by_logger(log: Import) -> dict[str, tuple[int, float, float, float]]:
    """Logger -> episodes, mean length, mean return, mean success."""
    found = {}
    for name in dict.fromkeys(t.logger for t in log.episodes):
        own = [t for t in log.episodes if t.logger == name]
        success = np.mean([log.extras[t.id].metadata["success"] for t in own])
        found[name] = (len(own), np.mean([len(t) for t in own]), np.mean([t.rewards.sum() for t in own]), success)
    return found


def test_real_agentboard_logs() -> None:
    """The table in which these logs were first counted: mean length, mean progress rate, mean success."""
    log = read_real("agentboard_m/all_policies.tar.xz")
    expected = {
        "CodeActAgent-Llama-7b": (30, 0.000, 0.0),
        "CodeActAgent-Mistral-7b-v0.1": (29.44, 0.152, 0.022),
        "agentlm-13b": (29.31, 0.183, 0.03),
        "agentlm-70b": (20.73, 0.580, 0.478),
        "agentlm-7b": (29.1, 0.254, 0.045),
        "agentlm-7b_mix_3ep_temp0": (23.64, 0.442, 0.336),
        "agentlm-7b_mix_3ep_temp07": (24.52, 0.440, 0.291),
        "codeact": (30, 0.000, 0.0),
        "llama3-8b": (29.97, 0.118, 0.007),
        "mistral-7b": (30, 0.098, 0.0),
    }
    found = by_logger(log)
    assert set(found) == set(expected)
    for name, values in expected.items():
        assert found[name] == (134, *(pytest.approx(value, abs=6e-3) for value in values)), name
    assert not log.dropped


def test_real_knowagent_logs() -> None:
    """Two thoughts whose colon is cut off were carried out as commands; the table left them out."""
    log = read_real("knowagent/alfworld_D0_D1.tar.xz")
    found = by_logger(log)
    for name, length, success in (("D0", 17.643 + 2 / 510, 0.263), ("D1", 17.549, 0.357)):
        near = pytest.approx(success, abs=6e-4)
        assert found[f"KnowAgentALFWorld_llama-2-13b_{name}"] == (510, pytest.approx(length, abs=1e-3), near, near)
    assert len({t.instance for t in log.episodes}) == 510
    assert Counter(log.extras[t.id].metadata["ended_by"] for t in log.episodes) == {
        "step limit": 256 + 216,
        "success": 134 + 182,
        "exception": 120 + 112,
    }
    assert not log.dropped


def test_real_console_logs() -> None:
    """The table counted the lines `Act k:` of the last, unfinished game too; the episode itself has no outcome."""
    log = read_real("esala_react/all_models.tar.xz")
    expected = {
        "google/gemma-2-9b-it slurm-8459635": (59, 1793, 0.627),
        "google/gemma-2-9b slurm-8466033": (62, 2184, 0.403),
        "mistralai/Mistral-7B-v0.3 slurm-8488556": (57, 2242, 0.281),
        "mistralai/Mistral-7B-Instruct-v0.3 slurm-8506515": (54, 2181, 0.259),
        "meta-llama/Llama-2-7b-hf slurm-8512044": (50, 2325, 0.08),
        "microsoft/Phi-3-medium-128k-instruct slurm-8522213": (29, 1122, 0.414),
        "deepseek-ai/deepseek-llm-7b-base slurm-8536316": (103, 4599, 0.146),
        "HuggingFaceH4/zephyr-7b-alpha slurm-8554852": (52, 2306, 0.154),
        "google/gemma-2-9b slurm-8459821": (6, 264, 0.167),
        "google/gemma-2-9b-it slurm-8459826": (6, 273, 0.5),
    }
    found = by_logger(log)
    assert set(found) == set(expected)
    lines = {m.name.rpartition("/")[2][:-4]: m.content.decode() for m in members(real("esala_react/all_models.tar.xz"))}
    for name, (episodes, acts, success) in expected.items():
        text = lines[name.rpartition(" ")[2]]
        assert len(re.findall(r"^Act \d+:", text, re.M)) == acts
        unfinished = len(re.findall(r"^Act \d+:", re.split(r"^\d+ r .*$", text, flags=re.M)[-1], re.M))
        near = pytest.approx(success, abs=6e-4)
        assert found[name] == (episodes, pytest.approx((acts - unfinished) / episodes), near, near), name
    assert log.dropped == {logged.CUT_OFF: 10}
    assert max(len(t) for t in log.episodes) == 49
    assert all(t.truncated == (len(t) == 49) or t.terminated for t in log.episodes)


def test_real_mint_logs() -> None:
    """The table counts the 830 episodes that ended with an error as failures; here they are dropped."""
    log = read_real("mint_bench/all_78_policies_max5.tar.xz")
    assert log.dropped == {mint_format.FAILED_CALL: 830}
    assert len(log.episodes) == 78 * 134 - 830
    assert len({t.instance for t in log.episodes}) == 134
    found = by_logger(log)
    assert len(found) == 76  # of two policies every episode ended with an error
    listed = {
        "gpt-4-0613 F=gpt-4-0613": 0.851,
        "gpt-4-0613 F=None": 0.843,
        "CodeActAgent-Llama-2-7b F=None": 0.836,
        "Llama-2-70b-hf F=gpt-4-0613": 0.731,
        "vicuna-13b-v1.5 F=gpt-4-0613": 0.052,
        "Llama-2-7b-chat-hf F=None": 0.0,
    }
    for name, success in listed.items():
        assert found[name][0] * found[name][3] == pytest.approx(134 * success, abs=0.1), name
    assert found["gpt-4-0613 F=None"][:2] == (134, pytest.approx(2.87, abs=6e-3))
    reasons = Counter(log.extras[t.id].metadata["terminate_reason"] for t in log.episodes)
    assert reasons == {"task_success": 4733, "max_steps": 3225, "max_propose_steps": 1664}
    plain = read_real("mint_bench/gpt-4-0613__F=None__max5.jsonl")
    same = [t for t in log.episodes if t.logger == "gpt-4-0613 F=None"]
    assert [t.steps for t in plain.episodes] == [t.steps for t in same]


def test_real_logs_of_one_game_meet() -> None:
    """Game folders name instances, so logs of several sources can be matched."""
    console = read_real("esala_react/all_models.tar.xz")
    mint = read_real("mint_bench/gpt-4-0613__F=None__max5.jsonl")
    assert {t.instance for t in console.episodes} < {t.instance for t in mint.episodes}


def test_real_plain_files_read_as_their_archives() -> None:
    for folder, plain in (("agentboard_m", "agentlm-70b.jsonl"), ("esala_react", "slurm-8512044__Llama-2-7b-hf.out")):
        log = read_any(real(folder) / plain, None)
        whole = read_real(f"{folder}/{next(real(folder).glob('*.tar.xz')).name}")
        every = {tuple(t.steps) for t in whole.episodes}
        assert all(tuple(t.steps) in every for t in log.episodes)
