"""Our accessibility text against a real browser's: the same HTML, the same lines, where a Chromium is installed.

Chromium's tree is turned into text by WebArena's own rules, written out here once more. Left out, as newer than
WebArena: the addresses of links, and the boxes of inline text.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from tasks.webarena.accessibility import Document, ElementIds
from tasks.webarena.actions import Action
from tasks.webarena.browser import Browser
from tasks.webarena.site import Site

WORLD = "test-world"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATHS = {
    "shop": ("/", "/search?q=zz", "/category/Garden", "/product/3", "/product/3/reviews", "/cart", "/orders", "/none"),
    "forum": ("/", "/f/books", "/f/books/2", "/submit/books"),
    "admin": ("/", "/products?q=e", "/product/3", "/orders"),
}
URLS = [f"http://{host}{path}" for host, paths in PATHS.items() for path in paths]
NOT_PRINTED = {"focusable", "editable", "readonly", "level", "settable", "multiline", "invalid", "url"}
NOT_PRINTED_EMPTY = set("generic img list strong paragraph banner navigation Section LabelText Legend listitem".split())


@pytest.fixture(scope="module")
def site() -> Site:
    """Our sites after some use."""
    site = Site(WORLD)
    site.post("http://shop/cart/add/3", {})
    site.post("http://shop/product/3/reviews", {"text": 'it\'s 5 < 6 & "fine"  really'})
    site.post("http://forum/f/books/2/comment", {"text": "<b>no</b> tags"})
    site.post("http://forum/f/books/2/vote", {})
    return site


@pytest.fixture(scope="module")
def nodes_of(site: Site) -> Iterator[Callable[..., list[dict[str, Any]]]]:
    """Address, and what to type and where -> nodes of Chromium's accessibility tree."""
    playwright = pytest.importorskip("playwright.sync_api", reason="install playwright to compare with a Chromium")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.route("**/*", lambda route: route.fulfill(body=_source(site, route.request.url), content_type="text/html"))
        session = page.context.new_cdp_session(page)
        session.send("Accessibility.enable")

        def fetch(url: str, field: str = "", typed: str = "") -> list[dict[str, Any]]:
            page.goto(url)
            if field:
                page.click(f"[aria-label='{field}']")
                page.keyboard.type(typed)
            return session.send("Accessibility.getFullAXTree")["nodes"]

        yield fetch
        browser.close()


def _source(site: Site, url: str) -> str:
    response = site.get(url)
    return "" if response is None else response.html


@pytest.mark.parametrize("url", URLS)
def test_a_page_reads_as_in_chromium(url: str, site: Site, nodes_of: Callable[..., list[dict[str, Any]]]) -> None:
    ours = Document(url, _source(site, url), ElementIds(np.random.default_rng(0))).text()
    assert without_ids(ours) == text_of(nodes_of(url))


@pytest.mark.parametrize("path, field, typed", [("shop/", "Search", "Zen Q"), ("admin/product/3", "On sale", "")])
def test_fields_read_as_in_chromium(
    path: str, field: str, typed: str, site: Site, nodes_of: Callable[..., list[dict[str, Any]]]
) -> None:
    url = f"http://{path}"
    browser = Browser(site, ElementIds(np.random.default_rng(0)), [url])
    number = next(n.id for n in browser.document.nodes() if n.name == field and n.role in ("textbox", "checkbox"))
    browser.act(Action("type", str(number), typed) if typed else Action("click", str(number)))
    assert without_ids(browser.document.text()) == text_of(nodes_of(url, field, typed))


def without_ids(text: str) -> str:
    return re.sub(r"(?m)^(\t*)\[\d+\]", r"\1[]", text)


def text_of(nodes: list[dict[str, Any]]) -> str:
    """Chromium's tree as WebArena prints it, without ids."""
    by_id: dict[str, dict[str, Any]] = {}
    for node in nodes:
        by_id.setdefault(node["nodeId"], node)
    kept: list[str] = []
    for line in _lines(nodes[0], 0, by_id):
        static = re.search(r"\[\] StaticText (.+)", line, re.S)
        if static is None or _is_new(static[1][1:-1], kept[-3:]):
            kept.append(line)
    return "\n".join(kept)


def _is_new(text: str, before: list[str]) -> bool:
    return bool(text) and all(text not in line for line in before)


def _lines(node: Mapping[str, Any], depth: int, by_id: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    line = None if node.get("ignored") or "name" not in node else _line(node)
    if line is not None:
        yield "\t" * depth + line
    for child in node.get("childIds", []):
        if child in by_id:
            yield from _lines(by_id[child], depth + (line is not None), by_id)


def _line(node: Mapping[str, Any]) -> str | None:
    role, name = node["role"]["value"], node["name"]["value"]
    printed = [p for p in node.get("properties", []) if p["name"] not in NOT_PRINTED]
    empty = not name.strip() and (role == "listitem" or (not printed and role in NOT_PRINTED_EMPTY))
    if empty or role == "InlineTextBox":
        return None
    return " ".join([f"[] {role} {name!r}", *(f"{p['name']}: {p['value']['value']}" for p in printed)])
