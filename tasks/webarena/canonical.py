"""One normal form for actions on web pages: verb, role and name of the element, text. Element ids change every episode.

`click [282]` of one episode and `click [17]` of another may be the same decision; as texts they never agree. The normal
form has the element behind the id, from the page the agent saw: `click link 'Sales'`, `type textbox 'Name' 'Ann' [1]`.

The agents of our recording write normal forms, and `raw_webarena` turns them into raw actions on the page they see. An
id is a random number of its episode: written out, it would make the same decision another text in every episode: no
logged action matches another, sampled next actions share nothing, and what a model learns about an action does not
carry over.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from tasks.webarena.actions import (
    LITERAL,
    Action,
    ActionError,
    element_named,
    fenced,
    find_element,
    parse_action,
    unquoted,
)

NONE = "none"
"""What an answer that holds no action comes to."""
NO_ELEMENT = "(no such element)"
_TOUCHING = ("click", "hover", "type")
_WHERE = re.compile(r"^(.*?) where \[\w+\] is (.*)$", re.S)
_TAGGED = re.compile(r"<action>(.*?)</action>", re.S)
_THOUGHT = re.compile(r"<think>(.*?)</think>", re.S)
_BY_NAME = re.compile(rf"(click|hover|type) (\w+) {LITERAL}(?: {LITERAL}(?: \[([01])\])?)?", re.S)
_WITH_TEXT = re.compile(rf"(stop|press|goto) {LITERAL}", re.S)
_ON_ELEMENT = frozenset(
    "click dblclick hover fill press select_option check uncheck focus clear upload_file drag_and_drop".split()
)


def canonical_webarena(written: str, observation: str) -> str:
    """The normal form of an action of WebArena's id-based grammar.

    Args:
        written: the action; as WebArena's logs have it, the element may follow (`click [8] where [8] is [8] link 'A'`).
        observation: the page the agent saw, in which the element is looked up otherwise.
    """
    explained = _WHERE.match(written)
    try:
        action = parse_action(explained[1] if explained else written)
    except ActionError:
        return NONE
    return canonical(action, explained[2] if explained else observation)


def canonical(action: Action, observation: str) -> str:
    """The normal form of a parsed action on a page."""
    return by_name(action, find_element(observation, action.element) if action.element else None)


def by_name(action: Action, element: tuple[str, str] | None = None) -> str:
    """The normal form of an action on an element given by role and name."""
    parts = [action.verb]
    if action.verb in _TOUCHING:
        parts.append(_described(element))
    if action.verb == "type":
        parts += [repr(action.text), f"[{int(action.enter)}]"]
    elif action.verb == "tab_focus":
        parts.append(str(action.tab))
    elif action.text:
        parts.append(action.text if action.verb == "scroll" else repr(action.text))
    return " ".join(parts)


def raw_webarena(written: str, observation: str) -> str:
    """The action over element ids behind a normal form, on the page the agent sees: `click [282]`.

    The first element of that role and name is meant. What names no element of the page is no action.
    """
    named, texted = _BY_NAME.fullmatch(written), _WITH_TEXT.fullmatch(written)
    if named:
        verb, role, name, text, enter = named.groups()
        number = element_named(observation, role, unquoted(name))
        if number is None or (text is not None) != (verb == "type"):
            return NONE
        return f"{verb} [{number}]" if text is None else f"type [{number}] [{unquoted(text)}] [{enter or 1}]"
    if texted:
        return f"{texted[1]} [{unquoted(texted[2])}]"
    return NONE if written.startswith(_TOUCHING) else written


def _described(element: tuple[str, str] | None) -> str:
    return NO_ELEMENT if element is None else f"{element[0]} {element[1]!r}"


def command_of(written: str) -> str:
    """The calls in what a BrowserGym agent wrote: inside its action tag and fences, where it has them."""
    tagged = _TAGGED.findall(written)
    text = tagged[-1] if tagged else _THOUGHT.sub("", written)
    inner = fenced(text)
    return (text if inner is None else inner).strip()


def thought_of(written: str) -> str | None:
    """The reasoning in what a BrowserGym agent wrote; None where none is marked."""
    found = _THOUGHT.search(written)
    return None if found is None else found[1].strip()


def canonical_browsergym(written: str, observation: str) -> str:
    """The normal form of BrowserGym's calls (`click('339')`), joined by "; " where there are several."""
    try:
        body = ast.parse(command_of(written)).body
        calls = [(node.value.func.id, _arguments(node.value)) for node in body]
    except (SyntaxError, ValueError, AttributeError, RecursionError, MemoryError):
        return NONE
    return "; ".join(_browsergym_call(verb, values, observation) for verb, values in calls) or NONE


def _arguments(call: ast.Call) -> list[Any]:
    """The values of a call, which must all be literals; starred arguments are no literals."""
    return [ast.literal_eval(node) for node in (*call.args, *(keyword.value for keyword in call.keywords))]


def _browsergym_call(verb: str, values: list[Any], observation: str) -> str:
    ids = 0 if verb not in _ON_ELEMENT else 2 if verb == "drag_and_drop" else 1
    described = [_described(find_element(observation, str(value))) for value in values[:ids]]
    return " ".join([verb, *described, *map(repr, values[ids:])])


def canonical_browser_use(actions: list[dict[str, Any]], touched: list[dict[str, Any] | None]) -> str:
    """The normal form of a turn of browser-use actions, joined by "; ".

    Args:
        actions: as logged, `{verb: {parameter: value}}`.
        touched: the element each of them acted on, as logged; None where it acted on none.
    """
    forms = []
    for number, action in enumerate(actions):
        element = touched[number] if number < len(touched) else None
        for verb, parameters in action.items():
            given = {k: v for k, v in (parameters or {}).items() if k != "index" and v is not None}
            on = [] if "index" not in (parameters or {}) else [_described(_node(element))]
            forms.append(" ".join([verb, *on, *(f"{k}={json.dumps(v)}" for k, v in sorted(given.items()))]))
    return "; ".join(forms) or NONE


def _node(element: dict[str, Any] | None) -> tuple[str, str] | None:
    if element is None:
        return None
    attributes = element.get("attributes") or {}
    names = (element.get("ax_name"), *(attributes.get(k) for k in ("aria-label", "placeholder", "title", "id", "name")))
    return str(element.get("node_name", "")).lower(), next((str(name) for name in names if name), "")
