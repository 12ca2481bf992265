"""WebArena's scores: the answer, the address at the end, what stands on pages. A task's score is their product, 0 or 1.

The rules are those of WebArena's own evaluators, the lenient ones included (an address matches that contains the wanted
one; a reference of one character must be a word of the answer). What needs a language model as a judge is refused.
"""

from __future__ import annotations

import html
import re
from urllib.parse import parse_qs, urlsplit

import lxml.html

from tasks.webarena.accessibility import Document
from tasks.webarena.configs import HtmlCheck, WebTask, resolved
from tasks.webarena.selectors import parsed, read
from tasks.webarena.site import Site

_WORDS = re.compile(r"\d+(?:[.,]\d+)*|\w+|[^\w\s]")
_OR = " |OR| "


def score(task: WebTask, answer: str, document: Document, site: Site) -> float:
    """The score of an episode, 0 or 1.

    Args:
        task: says how it is scored.
        answer: what the agent answered.
        document: the page in front at the end.
        site: the sites as they are at the end.

    Raises:
        ValueError: it cannot be scored here, see `WebTask.unplayable`.
    """
    reason = task.unplayable()
    if reason is not None:
        raise ValueError(f"task {task.instance} {reason}.")
    passed = True
    for kind in task.eval.eval_types:
        if kind == "string_match":
            passed &= _string_match(task.eval.reference_answers or {}, answer)
        elif kind == "url_match":
            passed &= _url_match(task, document.url)
        else:
            passed &= all(_html_match(check, document, site) for check in task.eval.program_html or [])
    return float(passed)


def clean(answer: str) -> str:
    """An answer in lower case, without the quotation marks around it."""
    answer = answer.strip()
    if len(answer) > 1 and answer[0] == answer[-1] and answer[0] in "'\"":
        answer = answer[1:-1]
    return answer.lower()


def includes(reference: str, answer: str, as_word: bool = False) -> bool:
    """Whether an answer contains a reference; with `as_word`, one of a single character must be a word of its own."""
    reference, answer = clean(reference), clean(answer)
    if as_word and len(reference) == 1:
        return reference in _WORDS.findall(answer)
    return reference in answer


def _string_match(references: dict[str, object], answer: str) -> bool:
    passed = True
    for kind, wanted in references.items():
        if kind == "exact_match":
            passed &= clean(str(wanted)) == clean(answer)
        else:
            passed &= all(includes(str(one), answer, as_word=len(wanted) == 1) for one in wanted)
    return passed


def _url_match(task: WebTask, url: str) -> bool:
    wanted = [urlsplit(resolved(one).rstrip("/")) for one in (task.eval.reference_url or "").split(_OR)]
    reached = urlsplit(url.rstrip("/"))
    queries: dict[str, set[str]] = {}
    for one in wanted:
        for key, values in parse_qs(one.query).items():
            queries.setdefault(key, set()).update(values)
    given = parse_qs(reached.query)
    return any(one.netloc + one.path in reached.netloc + reached.path for one in wanted) and all(
        values & set(given.get(key, [])) for key, values in queries.items()
    )


def _html_match(check: HtmlCheck, document: Document, site: Site) -> bool:
    shown = document.html if check.url == "last" else _source(site, resolved(check.url))
    if check.locator.strip():
        root = document.root if check.url == "last" else lxml.html.document_fromstring(shown)
        shown = read(root, parsed(check.locator))
    shown = html.unescape(shown)
    passed = True
    for kind, wanted in check.required_contents.items():
        if kind == "exact_match":
            passed &= clean(str(wanted)) == clean(shown)
        else:
            passed &= all(any(includes(part, shown) for part in str(one).split(_OR)) for one in wanted)
    return passed


def _source(site: Site, url: str) -> str:
    response = site.get(url)
    return "<html></html>" if response is None else response.html
