"""What WebArena's configs ask of a page in JavaScript: `document.querySelector("...").outerText` and its kin.

Selectors: tag, `#id`, `.class`, `[attribute]`, `[attribute="value"]`, and descendants of these. As in a browser, a
bracket left open at the end is taken as closed (the official configs have some).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import lxml.html
from lxml.etree import XPath

_CALL = re.compile(r"""\.querySelector\(\s*(?:"((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)')\s*\)""")
_VALUE = re.compile(r"""\.(outerText|innerText|textContent|value|getAttribute\(\s*["']([\w-]+)["']\s*\))$""")
_PART = re.compile(r"""([#.])([\w-]+)|\[([\w-]+)(?:=(?:"([^"]*)"|'([^']*)'|([\w-]+)))?(?:\]|$)|(^|(?<=\s))([\w*]+)""")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Expression:
    """What is asked: elements inside of one another, then a property of the last, with the attribute it names."""

    steps: tuple[XPath, ...]
    property: str
    attribute: str | None


@lru_cache(maxsize=4096)
def parsed(expression: str) -> Expression | None:
    """An expression of the form `document.querySelector("...")....property`; None for any other."""
    value = _VALUE.search(expression)
    if not expression.startswith("document.") or value is None:
        return None
    steps, at = [], len("document")
    while at < value.start():
        call = _CALL.match(expression, at)
        step = None if call is None else _xpath(call[1] if call[1] is not None else call[2])
        if call is None or step is None:
            return None
        steps.append(step)
        at = call.end()
    return Expression(tuple(steps), value[1].partition("(")[0], value[2]) if steps else None


def read(document: lxml.html.HtmlElement, expression: Expression) -> str:
    """The text an expression comes to on a page; the empty text where the element or the attribute is not there."""
    element = document
    for step in expression.steps:
        element = next(iter(step(element)), None)
        if element is None:
            return ""
    return _property(element, expression)


def _property(element: lxml.html.HtmlElement, expression: Expression) -> str:
    if expression.attribute:
        return element.get(expression.attribute, "")
    if expression.property == "value":
        return element.get("value", "")
    text = element.text_content()
    return text if expression.property == "textContent" else _SPACE.sub(" ", text).strip()


def _xpath(selector: str) -> XPath | None:
    """A selector as XPath; None where it is not supported."""
    path = "".join(_compound(part) or "?" for part in _split(selector.strip()))
    return XPath(f".{path}") if path and "?" not in path else None


def _compound(selector: str) -> str | None:
    """One compound of a selector (`form.vote[method="post"]`) as an XPath step."""
    conditions, tag, at = [], "*", 0
    while at < len(selector):
        part = _PART.match(selector, at)
        if part is None or part.end() == at:
            return None
        sign, name, attribute, *quoted, _, element = part.groups()
        if element:
            tag = element.lower()
        elif attribute:
            wanted = next((q for q in quoted if q is not None), None)
            conditions.append(f"@{attribute}" if wanted is None else f"@{attribute}={_literal(wanted)}")
        elif sign == "#":
            conditions.append(f"@id={_literal(name)}")
        else:
            conditions.append(f"contains(concat(' ', normalize-space(@class), ' '), {_literal(f' {name} ')})")
        at = part.end()
    return f"//{tag}" + "".join(f"[{condition}]" for condition in conditions)


def _split(selector: str) -> list[str]:
    """Compounds of a selector: at white space outside of brackets."""
    return re.findall(r"(?:\[[^\]]*(?:\]|$)|[^\s\[])+", selector)


def _literal(text: str) -> str:
    return f'"{text}"' if '"' not in text else f"'{text}'"
