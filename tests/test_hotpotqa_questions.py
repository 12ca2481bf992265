"""HotpotQA questions: official and Hugging Face files, and the generator of a fictional encyclopedia."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.errors import DataError
from tasks.hotpotqa import generator
from tasks.hotpotqa.encyclopedia import encyclopedia
from tasks.hotpotqa.environment import WikipediaEnvironment
from tasks.hotpotqa.generator import PARAGRAPHS, generate
from tasks.hotpotqa.names import draw, split_of
from tasks.hotpotqa.questions import official, read_questions, write_questions

FIXTURES = Path(__file__).parent / "fixtures" / "hotpotqa" / "questions"
TRAIN, EVALUATION = generate("train", 150), generate("evaluation", 150)


def test_official_and_hugging_face_files_hold_the_same(tmp_path: Path) -> None:
    (question,) = read_questions(FIXTURES / "official.json")
    assert (question.id, question.answer, question.kind, question.level) == ("5a01", "Velham", "bridge", "medium")
    assert question.supporting == (("Glass Harbor", 1), ("Ada Marlund", 1))
    assert question.paragraphs[1].sentences[1] == " Marlund was born in Velham in 1931."
    assert read_questions(FIXTURES / "huggingface.jsonl") == (question,)
    row = json.loads((FIXTURES / "huggingface.jsonl").read_text(encoding="utf-8"))
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "q.parquet")
    assert read_questions(tmp_path / "q.parquet") == (question,)


def test_writing_and_reading_back(tmp_path: Path) -> None:
    write_questions(TRAIN[:20], tmp_path / "q.json")
    assert read_questions(tmp_path / "q.json") == TRAIN[:20]
    raw = json.loads((tmp_path / "q.json").read_text(encoding="utf-8"))[0]
    assert set(raw) == {"_id", "question", "answer", "type", "level", "supporting_facts", "context"}


@pytest.mark.parametrize(
    "old, new, message",
    [
        ('"answer": "Velham"', '"answer": ""', "question 0: answer: "),
        ('"answer": "Velham", ', "", "question 0: answer: Field required"),
        ('"context": [', '"context": [7, ', r"question 0: context\[0\]"),
        ('"_id": "5a01", ', "", "question 0: _id: Field required"),
        ("}]", "}, {}]", "question 1: _id: Field required"),
        ('"Velham", "type"', '"Vel', "column .*cut off"),
    ],
)
def test_damaged_files_are_refused_with_their_place(old: str, new: str, message: str, tmp_path: Path) -> None:
    text = (FIXTURES / "official.json").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "q.json").write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DataError, match=rf"q\.json, line 1.*{message}"):
        read_questions(tmp_path / "q.json")


def test_files_that_hold_no_questions_are_refused(tmp_path: Path) -> None:
    row = official(TRAIN[0])
    (tmp_path / "twice.json").write_text(json.dumps([row, row]))
    (tmp_path / "none.json").write_text("[]")
    (tmp_path / "noise.parquet").write_bytes(b"PAR1 noise")
    for name, message in (("twice", "occurs twice"), ("none", "holds no question")):
        with pytest.raises(DataError, match=message):
            read_questions(tmp_path / f"{name}.json")
    with pytest.raises(DataError, match=r"noise\.parquet"):
        read_questions(tmp_path / "noise.parquet")
    with pytest.raises(DataError, match="no such file"):
        read_questions(tmp_path / "missing.json")


@pytest.mark.parametrize("questions", [TRAIN, EVALUATION], ids=["train", "evaluation"])
def test_generated_questions_are_complete(questions) -> None:
    assert len({q.id for q in questions}) == len({q.question for q in questions}) == 150
    for q in questions:
        pages = {page.title: page.sentences for page in q.paragraphs}
        assert len(pages) == len(q.paragraphs) == PARAGRAPHS
        facts = [pages[title][index] for title, index in q.supporting]
        if q.kind == "bridge":
            assert q.answer in facts[-1]
            assert q.answer not in q.question
            for (title, index), (following, _) in zip(q.supporting, q.supporting[1:], strict=False):
                assert following in pages[title][index]  # each fact leads to the next page
        elif q.answer not in ("yes", "no"):
            names = [title.partition(" (")[0] for title, _ in q.supporting]
            years = [int(fact.rstrip(".").split()[-1]) for fact in facts]
            assert q.answer == names[int(np.argmin(years))]
            assert abs(years[0] - years[1]) >= 10


def test_generated_yes_and_no_are_true() -> None:
    closed = [q for q in (*TRAIN, *EVALUATION) if q.answer in ("yes", "no")]
    for q in closed:
        pages = {page.title: page.sentences for page in q.paragraphs}
        (one, i), (other, j) = q.supporting
        first = pages[one][i].replace(one.partition(" (")[0], "").split()
        second = pages[other][j].replace(other.partition(" (")[0], "").split()
        same = first == second
        if "born in the same city" in q.question:  # "<surname> was born in <city> in <year>."
            same = first[4] == second[4]
        elif "genre" in q.question:  # "is a <genre> film from <year>.", "is a <genre> band from <city>."
            same = first[2] == second[2]
        assert (q.answer == "yes") == same, q
    assert {q.answer for q in closed} == {"yes", "no"}


def test_splits_share_no_title_and_no_answer() -> None:
    """Nothing an agent remembers of its training answers an evaluation question."""
    train, evaluation = encyclopedia("train", 2000, 0), encyclopedia("evaluation", 2000, 0)
    assert not set(train) & set(evaluation)
    answers = {q.answer for q in EVALUATION if not q.answer.isdigit()} - {"yes", "no"}
    said = {value for article in train.values() for value in article.values.values()}
    assert not answers & (said | {f"River {value}" for value in said})
    assert Counter(split_of(name) for name in draw("person", "evaluation", 50, np.random.default_rng(0))) == {
        "evaluation": 50
    }


def test_generation_is_determined_by_its_arguments_alone() -> None:
    state = np.random.get_state()[1].tolist()  # noqa: NPY002 (what must be left alone)
    generator._generator.cache_clear()
    assert generate("train", 30) == TRAIN[:30]
    assert generate("train", 1, seed=1, articles=200)[0].question != TRAIN[0].question
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002


def test_kinds_and_levels_are_mixed_and_answers_vary() -> None:
    questions = generate("train", 500)
    share = Counter((q.kind, q.level) for q in questions)
    assert 0.25 < share["comparison", "easy"] / 500 < 0.45
    assert share["bridge", "medium"] > share["bridge", "hard"] > 50
    answers = Counter(q.answer for q in questions if q.kind == "bridge")
    assert answers.most_common(1)[0][1] < 0.02 * 500
    twins = [q for q in questions if any(title.endswith(("(film)", "(novel)")) for title, _ in q.supporting)]
    assert 25 < len(twins) < 250


def test_pages_are_short() -> None:
    for q in (*TRAIN, *EVALUATION):
        for page in q.paragraphs:
            assert 2 <= len(page.sentences) <= 4
            assert len("".join(page.sentences)) < 200  # some 60 tokens


@pytest.mark.parametrize(
    "name, count, short",
    [
        ("hotpot_distractor_easy100.json", 100, 3),
        ("hotpot_distractor_medium100.json", 100, None),
        ("hotpot_distractor_hard100.json", 100, None),
        ("hotpot_distractor_reflexion100.json", 100, None),
        ("hotpot_train_knowagent500.json", 500, 7),
    ],
)
def test_real_questions(name: str, count: int, short: int | None) -> None:
    """800 different real questions; some have fewer than ten paragraphs. Their gold pages are found by title."""
    root = os.environ.get("OPE_REAL_LOGS")
    if not root or not (Path(root) / "hotpotqa").is_dir():
        pytest.skip("set OPE_REAL_LOGS to the folder of real logs to read real questions")
    questions = read_questions(Path(root) / "hotpotqa" / "questions" / name)
    assert len(questions) == count
    if short is not None:
        assert sum(len(q.paragraphs) < 10 for q in questions) == short
    world = WikipediaEnvironment(questions)
    for q in questions[:50]:
        world.reset(q.id)
        for title, _ in q.supporting:
            assert not world.step(f"search[{title}]")[0].startswith("Could not find")
        assert world.step(f"finish[{q.answer}]")[1:] == (1.0, True)


def test_what_an_encyclopedia_cannot_give_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"\d+ names of kind \w+ are wanted, the evaluation split has \d+"):
        generate("evaluation", 1, articles=100_000)
    with pytest.raises(ValueError, match="an encyclopedia of 100 articles is too small"):
        generate("train", 1, articles=100)

    class Stuck:
        def question(self, name, rng):
            return TRAIN[0]

    monkeypatch.setattr(generator, "_generator", lambda *arguments: Stuck())
    with pytest.raises(ValueError, match="2 questions are too many for an encyclopedia of 300 articles"):
        generate("train", 2, articles=300)
