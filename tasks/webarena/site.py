"""Our shop, forum and admin site as a function from requests to pages, over one data base per episode."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from tasks.webarena.content import CATEGORIES, CUSTOMER, FORUMS, database
from tasks.webarena.templates import render

HOSTS = {"shopping": "http://shop", "reddit": "http://forum", "shopping_admin": "http://admin"}
"""Site names of WebArena's configs, and where ours are."""
_LINKS = {
    "shop": (("Home", "/"), ("My Orders", "/orders"), ("Cart", "/cart")),
    "forum": (("Forums", "/"),),
    "admin": (("Dashboard", "/"), ("Orders", "/orders"), ("Products", "/products")),
}
_SHOWN = 8
"""Entries of a list that a page shows at most."""


@dataclass(frozen=True, slots=True)
class Response:
    """What a request led to: an address, after redirection, and its HTML."""

    url: str
    html: str


class Site:
    """The three sites of a world.

    Args:
        world: name of its content, see `tasks.webarena.content`.
    """

    def __init__(self, world: str):
        self._db = database(world)

    def close(self) -> None:
        """Frees the data base."""
        self._db.close()

    def get(self, url: str) -> Response | None:
        """Opens an address; None where it is on no site of ours."""
        try:
            parts = urlsplit(url)
        except ValueError:
            return None
        host, path, query = parts.netloc, parts.path or "/", dict(parse_qsl(parts.query))
        if parts.scheme != "http" or host not in _PAGES:
            return None
        for pattern, view in _PAGES[host]:
            match = pattern.fullmatch(path)
            made = view(self, query, *match.groups()) if match else None
            if made is not None:
                template, title, values = made
                return Response(url, render(template, title=title, links=_LINKS[host], **values))
        return Response(url, render("missing", title="Not Found", links=_LINKS[host]))

    def post(self, url: str, form: Mapping[str, str]) -> Response | None:
        """Sends a form; what it changes is changed, and the page that follows is returned."""
        parts = urlsplit(url)
        for pattern, change in _CHANGES.get(parts.netloc, ()):
            match = pattern.fullmatch(parts.path)
            if match:
                return self.get(f"http://{parts.netloc}{change(self, form, *match.groups())}")
        return self.get(url)

    def rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        """Rows of the data base."""
        return self._db.execute(query, values).fetchall()

    def row(self, query: str, *values: object) -> sqlite3.Row | None:
        """The first row of a query, if any."""
        return self._db.execute(query, values).fetchone()


Made = tuple[str, str, dict[str, object]] | None
"""Template, title and values of a page; None where there is none."""
_ORDER = "SELECT o.*, p.name, p.price FROM orders o JOIN products p ON p.id = o.product"


def _shop_home(site: Site, query: Mapping[str, str]) -> Made:
    return "shop_home", "Shop", {"categories": CATEGORIES}


def _category(site: Site, query: Mapping[str, str], name: str) -> Made:
    found = site.rows("SELECT * FROM products WHERE category = ? ORDER BY id", name)
    return ("products", name, {"heading": name, "products": found}) if found else None


def _search(site: Site, query: Mapping[str, str]) -> Made:
    return "products", "Results", {"heading": "Results", "products": _matching(site, query)}


def _matching(site: Site, query: Mapping[str, str]) -> list[sqlite3.Row]:
    """Products whose name holds every word of the query."""
    words = query.get("q", "").lower().split()
    found = site.rows("SELECT * FROM products ORDER BY id")
    return [p for p in found if all(word in p["name"].lower() for word in words)][:_SHOWN]


def _product(site: Site, query: Mapping[str, str], number: str) -> Made:
    product = site.row("SELECT * FROM products WHERE id = ?", number)
    count = site.row("SELECT count(*) FROM reviews WHERE product = ?", number)[0]
    return product and ("product", product["name"], {"p": product, "count": count})


def _reviews(site: Site, query: Mapping[str, str], number: str) -> Made:
    product = site.row("SELECT * FROM products WHERE id = ?", number)
    found = site.rows("SELECT * FROM reviews WHERE product = ? ORDER BY id DESC LIMIT ?", number, _SHOWN)
    return product and ("reviews", "Reviews", {"p": product, "reviews": found})


def _cart(site: Site, query: Mapping[str, str]) -> Made:
    items = site.rows("SELECT p.name, p.price, c.quantity FROM cart c JOIN products p ON p.id = product ORDER BY p.id")
    return "cart", "Cart", {"items": items, "total": sum(i["price"] * i["quantity"] for i in items)}


def _my_orders(site: Site, query: Mapping[str, str]) -> Made:
    found = site.rows("SELECT * FROM orders WHERE customer = ? ORDER BY id DESC LIMIT ?", CUSTOMER, _SHOWN)
    return "orders", "My Orders", {"heading": "My Orders", "orders": found}


def _my_order(site: Site, query: Mapping[str, str], number: str) -> Made:
    order = site.row(f"{_ORDER} WHERE o.id = ? AND o.customer = ?", number, CUSTOMER)
    return order and ("order", f"Order {number}", {"o": order, "admin": False})


def _forum_home(site: Site, query: Mapping[str, str]) -> Made:
    return "forum_home", "Forums", {"forums": FORUMS}


def _forum(site: Site, query: Mapping[str, str], name: str) -> Made:
    found = site.rows("SELECT * FROM posts WHERE forum = ? ORDER BY id DESC LIMIT ?", name, _SHOWN)
    return ("forum", name, {"forum": name, "posts": found}) if name in FORUMS else None


def _post(site: Site, query: Mapping[str, str], forum: str, number: str) -> Made:
    post = site.row("SELECT * FROM posts WHERE forum = ? AND id = ?", forum, number)
    found = site.rows("SELECT * FROM comments WHERE post = ? ORDER BY id DESC LIMIT ?", number, _SHOWN)
    return post and ("post", post["title"], {"p": post, "comments": found})


