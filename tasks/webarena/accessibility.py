"""A page's HTML as the accessibility-tree text that WebArena shows its agents, without a browser.

Roles, names and properties are those of Chromium's tree for the HTML that our sites use; what WebArena leaves out
(empty containers, text that one of the three lines before it has) is left out here. There is no layout: pages are shown
whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import lxml.html
import numpy as np

Element = Any
"""An lxml element; lxml has no types."""
_ROLES = {
    "a": "link",
    "button": "button",
    **dict.fromkeys(("h1", "h2", "h3", "h4", "h5", "h6"), "heading"),
    "img": "img",
    **dict.fromkeys(("ul", "ol"), "list"),
    "li": "listitem",
    "nav": "navigation",
    "main": "main",
    "form": "form",
    "p": "paragraph",
    "strong": "strong",
    "label": "LabelText",
}
_INPUTS = {"submit": "button", "button": "button", "checkbox": "checkbox", "radio": "radio", "search": "searchbox"}
_NAMED_BY_CONTENT = frozenset(("link", "button", "heading"))
_DROPPED_IF_EMPTY = frozenset(
    "generic img list strong paragraph banner navigation Section LabelText Legend listitem".split()
)
_NOT_SHOWN = frozenset(("script", "style", "head", "meta", "link", "template", "title"))
_SPACE = re.compile(r"\s+")


class ElementIds:
    """Where element ids come from: ascending with gaps, other ones in every episode.

    Args:
        rng: source of their start and gaps.
    """

    def __init__(self, rng: np.random.Generator):
        self._next = int(rng.integers(1, 200))
        self._gaps = rng.integers(1, 4, size=61).tolist()
        self._drawn = 0

    def new(self) -> int:
        """An id that was not used before in this episode."""
        self._drawn += 1
        self._next += self._gaps[self._drawn % len(self._gaps)]
        return self._next


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the tree; `element` is what a click reaches."""

    depth: int
    id: int
    role: str
    name: str
    properties: str
    element: Element


@dataclass
class Document:
    """A page that is open: its elements, their ids, what has the focus.

    Args:
        url: its address.
        html: its source.
        ids: where its elements get their ids.
    """

    url: str
    html: str
    ids: ElementIds
    focus: Element = None
    selected: bool = False
    """Whether the text of the focused field is selected, to be replaced by what is typed."""
    _known: dict[tuple[int, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root: Element = lxml.html.document_fromstring(self.html)
        self._shown: dict[str, Element] = {}
        self._alive = list(self.root.iter())  # lxml forgets the identity of elements that nobody holds
        title = self.root.find(".//title")
        self.title = "" if title is None else _squeezed(title.text_content())

    def nodes(self) -> list[Node]:
        """The tree in order, before texts are left out."""
        body = self.root.find("body")
        found = [Node(0, self._id(self.root, "root"), "RootWebArea", self.title, "focused: True", self.root)]
        if body is not None:
            found.extend(self._below(body, 1))
        self._shown = {str(node.id): node.element for node in found}
        return found

    def text(self) -> str:
        """The tree as WebArena prints it."""
        lines: list[str] = []
        for node in self.nodes():
            line = f"[{node.id}] {node.role} {node.name!r}"
            if node.role == "StaticText":
                shown = repr(node.name)[1:-1]
                if not shown or any(shown in before for before in lines[-3:]):
                    continue
            elif node.properties:
                line += f" {node.properties}"
            lines.append("\t" * node.depth + line)
        return "\n".join(lines)

    def element(self, number: str) -> Element | None:
        """The element behind an id of the tree as it was last shown."""
        return self._shown.get(number)

    def _id(self, element: Element, part: str) -> int:
        key = id(element), part
        if key not in self._known:
            self._known[key] = self.ids.new()
        return self._known[key]

    def _below(self, element: Element, depth: int) -> Iterator[Node]:
        yield from self._static(element.text, depth, element, "text")
        for child in element:
            if isinstance(child.tag, str) and child.tag not in _NOT_SHOWN and child.get("hidden") is None:
                yield from self._node(child, depth)
            yield from self._static(child.tail, depth, element, f"tail{id(child)}")

    def _static(self, text: str | None, depth: int, element: Element, part: str) -> Iterator[Node]:
        squeezed = _squeezed(text or "")
        if squeezed:
            yield Node(depth, self._id(element, part), "StaticText", squeezed, "", element)

    def _node(self, element: Element, depth: int) -> Iterator[Node]:
        if element.tag == "input":
            yield from self._input(element, depth)
            return
        role = _ROLES.get(element.tag, "generic")
        if role == "link" and element.get("href") is None:
            role = "generic"
        name = element.get("aria-label") or element.get("alt") or ""
        if not name and role in _NAMED_BY_CONTENT:
            name = _squeezed(element.text_content())
        properties = "focused: True" if element is self.focus else ""
        shown = bool(name or properties) or role not in _DROPPED_IF_EMPTY
        if shown:
            yield Node(depth, self._id(element, "node"), role, name, properties, element)
        yield from self._below(element, depth + shown)

    def _input(self, element: Element, depth: int) -> Iterator[Node]:
        kind = element.get("type", "text").lower()
        if kind == "hidden":
            return
        role = _INPUTS.get(kind, "textbox")
        name = element.get("value", "") if role == "button" else element.get("aria-label") or ""
        properties = ["focused: True"] if element is self.focus else []
        if role in ("textbox", "searchbox"):
            properties.append(f"required: {element.get('required') is not None}")
        elif role in ("checkbox", "radio"):
            properties.append(f"checked: {str(element.get('checked') is not None).lower()}")
        yield Node(depth, self._id(element, "node"), role, name, " ".join(properties), element)
        if role in ("textbox", "searchbox"):
            yield from self._static(element.get("value"), depth + 1, element, "value")


def _squeezed(text: str) -> str:
    return _SPACE.sub(" ", text).strip()
