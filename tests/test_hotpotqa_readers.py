"""HotpotQA log formats: what the readers make of self-made miniatures, of damage, and of real published logs."""

from __future__ import annotations

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
from bench.formats import mint as mint_format
from bench.formats.building import DUPLICATE
from bench.formats.chat import Message
from bench.formats.files import members
from bench.formats.log import Import
from bench.importing import Format, import_log, read_any
from tasks.hotpotqa import agent_files, logged
from tasks.hotpotqa.answers import exact_match
from tasks.hotpotqa.react_text import after_examples, outcome, parse_messages, parse_text, without_outcome
from tasks.hotpotqa.readers import reflexion

FIXTURES = Path(__file__).parent / "fixtures" / "hotpotqa"
NAMES = ("bolaa", "chat", "fireact", "mint", "react", "reflexion")
MINT = FIXTURES / "mint" / "toy-model" / "F=None" / "max5_p2+tool+cd" / "reasoning" / "hotpotqa" / "results.jsonl"
FILES = {
    "bolaa": FIXTURES / "bolaa" / "tiny.jsonl",
    "chat": FIXTURES / "chat" / "tiny.jsonl",
    "plain": FIXTURES / "plain" / "tiny.txt",
    "fireact": FIXTURES / "fireact" / "tiny.json",
    "mint": MINT,
    "react": FIXTURES / "react" / "tiny.json",
    "reflexion": FIXTURES / "reflexion" / "tiny.txt",
}
FILM, BIRTH, RIVER = (
    "Who directed the film Glass Harbor?",
    "In which city was the author of Tin Moon born?",
    "On which river is Velham?",
)


