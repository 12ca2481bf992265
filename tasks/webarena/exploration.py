"""Plausible actions on a page, read off the goal and the last observation alone (no site, no browser)."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from tasks.webarena.actions import Action
from tasks.webarena.canonical import by_name

_LINE = re.compile(r"^\t*\[(\d+)\] (\w+) ('(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\")", re.M)
_QUOTED = re.compile(r'"([^"]+)"')
_NAMED = re.compile(r"(?<=\s)[A-Z]\w+(?: [A-Z]\w+)*")
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
    """What a goal may ask to be typed: quoted texts, names, numbers."""
    outside = _QUOTED.sub(" ", goal)
    return tuple(dict.fromkeys([*_QUOTED.findall(goal), *_NAMED.findall(outside), *_NUMBER.findall(outside)]))


def exploratory_actions(goal: str, observations: Sequence[str], named: bool = False) -> tuple[str, ...]:
    """Lists plausible actions after a transcript, for exploration and for mixtures with a uniform policy.

    Clicks everything that can be clicked on the last page, types the goal's own words into its fields, goes back, and
    stops with nothing or with any name, number or value the page shows. Works inside world models, too.

    Args:
        goal: the intent.
        observations: the observations so far, oldest first.
        named: write normal forms (`click link 'Sales'`) instead of element ids (`click [8]`).

    Returns:
        Distinct actions in sorted order, typically 15 to 45.
    """
    page = listed(observations[-1]) if observations else Listed((), ())
    answers = ("", *(value for text in page.texts for value in _VALUE.findall(text)))
    actions = {"go_back"}
    if named:
        actions.update(by_name(Action("stop", text=answer)) for answer in answers)
    else:
        actions.update(f"stop [{answer}]" for answer in answers)
    for element in page.elements:
        there = (element.role, element.name)
        if element.role in _PRESSED:
            actions.add(by_name(Action("click"), there) if named else f"click [{element.id}]")
        elif named:
            actions.update(by_name(Action("type", text=text, enter=True), there) for text in _texts_of(goal))
        else:
            actions.update(f"type [{element.id}] [{text}] [1]" for text in _texts_of(goal))
    return tuple(sorted(actions))
