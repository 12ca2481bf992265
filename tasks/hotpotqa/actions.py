"""Plausible actions, read off the question and the observations alone (no environment)."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from functools import lru_cache

_WORD = r"[A-Z][\w'’.-]*\w|[A-Z]"
_NAME = re.compile(rf"(?:{_WORD})(?:(?: of| the| de| von)? (?:{_WORD}))*(?: \([^()]+\))?")
_YEAR = re.compile(r"\b[12]\d{3}\b")
_SIMILAR = re.compile(r"^Could not find .* Similar: (\[.*\])\.?$", re.S)
_COUNTER = re.compile(r"^\(Result \d+ ?/ ?\d+\) ")
_KEYWORD = re.compile(r"\b[a-z]{4,}\b")
_OPENING = frozenset(
    "A An And Are At Both By Did Do Does For From He Her His How If In Is It Its On Of She That The Their They This To "
    "Was Were What When Where Which Who Whose Why With".split()
)
_EMPTY_WORDS = frozenset(
    "both does from have into same that their they this were what when where which whose with".split()
)
_NOT_READ = (
    "Question: ",
    "No more results.",
    "No Results",
    "No More Results",
    "Invalid ",
    "Nice thought.",
    "The last page",
)
_ANSWERS = ("no", "yes")


@lru_cache(maxsize=65536)
def names_in(text: str) -> tuple[str, ...]:
    """Capitalized names of a text in order of appearance, without the word that merely begins a sentence."""
    found: dict[str, None] = {}
    text = _COUNTER.sub("", text)
    for match in _NAME.finditer(text):
        name = match[0]
        first, _, rest = name.partition(" ")
        begins = match.start() == 0 or text[: match.start()].rstrip()[-1:] in (".", ":", "?", "!", ")")
        if begins and first in _OPENING and not (first == "The" and rest):
            name = rest
        if name and name[0].isupper() and name not in _OPENING:
            found[name] = None
    return tuple(found)


@lru_cache(maxsize=65536)
def titles_in(observation: str) -> tuple[str, ...] | None:
    """The similar titles that an unsuccessful search was answered with; None for any other observation."""
    match = _SIMILAR.match(observation)
    if match is None:
        return None
    try:
        titles = ast.literal_eval(match[1])
    except (ValueError, SyntaxError):  # a text that a model made up, or that was cut
        return ()
    return tuple(t for t in titles if isinstance(t, str))


@lru_cache(maxsize=4096)
def keywords_in(question: str) -> tuple[str, ...]:
    """Words of a question worth looking up, in the singular (a lookup finds them inside longer words)."""
    words = (word for word in _KEYWORD.findall(question) if word not in _EMPTY_WORDS)
    return tuple(dict.fromkeys(word.removesuffix("s") for word in words))


def exploratory_actions(goal: str, observations: Sequence[str]) -> tuple[str, ...]:
    """Lists plausible actions after a transcript, for exploration and for mixtures with a uniform policy.

    Searches every name and title met so far, looks up the words of the question once a page is open, and finishes with
    any name or year that was read, or with yes or no. Never asks an environment, so it works inside world models too.

    Args:
        goal: the question.
        observations: the observations so far, oldest first.

    Returns:
        Distinct actions in sorted order, typically 5 to 60 on short pages.
    """
    searches, answers = dict.fromkeys(names_in(goal)), dict.fromkeys((*_ANSWERS, *names_in(goal)))
    page = False
    for observation in observations:
        titles = titles_in(observation)
        if titles is not None:
            searches.update(dict.fromkeys(titles))
        elif not observation.startswith(_NOT_READ):
            page = True
            found = dict.fromkeys(names_in(observation))
            searches.update(found)
            answers.update(found)
            answers.update(dict.fromkeys(_YEAR.findall(observation)))
    actions = {f"search[{name}]" for name in searches} | {f"finish[{answer}]" for answer in answers}
    if page:
        actions.update(f"lookup[{word}]" for word in keywords_in(goal))
    return tuple(sorted(actions))
