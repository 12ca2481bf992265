"""The two experts that demonstrations come from: their ways, their habits and their noise.

Both know what the sites hold and go by role and name; the ids they write are read off the page they see. Expert `a`
searches, ends what it types with Enter and stops without a word. Expert `b` browses by category, types without Enter,
points at a button before it presses it, and says that it is done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

from tasks.webarena.configs import WebTask
from tasks.webarena.exploration import Listed, listed
from tasks.webarena.generator import TEMPLATES
from tasks.webarena.site import Site

Mix = Literal["a", "b"]
_EVENTS = ("stray", "garble", "slip", "hover", "scroll")
_EVENT_WEIGHTS = (0.35, 0.2, 0.2, 0.15, 0.1)


class Act(NamedTuple):
    """A decision: an action whose element is given by role and name."""

    verb: str
    role: str = ""
    name: str = ""
    text: str = ""
    enter: bool = True


BACK = "go_back"
_Way = list[Act]


def render(act: Act, observation: str) -> str | None:
    """Words an act for the page the agent sees; None where the page has no such element."""
    if not act.role:
        argument = f" [{act.text}]" if act.verb in ("stop", "scroll") else ""
        return f"{act.verb}{argument}"
    number = next((e.id for e in listed(observation).elements if (e.role, e.name) == (act.role, act.name)), None)
    if number is None:
        return None
    return f"type [{number}] [{act.text}] [{int(act.enter)}]" if act.verb == "type" else f"{act.verb} [{number}]"


def plan(task: WebTask, mix: Mix) -> list[Act]:
    """What an expert does, in order, the stop included.

    Raises:
        ValueError: the task is not one of our generator's.
    """
    if task.intent_template_id is None or not 1 <= task.intent_template_id <= len(TEMPLATES):
        raise ValueError(f"task {task.instance} is of no template that the experts know.")
    template = TEMPLATES[task.intent_template_id - 1]
    site = Site(task.world)
    way = _WAYS[template.name](task.instantiation_dict, site, mix)
    site.close()
    references = task.eval.reference_answers
    if references is None:
        return [*way, Act("stop", text="" if mix == "a" else "done")]
    answer = references["exact_match"] if "exact_match" in references else references["must_include"][0]
    return [*way, Act("stop", text=str(answer))]


def _entered(box: str, text: str, button: str, mix: Mix) -> _Way:
    if mix == "a":
        return [Act("type", "textbox", box, text)]
    return [Act("type", "textbox", box, text, enter=False), Act("click", "button", button)]


def _pressed(button: str, mix: Mix) -> _Way:
    press = Act("click", "button", button)
    return [press] if mix == "a" else [press._replace(verb="hover"), press]


def _link(name: str) -> Act:
    return Act("click", "link", name)


def _to_product(given: dict[str, Any], site: Site, mix: Mix) -> _Way:
    if mix == "a":
        return [*_entered("Search", given["product"], "Search", mix), _link(given["product"])]
    category = site.row("SELECT category FROM products WHERE name = ?", given["product"])["category"]
    return [_link(category), _link(given["product"])]


def _to_reviews(given: dict[str, Any], site: Site, mix: Mix) -> _Way:
    query = "SELECT count(*) FROM reviews r JOIN products p ON p.id = r.product WHERE p.name = ?"
    return [*_to_product(given, site, mix), _link(f"Reviews ({site.row(query, given['product'])[0]})")]


def _to_order(given: dict[str, Any], site: Site, mix: Mix) -> _Way:
    return [_link("My Orders"), _link(f"Order {given['order']}")]


def _to_post(given: dict[str, Any], site: Site, mix: Mix) -> _Way:
    return [_link(given["forum"]), _link(given["title"])]


def _to_look(given: dict[str, Any], site: Site, mix: Mix) -> _Way:
    name = _name_of(given["look"], site)
    start = _entered("Search", given["look"], "Search", mix) if mix == "a" else [_link(given["category"])]
    return [*start, _link(name)]


def _name_of(look: str, site: Site) -> str:
    return site.row("SELECT name FROM products WHERE name LIKE ?", f"{look} %")["name"]


def _to_newest(given: dict[str, Any], site: Site, mix: Mix) -> _Way:
    newest = site.row("SELECT title FROM posts WHERE forum = ? ORDER BY id DESC", given["forum"])
    return [_link(given["forum"]), _link(newest["title"])]


def _cancel(given: dict[str, Any], site: Site, mix: Mix) -> _Way:
    end = "max" if given["which"] == "newest" else "min"
    number = site.row(f"SELECT {end}(id) FROM orders")[0]
    return [_link("Orders"), _link(f"Order {number}"), *_pressed("Cancel", mix)]


def _reprice(given: dict[str, Any], site: Site, mix: Mix) -> _Way:
    found = [*_entered("Find product", given["look"], "Find", mix), _link(_name_of(given["look"], site))]
    return [*found, *_entered("New price", str(given["price"]), "Save", mix)]


_WAYS: dict[str, Callable[[dict[str, Any], Site, Mix], _Way]] = {
    "price": _to_product,
    "color": _to_product,
    "reviews": _to_product,
    "rating": _to_reviews,
    "status": _to_order,
    "paid": _to_order,
    "cart": lambda given, site, mix: [*_to_look(given, site, mix), *_pressed("Add to Cart", mix)],
    "category": lambda given, site, mix: [_link(given["category"])],
    "author": _to_post,
    "upvote": lambda given, site, mix: [*_to_newest(given, site, mix), *_pressed("Upvote", mix)],
    "comment": lambda given, site, mix: [
        *_to_newest(given, site, mix),
        *_entered("Comment", given["text"], "Post", mix),
    ],
    "submit": lambda given, site, mix: [
        _link(given["forum"]),
        _link("Submit"),
        *_entered("Title", given["title"], "Create", mix),
    ],
    "reprice": _reprice,
    "cancel": _cancel,
    "bestseller": lambda given, site, mix: [],
}


def noise_event(rng: np.random.Generator, observation: str, upcoming: Act) -> list[str]:
    """Draws a mistake and what undoes it, as written: one action that changes nothing, or one that `go_back` undoes."""
    page = listed(observation)
    kind = str(rng.choice(_EVENTS, p=_EVENT_WEIGHTS))
    links = [e for e in page.elements if e.role == "link" and e.name != upcoming.name]
    if kind == "stray" and links:
        return [f"click [{links[int(rng.integers(len(links)))].id}]", BACK]
    if kind == "garble" and upcoming.verb == "type" and upcoming.name in ("Search", "Find product"):
        at = int(rng.integers(1, len(upcoming.text)))
        wrong = upcoming._replace(text=upcoming.text[:at] + upcoming.text[at + 1 :], enter=True)
        return [render(wrong, observation) or "none", BACK]
    if kind == "slip":
        return [f"click [{_slipped(page, rng)}]"]
    if kind == "hover" and page.elements:
        return [f"hover [{page.elements[int(rng.integers(len(page.elements)))].id}]"]
    return [f"scroll [{'down' if rng.random() < 0.7 else 'up'}]"]


def _slipped(page: Listed, rng: np.random.Generator) -> int:
    """A number that is no element's; numbers just behind the page's own may be those of texts inside links."""
    return max((int(e.id) for e in page.elements), default=0) + int(rng.integers(60, 260))