@pytest.fixture(autouse=True)
def all_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every reader there is, those of HotpotQA among them."""
    own = [Format("hotpotqa", name, importlib.import_module(f"tasks.hotpotqa.readers.{name}")) for name in NAMES]
    others = [f for f in importing.formats() if f.task != "hotpotqa"]
    monkeypatch.setattr(importing, "formats", lambda: others + own)


def rewards(log: Import) -> dict[str, list[float]]:
    """Episode id -> rewards."""
    return {t.id: t.rewards.tolist() for t in log.episodes}


def ends(log: Import) -> list[tuple[bool, bool]]:
    return [(t.terminated, t.truncated) for t in log.episodes]


def test_bolaa_miniature() -> None:
    log = read_any(FILES["bolaa"], None)
    assert rewards(log) == {
        f"tiny/{FILM}": [0.0, 1.0],
        f"tiny/{BIRTH}": [0.0, 0.0, pytest.approx(2 / 3)],
        f"tiny/{RIVER}": [0.0],
    }
    assert log.dropped == {logged.CRASHED: 1, DUPLICATE: 1}
    assert ends(log) == [(True, False), (True, False), (False, True)]
    film, birth, river = log.episodes
    first, second = film.steps
    assert first.observation == f"Question: {FILM}"
    assert first.action == (
        "ActionPath 1: Start\nThought 1: I need to search Glass Harbor.\nAction 1: Search[Glass Harbor]"
    )
    assert second.observation.endswith("from 1971.\nAction 9 is said in the film. Its director is Ada Marlund.")
    assert film.final_observation == ""
    extras = log.extras[film.id]
    assert extras.action_canonical == ("search[Glass Harbor]", "finish[Ada Marlund]")
    assert extras.thought == ("I need to search Glass Harbor.", "The director is Ada Marlund.")
    assert log.extras[birth.id].action_canonical == ("retrieve[Tin Moon]", "finish[Upper Velham]", "reflect[right]")
    assert log.extras[birth.id].metadata["f1"] == pytest.approx(2 / 3)
    assert river.final_observation == "Velham is a city."
    assert "Old Song" not in str(log)  # the few-shot episode
    assert "recomputed F1 equals the recorded reward in 4 of 4 episodes" in log.notes


def test_fireact_miniature() -> None:
    log = read_any(FILES["fireact"], None)
    assert rewards(log) == {f"tiny/{FILM}": [0.0, 1.0], f"tiny/{BIRTH}": [0.0, 0.0], f"tiny/{RIVER}": [0.0]}
    assert ends(log) == [(True, False)] * 3
    assert log.episodes[1].steps[0].observation == f"Question: {BIRTH}"
    assert log.episodes[0].steps[1].observation == "Ada Marlund directed Glass Harbor."
    assert log.extras[f"tiny/{BIRTH}"].action_canonical == ("search[Tin Moon author]", "finish[Upper Velham]")
    assert log.extras[f"tiny/{RIVER}"].action_canonical == (None,)  # three actions in one message
    assert "1 turns hold several actions; the log does not say which was carried out" in log.notes
    assert "reward = " not in str(log.episodes)


def test_reflexion_miniature() -> None:
    log = read_any(FILES["reflexion"], None)
    assert rewards(log) == {
        f"tiny trial 1/{FILM}": [0.0, 1.0],
        f"tiny trial 1/{BIRTH}": [0.0, 0.0],
        f"tiny trial 1/{RIVER}": [0.0],
        f"tiny trial 2/{BIRTH}": [0.0, 1.0],
    }
    assert log.dropped == {reflexion.REPRINT: 1, reflexion.LISTED_TWICE: 1, logged.NO_STEP: 1}
    assert ends(log) == [(True, False), (True, False), (False, True), (True, False)]
    again = log.episodes[3]
    assert again.goal == again.instance == BIRTH
    assert again.steps[0].observation.endswith("Reflections:\n- I should have searched Tin Moon (novel).")
    assert not re.search("CORRECT", str(log.episodes))


def test_mint_miniature() -> None:
    log = read_any(FILES["mint"], None)
    name = "toy-model F=None/reasoning"
    assert rewards(log) == {f"{name}/0": [0.0, 1.0], f"{name}/1": [0.0] * 3, f"{name}/2": [0.0] * 2}
    assert log.dropped == {mint_format.FAILED_CALL: 1}
    assert ends(log) == [(True, False), (False, True), (False, True)]
    done, wrong, mute = log.episodes
    assert done.steps[0].observation == done.goal == done.instance == FILM
    assert done.final_observation is None
    assert [s.action for s in wrong.steps] == ["<solution> Rome </solution>", "", "<solution> Oslo </solution>"]
    assert [s.action for s in mute.steps] == ["hm", ""]
    extras = log.extras[done.id]
    assert extras.action_canonical == ("execute: print(wikipedia_search('Glass Harbor'))", "solution: Ada Marlund")
    assert extras.thought == ("I look it up.", None)
    assert "2 + 2" not in str(log)  # the example of the prompt


def test_chat_miniature() -> None:
    log = read_any(FILES["chat"], None)
    assert rewards(log) == {
        f"tiny/{FILM}": [0.0, 0.5],
        f"tiny/{BIRTH}": [1.0],
        f"tiny/{RIVER}": [0.5],
        f"tiny/{RIVER}#2": [0.0],
    }
    assert log.dropped == {logged.NO_OUTCOME: 1, logged.CRASHED: 1}
    assert [log.extras[t.id].metadata["outcome"] for t in log.episodes] == [
        "reward",
        "observation",
        "computed f1",
        "reward",
    ]
    assert ends(log) == [(True, False), (True, False), (True, False), (False, True)]
    assert log.episodes[0].steps[1].observation == "Its director is Ada Marlund."
    assert "Old Song" not in str(log)


def test_plain_transcripts() -> None:
    log = read_any(FILES["plain"], None)
    assert rewards(log) == {f"tiny/{FILM}": [0.0, 1.0], f"tiny/{BIRTH}": [0.0, 0.0]}
    assert log.dropped == {logged.NO_OUTCOME: 1}
    assert log.extras[f"tiny/{BIRTH}"].metadata["answer"] == "Velham"


def test_react_miniature() -> None:
    log = read_any(FILES["react"], None)
    assert rewards(log) == {f"tiny/{FILM}": [0.0, 1.0], f"tiny/{RIVER}": [0.0] * 7}
    assert ends(log) == [(True, False), (False, True)]  # the forced finish[] is no action of the agent
    assert log.episodes[0].steps[0].observation == f"Question: {FILM}"


@pytest.mark.parametrize("name", FILES)
def test_each_miniature_is_recognized_in_a_folder_and_an_archive(name: str, tmp_path: Path) -> None:
    single = read_any(FILES[name], None)
    assert single.header.task == "hotpotqa"
    archive = tmp_path / "logs.tar.xz"
    with tarfile.open(archive, "w:xz") as tar:
        tar.add(FIXTURES / name, arcname=name)
    for path in (FIXTURES / name, archive):
        log = read_any(path, "hotpotqa")
        assert list(log.episodes) == list(single.episodes)
        assert log.extras == single.extras
    told = import_log(archive, None, tmp_path / "out.parquet")
    assert f"{len(single.episodes)} on " in told
    back = read_canonical(tmp_path / "out.parquet")
    assert list(back.episodes) == list(single.episodes)


def test_agents_are_told_apart_by_folder(tmp_path: Path) -> None:
    for folder in ("cold", "hot/2"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "easy.jsonl").write_bytes(FILES["bolaa"].read_bytes())
    assert {t.logger for t in read_any(tmp_path, None).episodes} == {"cold/easy", "hot/2/easy"}
    names = ["x/logs.tar.xz:a/b/one.jsonl.gz", "x/logs.tar.xz:a/two.v2.json"]
    assert list(agent_files.loggers_by_file(names).values()) == ["b/one", "two.v2"]


DAMAGE = [
    ("bolaa", '"reward": 1.0', '"reward": NaN', "line 1: reward: "),
    ("bolaa", '"reward": 1.0', '"reward": 7', "line 1: reward: "),
    ("bolaa", '"halted": true', '"halted": "yes"', "line 3: halted: "),
    ("bolaa", '"answer": "Velham"', '"answer": null', "line 2: answer: "),
    ("fireact", '"f1": 1.0', '"f1": NaN', "line 1, question '17': f1: "),
    ("fireact", '"role": "user"', '"role": "oracle"', r"line 1, question '17': messages\[0\]"),
    ("mint", '"terminate_reason": "max_steps"', '"terminate_reason": "bored"', r"line 3: state\.terminate_reason"),
    ("mint", '"success": true', '"success": "true"', r"line 1: state\.success"),
    ("chat", '"reward": 0.5', '"reward": "0.5"', "line 1: reward '0.5' is not a number"),
    ("chat", '"from": "gpt"', '"from": 4', r"line 2: messages\[1\]"),
    ("react", '"reward": true', '"reward": 3', "line 1, record 0: reward"),
    ("react", '"search[Glass Harbor]",', "", "record 0: 1 actions and 3 observations"),
    ("reflexion", "Correct answer: River Tel\n\n\n", "", r"line \d+: an episode without its line 'Correct answer:'"),
    ("reflexion", "Ada Marlund\n", "Ada M\udcffrlund\n", r"line \d+: not UTF-8"),
]


@pytest.mark.parametrize("name, old, new, message", DAMAGE)
def test_damage_is_refused_with_file_and_place(name: str, old: str, new: str, message: str, tmp_path: Path) -> None:
    text = FILES[name].read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / FILES[name].name
    path.write_bytes(text.replace(old, new, 1).encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=message) as caught:
        read_any(path, "hotpotqa")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["bolaa", "chat", "fireact", "mint", "react"])
def test_json_that_is_cut_off_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / FILES[name].name
    path.write_bytes(FILES[name].read_bytes()[:-30])
    with pytest.raises(DataError, match=rf"{re.escape(str(path))}, line \d+, column \d+: .*cut off"):
        read_any(path, "hotpotqa")


def test_a_recorded_reward_that_differs_is_kept_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "tiny.jsonl"
    path.write_text(FILES["bolaa"].read_text().replace('"reward": 1.0', '"reward": 0.25', 1))
    log = read_any(path, None)
    assert log.episodes[0].rewards.tolist() == [0.0, 0.25]
    assert "recomputed F1 equals the recorded reward in 3 of 4 episodes" in log.notes


def test_outcomes_in_observations() -> None:
    said = {
        "Answer is CORRECT": True,
        "Answer is INCORRECT": False,
        "Episode finished, reward = 1\n": True,
        "Episode finished, reward = 0\n": False,
        "Observation: Episode finished, reward = False": False,
        "Episode finished, reward = 1.0": True,
        "Episode finished, reward = 0.67": 0.67,
        "Episode finished, reward = 0.67.": 0.67,
        "reward = 1.5.2": None,
        "The reward of the hunt": None,
        None: None,
    }
    assert {text: outcome(text) for text in said} == said
    assert without_outcome("Episode finished, reward = 0.67") == ""
    assert without_outcome("Episode finished, reward = 1\n") == without_outcome("Answer is INCORRECT") == ""
    assert without_outcome("The reward of the hunt") == "The reward of the hunt"
    assert without_outcome(None) is None


def test_tolerant_parsing() -> None:
    text = "Question: Q?\n  thought: t\nACTION : Lookup[a [b]] because\nObservation: o\nObservation: p\nThought: end"
    episode = parse_text(text)
    assert episode.question == "Q?"
    assert [turn.command for turn in episode.turns] == ["lookup[a [b]]"]
    assert episode.turns[0].observation == "o\np"
    assert episode.cut and not episode.ended
    assert parse_text("Question: Q?\n").turns == ()
    unanswered = parse_text("Question: Q?\nAction: Finish[x]")
    assert (unanswered.answer, unanswered.ended, unanswered.turns[0].observation) == ("x", True, None)
    page = "\nObservation: a page\nQuestion: what?\n"
    prompt = f"Question: old\n(END OF EXAMPLES)\nQuestion: new\nAction: x{page}"
    assert after_examples(prompt).startswith("Question: new")
    assert after_examples(f"Question: old\nAction: x\nQuestion: new\nAction: x{page}", "new").startswith(
        "Question: new"
    )


def test_chat_prompts_that_repeat_the_question_are_one_episode() -> None:
    def told(text: str) -> Message:
        return Message(role="user", content=text)

    def said(text: str) -> Message:
        return Message(role="assistant", content=text)

    asked = "Question: Who wrote X?"
    for between in ("\n", " "):
        messages = [
            *(told("Question: old"), said("Action: search[old]"), told("Observation: o"), told(asked)),
            *(
                said("Action: search[X]"),
                told(f"{asked}{between}Observation: Alice is a writer."),
                said("Action: lookup[a]"),
            ),
            *(told("Observation: a page\nQuestion: what?"), said("Action: finish[Alice]")),
        ]
        episode = parse_messages(messages)
        assert episode.question == "Who wrote X?"
        assert [turn.command for turn in episode.turns] == ["search[X]", "lookup[a]", "finish[Alice]"]
        assert episode.turns[0].observation == "Alice is a writer."


@pytest.mark.parametrize(
    ("said", "record", "outcome", "dropped"),
    [
        ("Bob", {"answer": "Bob", "gt_answer": "Alice"}, 0.0, None),  # ReAct: answer is what the agent said
        ("Alice", {"answer": "Alice"}, 1.0, None),
        (None, {"gt_answer": "Alice", "halted": True}, 0.0, None),
        (None, {"gt_answer": "Alice"}, None, logged.NO_ANSWER),
        (None, {}, None, logged.NO_OUTCOME),
    ],
)
def test_which_answer_is_the_right_one(said, record, outcome, dropped, tmp_path: Path) -> None:
    act = "Action: search[x]" if said is None else f"Action: finish[{said}]"
    messages = [{"role": "user", "content": "Question: Q?"}, {"role": "assistant", "content": act}]
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"messages": [*messages, {"role": "user", "content": "Observation: o"}], **record}))
    log = read_any(path, None)
    assert [t.rewards.sum() for t in log.episodes] == ([] if outcome is None else [outcome])
    assert list(log.dropped) == ([dropped] if dropped else [])
    assert [t.truncated for t in log.episodes] == ([said is None] if outcome is not None else [])


def real(name: str) -> Path:
    """A folder or file of the real HotpotQA logs."""
    root = os.environ.get("OPE_REAL_LOGS")
    if not root or not (Path(root) / "hotpotqa").is_dir():
        pytest.skip("set OPE_REAL_LOGS to the folder of real logs to read them")
    return Path(root) / "hotpotqa" / name


def by_logger(log: Import) -> dict[str, tuple[int, float, float]]:
    """Logger -> episodes, mean length, mean return."""
    found = {}
    for name in dict.fromkeys(t.logger for t in log.episodes):
        own = [t for t in log.episodes if t.logger == name]
        found[name] = (len(own), np.mean([len(t) for t in own]), np.mean([t.rewards.sum() for t in own]))
    return found


def test_real_knowagent_logs() -> None:
    log = read_any(real("knowagent/hotpotqa_D0_D1.tar.xz"), None)
    assert by_logger(log) == {
        "KnowAgentHotpotQA_llama-2-13b_D0": (500, pytest.approx(3.85, abs=5e-3), pytest.approx(0.325, abs=5e-4)),
        "KnowAgentHotpotQA_llama-2-13b_D1": (500, pytest.approx(3.66, abs=5e-3), pytest.approx(0.334, abs=5e-4)),
    }
    assert "recomputed F1 equals the recorded reward in 1000 of 1000 episodes" in log.notes
    assert Counter(t.logger[-2:] for t in log.episodes if t.truncated) == {"D0": 6, "D1": 18}
    assert all(log.extras[t.id].metadata["em"] == log.extras[t.id].metadata["success"] for t in log.episodes)
    assert not log.dropped


def test_real_autoact_logs() -> None:
    log = read_any(real("autoact/all_13b.tar.xz"), None)
    expected = {
        "easy": (30, 4.63, 0.907),
        "easy_1": (100, 4.87, 0.382),
        "hard": (100, 5.09, 0.288),
        "level": (1, 6, 0.0),
        "medium": (100, 4.85, 0.301),
        "tem_0.2/easy": (100, 4.76, 0.311),
        "tem_0.2/hard": (100, 5.04, 0.256),
        "tem_0.2/medium": (100, 4.81, 0.317),
        "tem_0.5/easy": (9, 4.67, 0.556),
    }
    found = by_logger(log)
    assert set(found) == set(expected)
    for name, (episodes, length, reward) in expected.items():
        assert found[name] == (episodes, pytest.approx(length, abs=6e-3), pytest.approx(reward, abs=6e-4)), name
    assert "recomputed F1 equals the recorded reward in 640 of 640 episodes" in log.notes


def test_real_fireact_logs() -> None:
    """The gpt file counts 2.96 actions per episode, because a dozen of its messages hold several; turns are fewer."""
    log = read_any(real("fireact"), None)
    expected = {"ft_gpt": (465, 2.96, 0.430, 0.583), "13b": (499, 3.29, 0.345, 0.480), "7b": (500, 3.56, 0.262, 0.380)}
    found = by_logger(log)
    for mark, (episodes, actions, reward, score) in expected.items():
        (name,) = [n for n in found if mark in n]
        own = [t for t in log.episodes if t.logger == name]
        assert (found[name][0], found[name][2]) == (episodes, pytest.approx(reward, abs=6e-4))
        written = sum(len(re.findall("^Action:", s.action, re.M)) for t in own for s in t.steps)
        assert written / episodes == pytest.approx(actions, abs=6e-3)
        assert np.mean([log.extras[t.id].metadata["recorded_f1"] for t in own]) == pytest.approx(score, abs=6e-4)
    facts = [log.extras[t.id].metadata for t in log.episodes]
    differing = {f["index"] for f in facts if abs(f["f1"] - f["recorded_f1"]) > 1e-12}
    assert differing == {"407", "5080"}  # several actions in one message; text after the bracket scored as answer
    assert "recomputed exact match equals the recorded reward in 1464 of 1464 episodes" in log.notes
    asked = Counter(t.instance for t in log.episodes)
    assert sum(count == 3 for count in asked.values()) == 464
    assert all(t.terminated for t in log.episodes)


def test_real_reflexion_logs() -> None:
    log = read_any(real("reflexion"), None)
    found = by_logger(log)
    summaries = {"base": (0.34, 0.34, 0.343, 0.34, 0.34), "reflexion": (0.32, 0.424, 0.48, 0.5, 0.515)}
    for run, shares in summaries.items():
        solved = 0
        for trial, share in enumerate(shares, 1):
            (name,) = [n for n in found if n.startswith(f"ReAct_{run}") and n.endswith(f"trial {trial}")]
            episodes, _, reward = found[name]
            solved += round(episodes * reward)
            assert solved == pytest.approx(100 * share, abs=0.7)  # later trials reprint what is solved
            assert episodes in ((100,) if trial == 1 else range(49, 68))
    assert log.dropped == {reflexion.REPRINT: 308, reflexion.LISTED_TWICE: 12}
    halted = [t for t in log.episodes if t.logger.endswith("trial 1") and t.truncated]
    assert Counter(t.logger.split("_")[1] for t in halted) == {"base": 10, "reflexion": 17}


def test_every_printed_reflexion_block_agrees_with_its_section() -> None:
    blocks = [b for member in members(real("reflexion")) for _, found in reflexion._trials(member) for b in found]
    assert len(blocks) == 512 + 498
    for block in blocks:
        said = parse_text(block.text).answer
        assert (said is not None and exact_match(said, block.answer)) == (block.section == "CORRECT"), block.where


def test_real_mint_logs() -> None:
    log = read_any(real("mint_bench/all_78_policies_max5.tar.xz"), None)
    assert log.dropped == {mint_format.FAILED_CALL: 108}
    found = by_logger(log)
    assert len({t.instance for t in log.episodes}) == 43
    listed = {
        "gpt-4-0613 F=gpt-4-0613": (0.419, 4.21),
        "gpt-4-0613 F=None": (0.465, 4.05),
        "deepseek-llm-67b-chat F=None": (0.488, 4.14),
        "claude-2 F=None": (0.465, 2.33),
        "gpt-3.5-turbo-0613 F=None": (0.279, 4.63),
        "Qwen1.5-72B-Chat F=None": (0.395, 2.07),
        "CodeLlama-34b-hf F=gpt-4-0613": (0.302, 4.42),
        "OpenCodeInterpreter-DS-6.7B F=None": (0.0, 5.0),
    }
    for name, (success, turns) in listed.items():
        assert found[name] == (43, pytest.approx(turns, abs=6e-3), pytest.approx(success, abs=6e-4)), name
    reasons = Counter(log.extras[t.id].metadata["terminate_reason"] for t in log.episodes)
    assert reasons == {"max_steps": 1594, "max_propose_steps": 892, "task_success": 760}
    plain = read_any(real("mint_bench/gpt-4-0613__F=None__max5.jsonl"), None)
    same = [t for t in log.episodes if t.logger == "gpt-4-0613 F=None"]
    assert [t.steps for t in plain.episodes] == [t.steps for t in same]
