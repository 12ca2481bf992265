"""Tasks on our sites, drawn from what a world holds, as configs in WebArena's own schema.

Most goals do not spell out what has to be clicked or answered ("the Amber product", "the newest post"): an agent that
acts by name must read the pages, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bench.rng import rng_for
from tasks.webarena.configs import WebTask
from tasks.webarena.content import CATEGORIES, CUSTOMER, FORUMS
from tasks.webarena.site import Site

Split = Literal["train", "evaluation"]
TASKS_PER_WORLD = 5
_REMARKS = ("Well said.", "I will try that.", "Same here.", "Good point.", "Tell us more.", "Not in my town.")
_TITLES = ("Notes on {}", "My week with {}", "Enough of {}", "Ten thoughts on {}")
_SUBJECTS = ("paper boats", "tea", "long walks", "small gardens", "rain", "loud clocks", "late trains", "plain food")

Drawn = tuple[dict[str, Any], dict[str, Any]]
"""What fills the template, and how the episode is scored."""


@dataclass(frozen=True)
class Template:
    """One kind of task.

    Attributes:
        name: what the experts know it by.
        site: where it begins.
        intent: with the names of what fills it in double braces, as WebArena writes them.
        draw: fills it from a world.
    """

    name: str
    site: str
    intent: str
    draw: Callable[[Site, np.random.Generator], Drawn]

    @property
    def number(self) -> int:
        """Its `intent_template_id`."""
        return TEMPLATES.index(self) + 1


def _answer(**references: Any) -> dict[str, Any]:
    return {"eval_types": ["string_match"], "reference_answers": references, "reference_url": "", "program_html": []}


def _page(url: str, locator: str, **required: Any) -> dict[str, Any]:
    check = {"url": url, "locator": locator, "required_contents": required}
    return {"eval_types": ["program_html"], "reference_answers": None, "reference_url": "", "program_html": [check]}


def _text_of(selector: str) -> str:
    return f"document.querySelector('{selector}').outerText"


def _one(site: Site, rng: np.random.Generator, table: str, where: str = "1") -> dict[str, Any]:
    found = site.rows(f"SELECT * FROM {table} WHERE {where} ORDER BY id")
    return dict(found[int(rng.integers(len(found)))])


def _pick(options: tuple[str, ...], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _look(product: dict[str, Any]) -> str:
    return product["name"].split(" ")[0]


def _one_of_its_look(site: Site, rng: np.random.Generator) -> dict[str, Any]:
    """A product that is the only one of its look, so that the look says which one is meant."""
    look = "substr(name, 1, instr(name, ' '))"
    return _one(site, rng, "products", f"{look} IN (SELECT {look} FROM products GROUP BY 1 HAVING count(*) = 1)")


def _newest_post(site: Site, rng: np.random.Generator) -> dict[str, Any]:
    forum = _pick(FORUMS, rng)
    return dict(site.row("SELECT * FROM posts WHERE forum = ? ORDER BY id DESC", forum))


def _price(site: Site, rng: np.random.Generator) -> Drawn:
    product = _one(site, rng, "products")
    return {"product": product["name"]}, _answer(exact_match=f"${product['price']}")


def _color(site: Site, rng: np.random.Generator) -> Drawn:
    product = _one(site, rng, "products")
    return {"product": product["name"]}, _answer(must_include=[product["color"]])


def _rating(site: Site, rng: np.random.Generator) -> Drawn:
    review = _one(site, rng, "reviews")
    product = _one(site, rng, "products", f"id = {review['product']}")
    return {"author": review["author"], "product": product["name"]}, _answer(exact_match=str(review["rating"]))


def _reviews(site: Site, rng: np.random.Generator) -> Drawn:
    product = _one(site, rng, "products")
    count = site.row("SELECT count(*) FROM reviews WHERE product = ?", product["id"])[0]
    return {"product": product["name"]}, _answer(must_include=[str(count)])


def _status(site: Site, rng: np.random.Generator) -> Drawn:
    order = _one(site, rng, "orders", f"customer = '{CUSTOMER}'")
    return {"order": order["id"]}, _answer(must_include=[order["status"]])


def _paid(site: Site, rng: np.random.Generator) -> Drawn:
    order = _one(site, rng, "orders", f"customer = '{CUSTOMER}'")
    product = _one(site, rng, "products", f"id = {order['product']}")
    return {"order": order["id"]}, _answer(exact_match=f"${product['price'] * order['quantity']}")


def _cart(site: Site, rng: np.random.Generator) -> Drawn:
    product = _one_of_its_look(site, rng)
    scored = _page("__SHOPPING__/cart", _text_of("#cart"), must_include=[product["name"]])
    return {"look": _look(product), "category": product["category"]}, scored


def _category(site: Site, rng: np.random.Generator) -> Drawn:
    name = _pick(CATEGORIES, rng)
    scored = {"eval_types": ["url_match"], "reference_answers": None, "reference_url": f"__SHOPPING__/category/{name}"}
    return {"category": name}, {**scored, "program_html": [], "url_note": "GOLD in PRED"}


def _author(site: Site, rng: np.random.Generator) -> Drawn:
    post = _one(site, rng, "posts")
    return {"title": post["title"], "forum": post["forum"]}, _answer(must_include=[post["author"]])


def _upvote(site: Site, rng: np.random.Generator) -> Drawn:
    post = _newest_post(site, rng)
    locator = "document.querySelector('form.vote').getAttribute('class')"
    scored = _page(f"__REDDIT__/f/{post['forum']}/{post['id']}", locator, must_include=["upvoted"])
    return {"forum": post["forum"]}, scored


def _comment(site: Site, rng: np.random.Generator) -> Drawn:
    post, text = _newest_post(site, rng), _pick(_REMARKS, rng)
    url = f"__REDDIT__/f/{post['forum']}/{post['id']}"
    scored = _page(url, _text_of("#comments"), must_include=[f"{CUSTOMER}: {text}"])
    return {"text": text, "forum": post["forum"]}, scored


def _submit(site: Site, rng: np.random.Generator) -> Drawn:
    forum, title = _pick(FORUMS, rng), _pick(_TITLES, rng).format(_pick(_SUBJECTS, rng))
    return {"title": title, "forum": forum}, _page(f"__REDDIT__/f/{forum}", _text_of("ul"), must_include=[title])


def _reprice(site: Site, rng: np.random.Generator) -> Drawn:
    product, price = _one_of_its_look(site, rng), int(rng.integers(3, 96))
    price += price == product["price"]
    scored = _page(f"__SHOPPING_ADMIN__/product/{product['id']}", _text_of(".price"), exact_match=f"Price: ${price}")
    return {"look": _look(product), "price": price}, scored


def _cancel(site: Site, rng: np.random.Generator) -> Drawn:
    which = _pick(("newest", "oldest"), rng)
    order = site.row(f"SELECT * FROM orders ORDER BY id {'DESC' if which == 'newest' else 'ASC'}")
    url = f"__SHOPPING_ADMIN__/order/{order['id']}"
    return {"which": which}, _page(url, _text_of(".status"), exact_match="Status: canceled")


def _bestseller(site: Site, rng: np.random.Generator) -> Drawn:
    place = int(rng.integers(3))
    best = site.rows("SELECT * FROM products ORDER BY sold DESC, id LIMIT 3")
    return {"place": place + 1}, _answer(exact_match=best[place]["name"])


TEMPLATES = (
    Template("price", "shopping", "What is the price of the {{product}}?", _price),
    Template("author", "reddit", 'Who wrote the post "{{title}}" in the forum {{forum}}?', _author),
    Template("cancel", "shopping_admin", "Cancel the {{which}} order.", _cancel),
    Template("cart", "shopping", "Add the {{look}} product of {{category}} to my cart.", _cart),
    Template("upvote", "reddit", "Upvote the newest post in the forum {{forum}}.", _upvote),
    Template("reprice", "shopping_admin", "Set the price of the {{look}} product to {{price}} dollars.", _reprice),
    Template("rating", "shopping", "How many stars did {{author}} give the {{product}}?", _rating),
    Template("comment", "reddit", 'Comment "{{text}}" on the newest post in the forum {{forum}}.', _comment),
    Template("bestseller", "shopping_admin", "What is the number {{place}} best-selling product?", _bestseller),
    Template("status", "shopping", "What is the status of my order {{order}}?", _status),
    Template("submit", "reddit", 'Write a new post "{{title}}" in the forum {{forum}}.', _submit),
    Template("color", "shopping", "What is the color of the {{product}}?", _color),
    Template("paid", "shopping", "What is the total of my order {{order}}?", _paid),
    Template("category", "shopping", "Show me the category {{category}}.", _category),
    Template("reviews", "shopping", "How many reviews does the {{product}} have?", _reviews),
)


def generate(split: Split, count: int, seed: int = 0) -> tuple[WebTask, ...]:
    """The first tasks of a split; `TASKS_PER_WORLD` share a world, and the kinds of task take turns.

    Worlds of the splits are different ones: no price, author or order number that an agent has met in training answers
    an evaluation task.

    Args:
        split: train or evaluation.
        count: how many; the first ones are the same whatever the count.
        seed: of worlds and tasks.
    """
    tasks: list[WebTask] = []
    for start in range(0, count, TASKS_PER_WORLD):
        world = f"{split}-{seed}-{start // TASKS_PER_WORLD}"
        site = Site(world)
        tasks += [_task(site, world, number) for number in range(start, min(count, start + TASKS_PER_WORLD))]
        site.close()
    return tuple(tasks)


def _task(site: Site, world: str, number: int) -> WebTask:
    template = TEMPLATES[number % len(TEMPLATES)]
    filled, scored = template.draw(site, rng_for("webarena", "task", world, number))
    intent = template.intent
    for name, value in filled.items():
        intent = intent.replace("{{" + name + "}}", str(value))
    return WebTask(
        sites=[template.site],
        task_id=number,
        require_login=True,
        storage_state=None,
        start_url=f"__{template.site.upper()}__",
        geolocation=None,
        intent_template=template.intent,
        instantiation_dict=filled,
        intent=intent,
        require_reset=True,
        eval=scored,
        intent_template_id=template.number,
        world=world,
    )