def _new_post(site: Site, query: Mapping[str, str], forum: str) -> Made:
    return ("submit", "Submit", {"forum": forum}) if forum in FORUMS else None


def _admin_home(site: Site, query: Mapping[str, str]) -> Made:
    best = site.rows("SELECT * FROM products ORDER BY sold DESC, id LIMIT 3")
    return "admin_home", "Dashboard", {"best": best}


def _admin_products(site: Site, query: Mapping[str, str]) -> Made:
    return "products", "Products", {"heading": "Products", "products": _matching(site, query)}


def _admin_product(site: Site, query: Mapping[str, str], number: str) -> Made:
    product = site.row("SELECT * FROM products WHERE id = ?", number)
    return product and ("edit", product["name"], {"p": product})


def _admin_orders(site: Site, query: Mapping[str, str]) -> Made:
    found = site.rows("SELECT * FROM orders ORDER BY id DESC LIMIT ?", _SHOWN)
    return "orders", "Orders", {"heading": "Orders", "orders": found}


def _admin_order(site: Site, query: Mapping[str, str], number: str) -> Made:
    order = site.row(f"{_ORDER} WHERE o.id = ?", number)
    return order and ("order", f"Order {number}", {"o": order, "admin": True})


def _add_to_cart(site: Site, form: Mapping[str, str], number: str) -> str:
    site.rows("INSERT INTO cart SELECT id, 0 FROM products WHERE id = ? ON CONFLICT DO NOTHING", number)
    site.rows("UPDATE cart SET quantity = quantity + 1 WHERE product = ?", number)
    return "/cart"


def _place_order(site: Site, form: Mapping[str, str]) -> str:
    for item in site.rows("SELECT * FROM cart ORDER BY product"):
        values = (CUSTOMER, item["product"], item["quantity"])
        site.rows("INSERT INTO orders (customer, product, quantity, status) VALUES (?, ?, ?, 'pending')", *values)
    site.rows("DELETE FROM cart")
    return "/orders"


def _add_review(site: Site, form: Mapping[str, str], number: str) -> str:
    if form.get("text"):
        said = (number, CUSTOMER, form["text"])
        site.rows("INSERT INTO reviews (product, author, rating, text) VALUES (?, ?, 5, ?)", *said)
    return f"/product/{number}/reviews"


def _vote(site: Site, form: Mapping[str, str], forum: str, number: str) -> str:
    site.rows("UPDATE posts SET votes = votes + 1 - 2 * voted, voted = 1 - voted WHERE id = ?", number)
    return f"/f/{forum}/{number}"


def _comment(site: Site, form: Mapping[str, str], forum: str, number: str) -> str:
    if form.get("text"):
        said = (number, CUSTOMER, form["text"])
        site.rows("INSERT INTO comments (post, author, text) VALUES (?, ?, ?)", *said)
    return f"/f/{forum}/{number}"


def _create_post(site: Site, form: Mapping[str, str], forum: str) -> str:
    if not form.get("title") or forum not in FORUMS:
        return f"/submit/{forum}"
    values = (forum, form["title"], CUSTOMER, form.get("body", ""))
    query = "INSERT INTO posts (forum, title, author, body, votes, voted) VALUES (?, ?, ?, ?, 1, 0) RETURNING id"
    return f"/f/{forum}/{site.row(query, *values)['id']}"


def _save_product(site: Site, form: Mapping[str, str], number: str) -> str:
    price = re.fullmatch(r"\s*\$?(\d{1,6})\s*", form.get("price", ""))
    if price:
        site.rows("UPDATE products SET price = ? WHERE id = ?", int(price[1]), number)
    return f"/product/{number}"


def _set_status(status: str) -> Callable[..., str]:
    def change(site: Site, form: Mapping[str, str], number: str) -> str:
        site.rows("UPDATE orders SET status = ? WHERE id = ?", status, number)
        return f"/order/{number}"

    return change


_Routes = dict[str, tuple[tuple[re.Pattern[str], Callable], ...]]


def _routes(table: Mapping[str, Mapping[str, Callable]]) -> _Routes:
    return {host: tuple((re.compile(path), view) for path, view in views.items()) for host, views in table.items()}


_PAGES = _routes(
    {
        "shop": {
            "/": _shop_home,
            r"/category/(\w+)": _category,
            "/search": _search,
            r"/product/(\d+)": _product,
            r"/product/(\d+)/reviews": _reviews,
            "/cart": _cart,
            "/orders": _my_orders,
            r"/order/(\d+)": _my_order,
        },
        "forum": {
            "/": _forum_home,
            r"/f/(\w+)": _forum,
            r"/f/(\w+)/(\d+)": _post,
            r"/submit/(\w+)": _new_post,
        },
        "admin": {
            "/": _admin_home,
            "/products": _admin_products,
            r"/product/(\d+)": _admin_product,
            "/orders": _admin_orders,
            r"/order/(\d+)": _admin_order,
        },
    }
)
_CHANGES = _routes(
    {
        "shop": {
            r"/cart/add/(\d+)": _add_to_cart,
            "/cart/order": _place_order,
            r"/product/(\d+)/reviews": _add_review,
        },
        "forum": {
            r"/f/(\w+)/(\d+)/vote": _vote,
            r"/f/(\w+)/(\d+)/comment": _comment,
            r"/submit/(\w+)": _create_post,
        },
        "admin": {
            r"/product/(\d+)": _save_product,
            r"/order/(\d+)/cancel": _set_status("canceled"),
            r"/order/(\d+)/ship": _set_status("shipped"),
        },
    }
)
