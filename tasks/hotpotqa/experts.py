"""The two experts that demonstrations come from: their words, their habits and their noise (no environment).

Both read the pages of the supporting facts in order and then answer. Expert `a` goes straight ahead in ReAct's
lower-case verbs. Expert `b` writes capitalized verbs, opens the second of two compared pages first, and looks up the
last fact before it answers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np

from tasks.hotpotqa.actions import keywords_in, names_in, titles_in
from tasks.hotpotqa.questions import Question

Mix = Literal["a", "b"]
Act = tuple[str, str]
"""A verb in lower case, and what stands in its brackets."""

_SUFFIX = re.compile(r" \([^()]*\)$")
_EVENTS = ("stray", "garble", "lookup", "repeat")
_EVENT_WEIGHTS = (0.4, 0.25, 0.2, 0.15)


def render(act: Act, style: Mix) -> str:
    """Words an action in the style of a mix."""
    verb, argument = act
    return f"{verb if style == 'a' else verb.capitalize()}[{argument}]"


def plan(question: Question, mix: Mix) -> list[Act]:
    """What an expert does, in order: searches, for `b` a lookup, then the answer.

    A page is searched by its name, without the parenthesis that tells twin titles apart: a reader of the question
    cannot know that one. What is not found is searched by its title next, see `after_miss`.
    """
    facts = list(dict.fromkeys(question.supporting))
    if mix == "b" and question.kind == "comparison":
        facts.reverse()
    acts = [("search", _SUFFIX.sub("", title)) for title in dict.fromkeys(title for title, _ in facts)]
    if mix == "b" and facts:
        title, index = facts[-1]
        sentences = next((page.sentences for page in question.paragraphs if page.title == title), ())
        acts += [("lookup", _keyword(question.question, sentence)) for sentence in sentences[index : index + 1]]
    return [*acts, ("finish", question.answer)]


def after_miss(act: Act, observation: str, question: Question) -> Act | None:
    """The next search where the last one found nothing: the supporting page among the similar titles."""
    wanted = [title for title, _ in question.supporting if _SUFFIX.sub("", title) == act[1] != title]
    offered = titles_in(observation) or ()
    return next((("search", title) for title in wanted if title in offered), None)


def noise_event(
    rng: np.random.Generator, goal: str, observations: Sequence[str], upcoming: Act, last: Act | None
) -> Act:
    """Draws a harmless mistake: a page nobody needs, a misspelled name, an idle lookup, the same search again."""
    kind = str(rng.choice(_EVENTS, p=_EVENT_WEIGHTS))
    if kind == "repeat" and last is not None and last[0] == "search":
        return last
    if kind == "lookup" and len(observations) > 1:
        return "lookup", _one(keywords_in(goal) or (goal,), rng)
    if kind == "garble" and upcoming[0] == "search":
        return "search", _misspelled(upcoming[1], rng)
    met = {name for text in (goal, *observations[1:]) for name in (titles_in(text) or names_in(text))}
    return "search", _one(sorted(met - {upcoming[1]}) or (upcoming[1],), rng)


def _keyword(question: str, sentence: str) -> str:
    """What to look up for a sentence: the question's last word that it has, else its own last word, else all of it."""
    shared = [word for word in keywords_in(question) if word in sentence.lower()]
    return (shared or list(keywords_in(sentence)) or [sentence.strip()])[-1]


def _misspelled(name: str, rng: np.random.Generator) -> str:
    at = int(rng.integers(1, max(2, len(name))))
    return name[:at] + name[at + 1 :]


def _one(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
