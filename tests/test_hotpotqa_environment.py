"""HotpotQA: the official scores, and the exact texts of both dialects of the environment."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from bench.rollout import MaskedEnvironment
from tasks.hotpotqa.answers import exact_match, f1, normalize
from tasks.hotpotqa.environment import WikipediaEnvironment
from tasks.hotpotqa.generator import generate
from tasks.hotpotqa.questions import Paragraph, Question, read_questions

OFFICIAL = Path(__file__).parent / "fixtures" / "hotpotqa" / "questions" / "official.json"
GOAL = "In which city was the director of Glass Harbor born?"
FIRST_FIVE = (
    "Glass Harbor is a crime film from 1971. Its director is Ada Marlund. The film was long. It was loud. It was grey."
)
WHOLE = f"{FIRST_FIVE} Its director came late."


def env(dialect: str = "react", reward: str = "f1") -> WikipediaEnvironment:
    world = WikipediaEnvironment(read_questions(OFFICIAL), dialect, reward)
    world.reset("5a01")
    return world


@pytest.mark.parametrize(
    "said, meant, score",
    [
        ("The  Velham!", "velham", 1.0),
        ("Upper Velham", "Velham", 2 / 3),
        ("Ada", "Ada Marlund", 2 / 3),
        ("a b b", "b b c", 2 * (2 / 2) * (2 / 3) / (2 / 2 + 2 / 3)),  # "a" is an article; multisets count b twice
        ("yes", "yes, it was", 0.0),
        ("no way", "no", 0.0),
        ("Yes.", "yes", 1.0),
        ("noanswer", "no answer", 0.0),
        ("the", "a", 0.0),  # nothing is left of either
        ("", "Velham", 0.0),
    ],
)
def test_f1_is_the_official_one(said: str, meant: str, score: float) -> None:
    assert f1(said, meant) == pytest.approx(score, abs=1e-15)
    assert exact_match(said, meant) == (normalize(said) == normalize(meant))


def test_normalization_order_matters() -> None:
    assert normalize("The U.S.A., a-an the\tthe") == "usa aan"
    assert exact_match("the-film", "thefilm")  # punctuation goes first, so no article is left to remove


def test_react_texts() -> None:
    world = WikipediaEnvironment(read_questions(OFFICIAL))
    assert world.reset("5a01") == (GOAL, f"Question: {GOAL}")
    expected = [
        ("lookup[director]", "No more results.\n"),  # no page is open
        ("search[Glass Harbor]", FIRST_FIVE),
        ("lookup[Director]", "(Result 1 / 2) Its director is Ada Marlund."),
        ("search[Harbor of Glass]", "Could not find Harbor of Glass. Similar: ['Glass Harbor']."),
        ("lookup[Director]", "(Result 2 / 2) Its director came late."),  # a miss changes neither page nor lookup
        ("lookup[Director]", "No more results.\n"),
        ("lookup[loud]", "(Result 1 / 1) It was loud."),
        ("lookup[Director]", "(Result 1 / 2) Its director is Ada Marlund."),
        (" SEARCH[the glass harbor]\n", FIRST_FIVE),
        ("lookup[Director]", "(Result 1 / 2) Its director is Ada Marlund."),  # a new page starts over
        ("search[Tin Moon]", "Could not find Tin Moon. Similar: ['Tin Moon (novel)', 'The Tin Moon (film)']."),
        ("search[zebra]", "Could not find zebra. Similar: []."),
        ("think[hm]", "Nice thought."),
        ("look around", "Invalid action: look around"),
        ("retrieve[Ada Marlund]", "Invalid action: retrieve[Ada Marlund]"),
    ]
    for action, observation in expected:
        assert world.step(action) == (observation, 0.0, False), action
    assert world.step("finish[Upper Velham]") == ("Episode finished, reward = 0\n", pytest.approx(2 / 3), True)
    with pytest.raises(RuntimeError, match="no episode is running"):
        world.step("search[Glass Harbor]")


def test_docstore_texts() -> None:
    world = env("docstore")
    invalid = "Invalid Action. Valid Actions are Lookup[<topic>] Search[<topic>] and Finish[<answer>]."
    closed = (
        "The last page Searched was not found, so you cannot Lookup a keyword in it. "
        "Please try one of the similar pages given."
    )
    expected = [
        ("Lookup[director]", closed),
        ("Search[Glass Harbor]", WHOLE),
        ("Lookup[loud]", f"(Result 1/1) {WHOLE}"),
        ("Lookup[LOUD]", "No More Results"),
        ("Search[Ada Marlund]", "Ada Marlund is a film director. Marlund was born in Velham in 1931."),
        ("Lookup[loud]", "No Results"),
        ("Search[Tin Moon]", "Could not find [Tin Moon]. Similar: ['Tin Moon (novel)', 'The Tin Moon (film)']"),
        ("Lookup[Tin]", closed),
        ("think[hm]", invalid),
        ("Ada", invalid),
    ]
    for action, observation in expected:
        assert world.step(action) == (observation, 0.0, False), action
    assert world.step("Finish[the Velham]") == ("Answer is CORRECT", 1.0, True)


def test_a_new_search_does_not_restart_a_docstore_lookup() -> None:
    world = env("docstore")
    for action in ("Search[Glass Harbor]", "Lookup[film]", "Search[Ada Marlund]"):
        world.step(action)
    assert world.step("Lookup[film]")[0] == "No More Results"


def test_disambiguation_pages_are_asked_for_again_in_brackets() -> None:
    pages = (Paragraph("Moon", ("Moon may refer to:", " a film")), Paragraph("Moon (film)", ("Moon is a film.",)))
    world = WikipediaEnvironment([Question("q", "Which?", "film", "bridge", "easy", (), pages)])
    world.reset("q")
    assert world.step("search[Moon]")[0] == "Could not find [Moon]. Similar: ['Moon', 'Moon (film)']."


def test_reward_is_f1_or_exact_match_and_the_text_always_names_the_exact_match() -> None:
    assert env("react", "em").step("finish[Upper Velham]") == ("Episode finished, reward = 0\n", 0.0, True)
    assert env("docstore", "f1").step("Finish[Upper Velham]") == ("Answer is INCORRECT", pytest.approx(2 / 3), True)
    assert env("react", "em").step("finish[velham]") == ("Episode finished, reward = 1\n", 1.0, True)
    assert env().step("finish[]") == ("Episode finished, reward = 0\n", 0.0, True)


def test_what_is_asked_wrongly_is_explained() -> None:
    with pytest.raises(ValueError, match="no question 'x' among the 1"):
        env().reset("x")
    with pytest.raises(ValueError, match="expected react or docstore, and f1 or em"):
        WikipediaEnvironment((), "langchain")
    with pytest.raises(RuntimeError, match="call reset"):
        WikipediaEnvironment(()).step("search[x]")


def test_an_episode_leaves_nothing_behind() -> None:
    world = env()
    for action in ("search[Glass Harbor]", "lookup[director]"):
        world.step(action)
    world.reset("5a01")
    assert world.step("lookup[director]")[0] == "No more results.\n"


def test_masked_observations_tell_nothing() -> None:
    masked = MaskedEnvironment(env())
    assert masked.reset("5a01") == (GOAL, "...")
    assert masked.step("search[Glass Harbor]") == ("...", 0.0, False)


def test_speed() -> None:
    questions = generate("evaluation", 50)
    world = WikipediaEnvironment(questions)
    rng, rates = np.random.default_rng(0), []
    order = rng.integers(50, size=300)
    for _ in range(3):
        start, steps = time.process_time(), 0
        for i in order:
            world.reset(questions[i].id)
            for page in questions[i].paragraphs[:3]:
                for action in (f"search[{page.title}]", "lookup[born]", f"search[{page.title}x]"):
                    world.step(action)
                    steps += 1
        rates.append(steps / (time.process_time() - start))
    assert max(rates) > 5_000  # steps per second of processor time
