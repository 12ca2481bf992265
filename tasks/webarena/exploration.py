"""Plausible actions on a page, read off the goal and the last observation alone (no site, no browser)."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

_LINE = re.compile(r"^\t*\[(\d+)\] (\w+) ('(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\")", re.M)
_QUOTED = re.compile(r'"([^"]+)"')
_NAMED = re.compile(r"(?<=\s)[A-Z]\w+(?: [A-Z]\w+)+")
_NUMBER = re.compile(r"\b\d+\b")
_VALUE = re.compile(r"\$\d+|\b\d+\b|[A-Z]\w+(?: [A-Z]\w+)*|(?<=: )[a-z]+$")
_PRESSED = ("link", "button", "checkbox")
_TYPED = ("textbox", "searchbox")


@dataclass(frozen=True, slots=True)
class Shown:
    """An element of a page: its id, role and name."""

    id: str
    role: str
    name: str


@dataclass(frozen=True, slots=True)
class Listed:
    """What a page shows: what can be acted on, and its texts."""

    elements: tuple[Shown, ...]
    texts: tuple[str, ...]


@lru_cache(maxsize=65536)
def listed(observation: str) -> Listed:
    """Parses one observation, whoever wrote it."""
    found = [Shown(number, role, _plain(name)) for number, role, name in _LINE.findall(observation)]
    return Listed(
        elements=tuple(e for e in found if e.role in _PRESSED + _TYPED),
        texts=tuple(e.name for e in found if e.role in ("StaticText", "heading", "link")),
    )


def _plain(literal: str) -> str:
    try:
        return ast.literal_eval(literal) if "\\" in literal else literal[1:-1]
    except (SyntaxError, ValueError):  # a text that a model made up
        return literal[1:-1]


@lru_cache(maxsize=4096)
def _texts_of(goal: str) -> tuple[str, ...]:
    """What a goal may ask to be typed: quoted texts, names of several words, numbers."""
    outside = _QUOTED.sub(" ", goal)
    return tuple(dict.fromkeys([*_QUOTED.findall(goal), *_NAMED.findall(outside), *_NUMBER.findall(outside)]))


def exploratory_actions(goal: str, observations: Sequence[str]) -> tuple[str, ...]:
    """Lists plausible actions after a transcript, for exploration and for mixtures with a uniform policy.

    Clicks everything that can be clicked on the last page, types the goal's own words into its fields, goes back, and
    stops with nothing or with any name, number or value the page shows. Works inside world models, too.

    Args:
        goal: the intent.
        observations: the observations so far, oldest first.

    Returns:
        Distinct actions in sorted order, typically 15 to 45.
    """
    page = listed(observations[-1]) if observations else Listed((), ())
    actions = {"go_back", "stop []"}
    for element in page.elements:
        if element.role in _PRESSED:
            actions.add(f"click [{element.id}]")
        else:
            actions.update(f"type [{element.id}] [{text}] [1]" for text in _texts_of(goal))
    actions.update(f"stop [{value}]" for text in page.texts for value in _VALUE.findall(text))
    return tuple(sorted(actions))
