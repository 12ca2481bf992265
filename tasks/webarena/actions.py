"""WebArena's actions over element ids (`click [12]`), as its own parser reads them; the elements of its page text.

Two texts are read otherwise than there. A verb without brackets must stand alone: `stop now` and `go_back please` are
no actions here. And an answer may have several lines. Nothing that was logged depends on either.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

VERBS = (
    "click",
    "hover",
    "type",
    "press",
    "scroll",
    "goto",
    "new_tab",
    "tab_focus",
    "close_tab",
    "go_back",
    "go_forward",
    "stop",
)
_FENCED = re.compile(r"```((.|\n)*?)```")
_PATTERNS = {
    "click": re.compile(r"click ?\[(\d+)\]"),
    "hover": re.compile(r"hover ?\[(\d+)\]"),
    "type": re.compile(r"type ?\[(\d+)\] ?\[(.+)\] ?\[(\d+)\]"),
    "press": re.compile(r"press ?\[(.+)\]"),
    "scroll": re.compile(r"scroll ?\[?(up|down)\]?"),
    "goto": re.compile(r"goto ?\[(.+)\]"),
    "tab_focus": re.compile(r"tab_focus ?\[(\d+)\]"),
    "stop": re.compile(r"stop ?\[(.+)\]", re.S),
}
_BARE = ("new_tab", "close_tab", "go_back", "go_forward")
LITERAL = r"('(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\")"
_ROLE_AND_NAME = rf"(\w+)\s+{LITERAL}"
_ELEMENT = re.compile(rf"^\t*\[(\w+)\] {_ROLE_AND_NAME}", re.M)


class ActionError(ValueError):
    """A text that is no action of the grammar."""


@dataclass(frozen=True, slots=True)
class Action:
    """One action.

    Attributes:
        verb: one of `VERBS`.
        element: id of the element acted on.
        text: what to type, press, open or answer; the direction of a scroll.
        enter: whether typing ends with the Enter key.
        tab: index of the tab to focus.
    """

    verb: str
    element: str = ""
    text: str = ""
    enter: bool = False
    tab: int = 0


def fenced(text: str) -> str | None:
    """What an agent wrote between its first pair of ``` fences; None without one."""
    found = _FENCED.search(text)
    return None if found is None else found[1].strip()


def parse_action(text: str) -> Action:
    """Reads one action, as leniently as WebArena does: what follows a complete action is ignored.

    `type` without a flag ends with Enter; `stop` without an answer answers with the empty text.

    Raises:
        ActionError: it is none.
    """
    text = text.strip()
    verb = text.split("[")[0].strip() if "[" in text else text
    if verb in _BARE:
        return Action(verb)
    if verb == "type" and not text.endswith(("[0]", "[1]")):
        text += " [1]"
    if verb.split(" ")[0] == "scroll":
        verb = "scroll"
    match = _PATTERNS[verb].search(text) if verb in _PATTERNS else None
    if match is None and verb == "stop":
        return Action("stop")
    if match is None:
        raise ActionError(f"not an action: {text[:80]!r}")
    if verb == "type":
        return Action("type", match[1], match[2], match[3] == "1")
    if verb in ("click", "hover"):
        return Action(verb, match[1])
    if verb == "tab_focus":
        return Action(verb, tab=int(match[1]))
    return Action(verb, text=match[1])


def find_element(observation: str, element: str) -> tuple[str, str] | None:
    """Role and name of an element of a page text, WebArena's or BrowserGym's; None where the page has no such id."""
    match = re.search(rf"\[{re.escape(element)}\]\s+{_ROLE_AND_NAME}", observation)
    return None if match is None else (match[1], unquoted(match[2]))


def element_named(observation: str, role: str, name: str) -> str | None:
    """Id of the first element of a page text with this role and name; None where the page has none."""
    found = _ELEMENT.findall(observation)
    return next((number for number, kind, literal in found if (kind, unquoted(literal)) == (role, name)), None)


def unquoted(literal: str) -> str:
    """The text behind a Python literal; forks that do not escape yield texts that are none."""
    try:
        return ast.literal_eval(literal)
    except (SyntaxError, ValueError):
        return literal[1:-1]
