"""Bridge and comparison questions over a fictional encyclopedia, in the official schema, each with ten paragraphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from bench.rng import rng_for
from tasks.hotpotqa.encyclopedia import Article, encyclopedia
from tasks.hotpotqa.names import Split
from tasks.hotpotqa.questions import Paragraph, Question

PARAGRAPHS = 10
COMPARISONS = 0.35
"""Share of comparison questions."""
LONG_CHAINS = 0.25
"""Share of bridge questions over three pages instead of two (level hard)."""
YEARS_APART = 10
"""Least distance of two years that are compared, so that the order does not hang on the last digit."""
ARTICLES = 2_000
"""Size of the encyclopedia behind the questions."""

_HOPS = {
    ("film", "maker"): "the director of {}",
    ("film", "city"): "the city where {} was filmed",
    ("novel", "maker"): "the author of {}",
    ("novel", "city"): "the city where {} takes place",
    ("band", "maker"): "the singer of {}",
    ("band", "city"): "the home city of {}",
    ("company", "maker"): "the founder of {}",
    ("company", "city"): "the city where {} is based",
    ("person", "city"): "the birthplace of {}",
}
_ASKED = {
    ("person", "city"): "In which city was {} born?",
    ("person", "year"): "In which year was {} born?",
    ("city", "region"): "In which region is {}?",
    ("city", "river"): "On which river is {}?",
    ("city", "year"): "In which year was {} founded?",
}
_ANSWERED = {("city", "river"): "River {}"}
_CALLED = {"film": "the film {}", "novel": "the novel {}", "band": "the band {}", "company": "the company {}"}
_FIRST = {
    "film": "Which film came out first, {} or {}?",
    "novel": "Which novel came out first, {} or {}?",
    "band": "Which band was formed first, {} or {}?",
    "company": "Which company was founded first, {} or {}?",
    "person": "Who was born first, {} or {}?",
}
_SAME = {
    ("city", "region"): "Are {} and {} in the same region?",
    ("city", "river"): "Are {} and {} on the same river?",
    ("person", "city"): "Were {} and {} born in the same city?",
    ("person", "profession"): "Do {} and {} have the same profession?",
    ("film", "genre"): "Are the films {} and {} of the same genre?",
    ("band", "genre"): "Do the bands {} and {} play the same genre?",
}


@dataclass(frozen=True, slots=True)
class _Draft:
    """A question before its distractors: the facts are (article, relation) pairs in the order they are needed."""

    question: str
    answer: str
    kind: str
    level: str
    facts: tuple[tuple[Article, str], ...]


class QuestionGenerator:
    """Draws questions from one encyclopedia.

    Args:
        world: its articles by title.
    """

    def __init__(self, world: Mapping[str, Article]):
        self.world = dict(world)
        self._of_kind: dict[str, list[Article]] = {}
        self._named: dict[str, list[Article]] = {}
        self._saying: dict[tuple[str, str, str], list[Article]] = {}
        for article in self.world.values():
            self._of_kind.setdefault(article.kind, []).append(article)
            self._named.setdefault(article.name, []).append(article)
            for relation, value in article.values.items():
                self._saying.setdefault((article.kind, relation, value), []).append(article)

    def question(self, name: str, rng: np.random.Generator) -> Question:
        """A question with this id."""
        draft = self._comparison(rng) if rng.random() < COMPARISONS else self._bridge(rng)
        pages = self._with_distractors([article for article, _ in draft.facts], rng)
        return Question(
            id=name,
            question=draft.question,
            answer=draft.answer,
            kind=draft.kind,
            level=draft.level,
            supporting=tuple((article.title, article.said_in[relation]) for article, relation in draft.facts),
            paragraphs=tuple(_paragraph(pages[i]) for i in rng.permutation(len(pages))),
        )

    def _bridge(self, rng: np.random.Generator) -> _Draft:
        """Follows one link, or two, and asks for something said on the last page."""
        long = rng.random() < LONG_CHAINS
        kind, relation = _pick([hop for hop in _HOPS if hop[1] == "maker" or not long], rng)
        article = _pick(self._of_kind[kind], rng)
        phrase, facts = _called(article), []
        for _ in range(1 + long):
            facts.append((article, relation))
            phrase = _HOPS[article.kind, relation].format(phrase)
            article, relation = self.world[article.links[relation]], "city"
        kind, relation = _pick([ask for ask in _ASKED if ask[0] == article.kind], rng)
        facts.append((article, relation))
        answer = _ANSWERED.get((kind, relation), "{}").format(article.values[relation])
        level = "hard" if long else "medium"
        return _Draft(_ASKED[kind, relation].format(phrase), answer, "bridge", level, tuple(facts))

    def _comparison(self, rng: np.random.Generator) -> _Draft:
        """Asks which of two came first, or whether they have something in common (half of them do)."""
        if rng.random() < 0.5:
            kind = _pick(list(_FIRST), rng)
            first = _pick(self._of_kind[kind], rng)
            year = int(first.values["year"])
            far = [a for a in self._of_kind[kind] if abs(int(a.values["year"]) - year) >= YEARS_APART]
            second = _pick([a for a in far if a.name != first.name], rng)
            text, relation = _FIRST[kind], "year"
            answer = min(first, second, key=lambda article: article.values["year"]).name
        else:
            kind, relation = _pick(list(_SAME), rng)
            first = _pick(self._of_kind[kind], rng)
            value = first.values[relation]
            alike = [a for a in self._saying[kind, relation, value] if a.name != first.name]
            answer = "yes" if alike and rng.random() < 0.5 else "no"
            others = alike if answer == "yes" else [a for a in self._of_kind[kind] if a.values[relation] != value]
            second, text = _pick(others, rng), _SAME[kind, relation]
        facts = ((first, relation), (second, relation))
        return _Draft(text.format(first.name, second.name), answer, "comparison", "easy", facts)

    def _with_distractors(self, gold: list[Article], rng: np.random.Generator) -> list[Article]:
        """Fills up with pages that share a name with the gold pages, are linked from them, or are of their kinds."""
        pages = {article.title: article for article in gold}
        near = [a for g in gold for a in self._named[g.name]]
        near += [self.world[title] for g in gold for title in g.links.values()]
        near += [_pick(self._of_kind[g.kind], rng) for g in gold for _ in range(PARAGRAPHS)]
        for article in near:
            if len(pages) < PARAGRAPHS:
                pages.setdefault(article.title, article)
        return list(pages.values())


def _paragraph(article: Article) -> Paragraph:
    first, *others = article.sentences
    return Paragraph(article.title, (first, *(f" {sentence}" for sentence in others)))


def _called(article: Article) -> str:
    return _CALLED.get(article.kind, "{}").format(article.name)


def _pick(options: list, rng: np.random.Generator):
    return options[int(rng.integers(len(options)))]


@lru_cache(maxsize=8)
def _generator(split: Split, articles: int, seed: int) -> QuestionGenerator:
    return QuestionGenerator(encyclopedia(split, articles, seed))


def generate(split: Split, count: int, seed: int = 0, articles: int = ARTICLES) -> tuple[Question, ...]:
    """Questions of a split, named "<split>-<seed>/<number>"; none is asked twice.

    The first questions are the same whatever the count. Titles and names of the splits are disjoint, so nothing an
    agent remembers of its training answers an evaluation question.

    Args:
        split: train or evaluation.
        count: number of questions.
        seed: of encyclopedia and questions.
        articles: size of the encyclopedia.

    Raises:
        ValueError: the encyclopedia is too small for that many questions, or too large for the names there are.
    """
    found: dict[str, Question] = {}
    for number in range(count):
        name = f"{split}-{seed}/{number}"
        rng = rng_for("hotpotqa", "question", articles, name)
        drawn = (_generator(split, articles, seed).question(name, rng) for _ in range(100))
        question = next((q for q in drawn if q.question not in found), None)
        if question is None:
            raise ValueError(f"{count} questions are too many for an encyclopedia of {articles} articles.")
        found[question.question] = question
    return tuple(found.values())
