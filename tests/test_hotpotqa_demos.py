"""HotpotQA experts, their demonstrations, and the actions read off a transcript."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from bench.agents.cloning import read_demonstrations
from tasks.hotpotqa.actions import exploratory_actions, names_in, titles_in
from tasks.hotpotqa.demos import generate, replay
from tasks.hotpotqa.environment import STEP_LIMIT, WikipediaEnvironment
from tasks.hotpotqa.experts import after_miss, noise_event, plan, render
from tasks.hotpotqa.generator import generate as generate_questions
from tasks.hotpotqa.questions import read_questions

OFFICIAL = Path(__file__).parent / "fixtures" / "hotpotqa" / "questions" / "official.json"
QUESTIONS = generate_questions("train", 150)
GOAL = "In which city was the director of the film Glass Harbor born?"
PAGE = "Glass Harbor is a crime film from 1971. Its director is Ada Marlund."


@pytest.fixture(scope="module")
def env() -> WikipediaEnvironment:
    return WikipediaEnvironment(QUESTIONS)


@pytest.mark.parametrize("mix", ["a", "b"])
def test_an_undisturbed_expert_answers_every_question(env: WikipediaEnvironment, mix: str) -> None:
    for question in QUESTIONS:
        demo = replay(env, question, mix, 0, 0, noisy=False)
        assert demo is not None and demo["score"] == 1.0, question
        assert len(demo["steps"]) <= STEP_LIMIT
        assert all(step["clone"] for step in demo["steps"])
        words = [step["action"] for step in demo["steps"]]
        assert all(word.islower() if mix == "a" else word.istitle() for word in (w.partition("[")[0] for w in words))


def test_the_experts_differ_in_words_order_and_lookups() -> None:
    (question,) = read_questions(OFFICIAL)
    answer = ("finish", "Velham")
    pages = [("search", "Glass Harbor"), ("search", "Ada Marlund")]
    assert plan(question, "a") == [*pages, answer]
    assert plan(question, "b") == [*pages, ("lookup", "born"), answer]
    comparison = next(q for q in QUESTIONS if q.kind == "comparison")
    searched = [[act for act in plan(comparison, mix) if act[0] == "search"] for mix in ("a", "b")]
    assert searched[0] == searched[1][::-1]
    assert [render(("search", "X"), mix) for mix in ("a", "b")] == ["search[X]", "Search[X]"]


def test_what_is_not_found_by_its_name_is_found_among_the_similar_titles(env: WikipediaEnvironment) -> None:
    question = next(q for q in QUESTIONS if q.supporting[0][0].endswith("(film)"))
    title = question.supporting[0][0]
    demo = replay(env, question, "a", 0, 0, noisy=False)
    actions = [step["action"] for step in demo["steps"]]
    assert actions[:2] == [f"search[{title.removesuffix(' (film)')}]", f"search[{title}]"]
    assert after_miss(("search", "Nothing"), "Could not find Nothing. Similar: [].", question) is None


@pytest.mark.parametrize("mix", ["a", "b"])
def test_demonstrations_succeed_repeat_and_can_be_read(mix: str, tmp_path: Path) -> None:
    first = generate(tmp_path / "one", mix, 0, QUESTIONS[:60])
    again = generate(tmp_path / "two", mix, 0, QUESTIONS[:60])
    other = generate(tmp_path / "three", mix, 1, QUESTIONS[:60])
    assert first.read_bytes() == again.read_bytes() != other.read_bytes()
    demos = read_demonstrations([first])
    assert first.name == f"demos-{mix}.jsonl"
    assert 100 < len(demos) <= 120
    for demo in demos:
        assert len(demo.episode) == len(demo.clone) <= STEP_LIMIT
        assert demo.episode.rewards.sum() == demo.episode.steps[-1].reward == 1.0
        assert demo.episode.steps[0].observation == f"Question: {demo.episode.goal}"
        assert demo.clone[-1]
    cloned = np.mean([c for d in demos for c in d.clone])
    assert 0.8 < cloned < 1.0
    capital = np.mean([s.action[0].isupper() for d in demos for s in d.episode.steps])
    assert capital < 0.2 if mix == "a" else capital > 0.8


def test_demonstrations_replay_exactly(env: WikipediaEnvironment) -> None:
    for question in QUESTIONS[:20]:
        demo = replay(env, question, "b", 3, 1)
        goal, observation = env.reset(question.id)
        assert goal == demo["goal"]
        for step in demo["steps"]:
            assert observation == step["observation"]
            observation, reward, _ = env.step(step["action"])
            assert reward == step["reward"]
        assert observation == demo["final_observation"]


def test_noise_never_answers() -> None:
    rng = np.random.default_rng(0)
    events = [noise_event(rng, GOAL, [f"Question: {GOAL}", PAGE], ("search", "Ada Marlund"), None) for _ in range(200)]
    assert {verb for verb, _ in events} == {"search", "lookup"}
    assert len({argument for _, argument in events}) > 8


def test_names_and_titles_are_read_off_texts() -> None:
    assert names_in(PAGE) == ("Glass Harbor", "Ada Marlund")
    assert names_in(GOAL) == ("Glass Harbor",)
    assert names_in("The Hollow Pianos is a folk band from Velham (city).") == ("The Hollow Pianos", "Velham (city)")
    assert names_in("(Result 1 / 2) It lies on the River Tel.") == ("River Tel",)
    similar = "Could not find Moon. Similar: ['Tin Moon (novel)', \"Ada's Moon\"]."
    assert titles_in(similar) == ("Tin Moon (novel)", "Ada's Moon")
    assert titles_in("Could not find [Moon]. Similar: []") == ()
    assert titles_in("Could not find Moon. Similar: ['cut off") is None
    assert titles_in("Could not find Moon. Similar: [a + b].") == ()
    assert titles_in(PAGE) is None


def test_exploratory_actions_follow_the_transcript() -> None:
    start = [f"Question: {GOAL}"]
    finishes = ("finish[Glass Harbor]", "finish[no]", "finish[yes]")
    assert exploratory_actions(GOAL, start) == (*finishes, "search[Glass Harbor]")
    missed = exploratory_actions(GOAL, [*start, "Could not find Glass Harbor. Similar: ['Glass Harbor (film)']."])
    assert "search[Glass Harbor (film)]" in missed
    assert not any(action.startswith("lookup") for action in missed)
    later = exploratory_actions(GOAL, [*start, PAGE])
    assert {"search[Ada Marlund]", "finish[Ada Marlund]", "finish[1971]"} <= set(later)
    assert {"lookup[director]", "lookup[born]"} <= set(later)
    assert later == tuple(sorted(set(later)))


def test_exploratory_actions_cover_what_the_first_expert_does(env: WikipediaEnvironment) -> None:
    sizes = []
    for question in QUESTIONS:
        seen: list[str] = []
        for step in replay(env, question, "a", 0, 0, noisy=False)["steps"]:
            seen.append(step["observation"])
            offered = exploratory_actions(question.question, seen)
            assert step["action"] in offered
            sizes.append(len(offered))
    assert max(sizes) <= 60


def test_exploratory_actions_are_fast() -> None:
    transcript = [f"Question: {GOAL}", *[PAGE] * 6]
    exploratory_actions(GOAL, transcript)
    start = time.process_time()
    for _ in range(200):
        exploratory_actions(GOAL, transcript)
    assert (time.process_time() - start) / 200 < 1e-3
