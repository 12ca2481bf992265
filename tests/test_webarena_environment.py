"""WebArena-style episodes: page text, the whole action grammar, configs, scores, and what a bad action does."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import lxml.html
import numpy as np
import pytest

from bench.errors import DataError
from tasks.webarena.accessibility import Document, ElementIds
from tasks.webarena.actions import Action, ActionError, parse_action
from tasks.webarena.configs import WebTask, read_configs, resolved, write_configs
from tasks.webarena.content import FORUMS, database
from tasks.webarena.environment import WebEnvironment
from tasks.webarena.evaluators import includes, score
from tasks.webarena.selectors import parsed, read
from tasks.webarena.site import Site

WORLD = "test-world"


def config(number: int = 1, start: str = "__SHOPPING__", **evaluation: Any) -> dict[str, Any]:
    """A config in WebArena's schema."""
    return {
        "sites": ["shopping", "reddit", "shopping_admin"],
        "task_id": number,
        "require_login": True,
        "storage_state": None,
        "start_url": start,
        "geolocation": None,
        "intent_template": "Do {{what}}.",
        "instantiation_dict": {"what": "it"},
        "intent": "Do it.",
        "require_reset": False,
        "eval": {"eval_types": ["string_match"], "reference_answers": {"exact_match": "yes"}, **evaluation},
        "intent_template_id": 1,
        "world": WORLD,
    }


def started(seed: int = 0, start: str = "__SHOPPING__", **evaluation: Any) -> tuple[WebEnvironment, str]:
    """An environment in an episode, and its first page."""
    env = WebEnvironment([WebTask.model_validate(config(1, start, **evaluation))], np.random.default_rng(seed))
    goal, text = env.reset(f"{WORLD}/1")
    assert goal == "Do it."
    return env, text


def number_of(text: str, role: str, name: str) -> str:
    """The id of an element on a page."""
    return re.search(rf"\[(\d+)\] {role} '{re.escape(name)}'", text)[1]


def do(env: WebEnvironment, action: str) -> str:
    """The page after an action that does not end the episode."""
    text, reward, done = env.step(action)
    assert (reward, done) == (0.0, False)
    return text


def shape(text: str) -> str:
    """A page without its ids."""
    return re.sub(r"\[\d+\]", "[]", text)


PRODUCT = database(WORLD).execute("SELECT * FROM products WHERE id = 9").fetchone()
ORDER = database(WORLD).execute("SELECT * FROM orders ORDER BY id").fetchone()
POST = database(WORLD).execute("SELECT * FROM posts WHERE id = 2").fetchone()


def test_a_page_is_shown_as_webarena_shows_it() -> None:
    env, text = started()
    assert shape(text) == (
        "Tab 0 (current): Shop\n\n"
        "[] RootWebArea 'Shop' focused: True\n\t[] link 'Home'\n\t[] link 'My Orders'\n\t[] link 'Cart'\n\t[] main ''\n"
        "\t\t[] heading 'Shop'\n\t\t[] form ''\n\t\t\t[] textbox 'Search' required: False\n\t\t\t[] button 'Search'\n"
        "\t\t[] link 'Kitchen'\n\t\t[] link 'Garden'\n\t\t[] link 'Office'\n\t\t[] link 'Sports'"
    )
    page = do(env, f"goto [http://shop/product/{PRODUCT['id']}]")
    assert f"\t\t[] StaticText 'Price: ${PRODUCT['price']}'\n" in shape(page)
    assert all(line.count("[") == 1 for line in page.splitlines()[2:])


def test_text_that_a_line_just_above_has_is_left_out() -> None:
    html = "<body><h1>One two</h1><p>two</p><p>three</p><a href='/x'>It's <b>\"so\"</b></a><p>two</p><ul></ul></body>"
    lines = shape(Document("u", html, ElementIds(np.random.default_rng(0))).text()).splitlines()
    assert lines == [
        "[] RootWebArea '' focused: True",
        "\t[] heading 'One two'",
        "\t[] StaticText 'three'",
        "\t[] link 'It\\'s \"so\"'",
        '\t\t[] StaticText "It\'s"',  # not as the link's name has it: WebArena compares texts as they are printed
        "\t[] StaticText 'two'",
    ]


def test_ids_are_other_ones_in_every_episode_and_stay_while_a_page_is_open() -> None:
    env, first = started()
    later = do(env, "scroll [down]")
    assert later == first
    _, again = env.reset(f"{WORLD}/1")
    assert again != first and shape(again) == shape(first)
    typed = do(env, f"type [{number_of(again, 'textbox', 'Search')}] [cup] [0]")
    assert number_of(typed, "link", "Garden") == number_of(again, "link", "Garden")
    seen: set[str] = set()
    for url in ("http://forum", "http://admin", "http://shop"):
        ids = set(re.findall(r"^\t*\[(\d+)\]", do(env, f"goto [{url}]"), re.M))
        assert not ids & seen
        seen |= ids


def test_an_episode_leaves_the_next_one_untouched() -> None:
    env, _ = started()
    page = do(env, f"goto [http://shop/product/{PRODUCT['id']}]")
    assert PRODUCT["name"] in do(env, f"click [{number_of(page, 'button', 'Add to Cart')}]")
    env.reset(f"{WORLD}/1")
    assert "Your cart is empty." in do(env, "goto [http://shop/cart]")


def test_typing_searching_and_history() -> None:
    env, home = started()
    box = number_of(home, "textbox", "Search")
    typed = do(env, f"type [{box}] [{PRODUCT['name'][:3]}] [0]")
    assert "textbox 'Search' focused: True required: False\n\t\t\t\t[" in typed
    assert f"StaticText '{PRODUCT['name'][:3]}'" in typed
    found = do(env, f"type [{box}] [{PRODUCT['name'][3:]}]")  # typed behind what stands there, then Enter
    assert "Tab 0 (current): Results" in found and f"link '{PRODUCT['name']}'" in found
    page = do(env, f"click [{number_of(found, 'link', PRODUCT['name'])}]")
    assert page.startswith(f"Tab 0 (current): {PRODUCT['name']}")
    assert shape(do(env, "go_back")) == shape(found)
    assert shape(do(env, "go_back")) == shape(home)
    assert shape(do(env, "scroll [up]")) == shape(do(env, "go_back")) == shape(home)  # there is nothing further back
    assert shape(do(env, "go_forward")) == shape(found)
    assert "No products found." in do(env, "goto [http://shop/search?q=nothing+like+it]")
    assert "RootWebArea 'Results'" in do(env, "go_forward")


def test_keys() -> None:
    env, home = started()
    box = number_of(home, "textbox", "Search")
    do(env, f"type [{box}] [lamp] [0]")
    assert "StaticText 'lam'" in do(env, "press [Backspace]")
    do(env, "press [Control+a]")
    assert "StaticText 'Q'" in do(env, "press [Q]")
    do(env, "press [Meta+a]")
    assert "StaticText 'Q'" not in do(env, "press [Delete]")
    assert "button 'Search' focused: True" in do(env, "press [Tab]")
    assert "Tab 0 (current): Results" in do(env, "press [Enter]")
    assert do(env, "press [F5]") == do(env, "hover [99999]")


def test_tabs() -> None:
    env, home = started()
    blank = do(env, "new_tab")
    assert shape(blank) == "Tab 0: Shop | Tab 1 (current): \n\n[] RootWebArea '' focused: True"
    forum = do(env, "goto [http://forum]")
    assert forum.startswith("Tab 0: Shop | Tab 1 (current): Forums\n\n")
    assert all(f"link '{name}'" in forum for name in FORUMS)
    assert do(env, "tab_focus [0]").startswith("Tab 0 (current): Shop | Tab 1: Forums")
    assert do(env, "tab_focus [7]").startswith("Tab 0 (current): Shop | Tab 1: Forums")
    assert do(env, "close_tab").startswith("Tab 0 (current): Forums\n\n")
    assert shape(do(env, "close_tab")) == "Tab 0 (current): \n\n[] RootWebArea '' focused: True"
    _, two = started(start="__SHOPPING__ |AND| __REDDIT__/f/books")
    assert two.startswith("Tab 0: Shop | Tab 1 (current): books\n\n")


def test_forum_and_admin_change_what_they_say() -> None:
    env, _ = started()
    page = do(env, f"goto [http://forum/f/{POST['forum']}/2]")
    page = do(env, f"click [{number_of(page, 'button', 'Upvote')}]")
    assert f"Votes: {POST['votes'] + 1}" in page and "button 'Retract upvote'" in page
    page = do(env, f"type [{number_of(page, 'textbox', 'Comment')}] [I <b>agree</b>.] [1]")
    assert "StaticText 'Robin: I <b>agree</b>.'" in page
    assert page == do(env, f"click [{number_of(page, 'heading', POST['title'])}]")
    do(env, "goto [http://forum/submit/books]")
    page = do(env, "goto [http://forum/submit/books]")
    do(env, f"type [{number_of(page, 'textbox', 'Title')}] [New old books] [0]")
    assert "StaticText 'by Robin'" in do(env, f"click [{number_of(page, 'button', 'Create')}]")
    page = do(env, f"goto [http://admin/product/{PRODUCT['id']}]")
    box = number_of(page, "checkbox", "On sale")
    assert "checkbox 'On sale' focused: True checked: true" in do(env, f"click [{box}]")
    page = do(env, f"type [{number_of(page, 'textbox', 'New price')}] [1234] [1]")
    assert "Price: $1234" in page
    page = do(env, f"type [{number_of(page, 'textbox', 'New price')}] [cheap] [1]")
    assert "Price: $1234" in page
    page = do(env, f"goto [http://admin/order/{ORDER['id']}]")
    assert "Status: canceled" in do(env, f"click [{number_of(page, 'button', 'Cancel')}]")


def test_a_required_field_holds_a_form_back() -> None:
    env, page = started(start="__SHOPPING__/product/3/reviews")
    after = do(env, f"click [{number_of(page, 'button', 'Submit Review')}]")
    assert "button 'Submit Review' focused: True" in after
    assert "Robin" not in after
    assert "Robin: 5 of 5. fine" in do(env, f"type [{number_of(page, 'textbox', 'Your review')}] [fine] [1]")


@pytest.mark.parametrize("url", ["http://elsewhere/", "https://shop/", "shop", "http://", "http://[", "javascript:1"])
def test_an_address_that_is_not_ours_changes_nothing(url: str) -> None:
    env, home = started()
    assert do(env, f"goto [{url}]") == home


def test_a_page_that_is_not_there_says_so() -> None:
    env, _ = started()
    for path in ("/nothing", "/product/99999999999999999999", "/category/Cars", "/order/1", "/search/x"):
        assert "Tab 0 (current): Not Found" in do(env, f"goto [http://shop{path}]")


def test_the_action_grammar() -> None:
    read_as = {
        "click [12]": Action("click", "12"),
        "hover [3] now": Action("hover", "3"),
        "type [4] [a [b] c] [0]": Action("type", "4", "a [b] c", False),
        "type [4] [text]": Action("type", "4", "text", True),
        "type [4] [text] [1]": Action("type", "4", "text", True),
        "press [Control+v]": Action("press", text="Control+v"),
        "scroll [up]": Action("scroll", text="up"),
        "scroll down": Action("scroll", text="down"),
        "goto [http://shop/]": Action("goto", text="http://shop/"),
        "new_tab": Action("new_tab"),
        "close_tab": Action("close_tab"),
        "go_back": Action("go_back"),
        "go_forward": Action("go_forward"),
        "tab_focus [2]": Action("tab_focus", tab=2),
        "stop [$12]": Action("stop", text="$12"),
        "stop": Action("stop"),
        "stop []": Action("stop"),
    }
    assert {text: parse_action(text) for text in read_as} == read_as
    for text in ("", "click", "click [a]", "fly [1]", "type [1]", "press []", "scroll [left]", "click 12", "CLICK [1]"):
        with pytest.raises(ActionError):
            parse_action(text)


def test_actions_may_stand_between_fences() -> None:
    env, home = started()
    page = do(env, f"I look.\n```click [{number_of(home, 'link', 'Cart')}]``` and then ```go_back```")
    assert page.startswith("Tab 0 (current): Cart")


def test_what_is_no_action_changes_nothing_and_three_in_a_row_end_the_episode() -> None:
    env, home = started()
    assert do(env, "look around") == home
    assert do(env, "\x00\ud800 click") == home
    assert do(env, "click [99999]") == home
    assert do(env, "nothing") == home
    assert do(env, "at all") == home
    assert env.step("!") == (home, 0.0, True)
    with pytest.raises(RuntimeError, match="no episode is running"):
        env.step("stop []")


def test_no_text_an_agent_may_write_breaks_an_episode() -> None:
    rng = np.random.default_rng(3)
    scraps = ["", "[", "]", "%", "+", "'", '"', "\\", "<b>", "&amp;", "\x00", "\ud83d", "ä", "\u202e", "٣", "\n", "a b"]
    scraps.append("9" * 40)
    verbs = "click type press goto tab_focus stop hover scroll new_tab go_back ``` close_tab".split()
    env, page = started(start="__REDDIT__/submit/books")
    for _ in range(400):
        ids = re.findall(r"\[(\d+)\]", page)
        text = "".join(scraps[i] for i in rng.integers(len(scraps), size=int(rng.integers(1, 4))))
        url = ("", "http://shop/search?q=", "http://forum/f/", "http://admin/product/")[int(rng.integers(4))]
        verb, number = verbs[int(rng.integers(len(verbs)))], ids[int(rng.integers(len(ids)))]
        action = {"goto": f"goto [{url}{text}]", "type": f"type [{number}] [{text}] [{int(rng.integers(2))}]"}.get(verb)
        click = f"{verb} [{number}]" if verb in ("click", "hover") else f"{verb} [{text}]"
        page, _, done = env.step(action or click)
        if done:
            _, page = env.reset(f"{WORLD}/1")
        assert page.startswith("Tab 0")


def test_an_agent_that_repeats_itself_is_stopped() -> None:
    env, home = started()
    link = number_of(home, "link", "Cart")
    for _ in range(2):
        do(env, "hover [1]")
    do(env, "scroll [down]")
    do(env, "hover [1]")
    do(env, "hover [1]")
    assert env.step("hover [1]")[1:] == (0.0, True)
    env.reset(f"{WORLD}/1")
    do(env, "type [5] [a] [0]")
    do(env, f"click [{link}]")
    do(env, "type [5] [a] [0]")
    do(env, "scroll [up]")
    assert env.step("type [5] [a] [0]")[2]  # the third equal text of the episode


@pytest.mark.parametrize(
    "references, answer, expected",
    [
        ({"exact_match": "Yes"}, " 'yes' ", 1.0),
        ({"exact_match": "yes"}, "yes!", 0.0),
        ({"must_include": ["Ada", "Bo"]}, "ada and bo", 1.0),
        ({"must_include": ["Ada", "Bo"]}, "ada", 0.0),
        ({"must_include": ["0"]}, "10", 0.0),
        ({"must_include": ["0"]}, "It is 0.", 1.0),
        ({"must_include": ["0", "1"]}, "10", 1.0),
        ({"must_include": ["12"]}, "312", 1.0),
        ({"exact_match": "yes", "must_include": ["no"]}, "yes", 0.0),
        ({"exact_match": "yes"}, "", 0.0),
    ],
)
def test_answers_are_scored_as_webarena_scores_them(references: dict, answer: str, expected: float) -> None:
    env, _ = started(reference_answers=references)
    assert env.step(f"stop [{answer}]")[1:] == (expected, True)


@pytest.mark.parametrize(
    "wanted, reached, expected",
    [
        ("__SHOPPING__/cart", "http://shop/cart", 1.0),
        ("__SHOPPING__/cart", "http://shop/cart/", 1.0),  # a slash at the end does not count
        ("__SHOPPING__", "http://shop/cart", 1.0),
        ("__SHOPPING__/orders |OR| __SHOPPING__/cart", "http://shop/cart", 1.0),
        ("__SHOPPING__/search?q=cup", "http://shop/search?q=cup&x=1", 1.0),
        ("__SHOPPING__/search?q=cup", "http://shop/search?q=cups", 0.0),
        ("__REDDIT__/f/books", "http://shop/cart", 0.0),
    ],
)
def test_addresses_are_scored_as_webarena_scores_them(wanted: str, reached: str, expected: float) -> None:
    env, _ = started(eval_types=["url_match"], reference_url=wanted)
    do(env, f"goto [{reached}]")
    assert env.step("stop []")[1:] == (expected, True)


def test_pages_are_scored_at_the_end() -> None:
    url = f"__SHOPPING_ADMIN__/product/{PRODUCT['id']}"
    price = {"url": url, "locator": "document.querySelector('.price').outerText"}
    typed = {"url": "last", "locator": "document.querySelector('[name=\"price\"').value"}
    check = [
        {**price, "required_contents": {"exact_match": "Price: $7"}},
        {**typed, "required_contents": {"must_include": ["1 |OR| 8", "8"]}},
        {"url": "last", "locator": "", "required_contents": {"must_include": ["<h1>Edit"]}},
    ]
    for change, expected in ((True, 1.0), (False, 0.0)):
        env, page = started(start=url, eval_types=["program_html"], program_html=check)
        box = number_of(page, "textbox", "New price")
        if change:
            page = do(env, f"type [{box}] [7] [1]")
            box = number_of(page, "textbox", "New price")
        do(env, f"type [{box}] [18] [0]")
        assert env.step("stop []")[1:] == (expected, True)


def test_a_score_is_the_product_of_its_parts() -> None:
    both = {"eval_types": ["string_match", "url_match"], "reference_url": "__SHOPPING__/cart"}
    for url, answer, expected in (("/cart", "yes", 1.0), ("/cart", "no", 0.0), ("/orders", "yes", 0.0)):
        env, _ = started(**both)
        do(env, f"goto [http://shop{url}]")
        assert env.step(f"stop [{answer}]")[1] == expected


def test_locators() -> None:
    page = lxml.html.document_fromstring(
        "<body><form class='vote up'><input name='product[name]' value='Cup'><b data-x='1'>bold</b></form>"
        "<p id='a'> x <i>y</i></p>"
    )
    said = {
        "document.querySelector('#a').outerText": "x y",
        "document.querySelector('#a').textContent": " x y",
        'document.querySelector("form.vote").querySelector("input").value': "Cup",
        "document.querySelector('[name=\"product[name]\"').value": "Cup",
        "document.querySelector('form.vote').getAttribute('class')": "vote up",
        "document.querySelector('form.up b[data-x=\"1\"]').outerText": "bold",
        "document.querySelector('form .vote').outerText": "",
        "document.querySelector('p').value": "",
    }
    assert {expression: read(page, parsed(expression)) for expression in said} == said
    for other in ("func:f()", "document.title", "document.outerText", "document.querySelector('a > b').outerText", "x"):
        assert parsed(other) is None, other


def test_what_cannot_be_scored_is_refused_at_once() -> None:
    refused = {
        "needs the site gitlab": {},
        "scores answers by fuzzy_match": {"reference_answers": {"fuzzy_match": "x"}},
        "asks for the evaluator 'guess'": {"eval_types": ["guess"]},
        "unknown rule 'EXACT'": {"eval_types": ["url_match"], "reference_url": "", "url_note": "EXACT"},
        "function of WebArena's own": {"eval_types": ["program_html"], "program_html": [html("func:f()")]},
        "locator 'document.title'": {"eval_types": ["program_html"], "program_html": [html("document.title")]},
        "has no reference_answers": {"reference_answers": {}},
        "has must_include [] in": {"reference_answers": {"must_include": []}},
        "has must_include 'blue' in": {"reference_answers": {"must_include": "blue"}},
        "has no reference_url": {"eval_types": ["url_match"], "reference_url": ""},
        "program_html has no check": {"eval_types": ["program_html"], "program_html": []},
    }
    for reason, change in refused.items():
        task = WebTask.model_validate({**config(**change), **({"sites": ["gitlab"]} if "gitlab" in reason else {})})
        env = WebEnvironment([task], np.random.default_rng(0))
        with pytest.raises(ValueError, match=re.escape(reason)):
            env.reset(task.instance)
        site = Site(WORLD)
        with pytest.raises(ValueError, match=re.escape(reason)):
            score(task, "", Document("u", "<p>", ElementIds(np.random.default_rng(0))), site)
    with pytest.raises(ValueError, match="no task 'x/1' among the 1"):
        started()[0].reset("x/1")


def html(locator: str) -> dict[str, Any]:
    return {"url": "last", "locator": locator, "required_contents": {"must_include": ["x"]}}


def test_configs_are_read_and_written(tmp_path: Path) -> None:
    raw = [config(1), config(2)]
    write_configs([WebTask.model_validate(raw[0]), raw[1]], tmp_path / "all.json")
    tasks = read_configs(tmp_path / "all.json")
    assert [task.instance for task in tasks] == [f"{WORLD}/1", f"{WORLD}/2"]
    assert tasks[0].model_dump()["geolocation"] is None  # what is not used is kept
    (tmp_path / "one").mkdir()
    for task in raw:
        (tmp_path / "one" / f"{task['task_id']}.json").write_text(json.dumps(task))
    assert read_configs(tmp_path / "one") == tasks
    (tmp_path / "one" / "3.json").write_text(json.dumps(config(2)))
    with pytest.raises(DataError, match=r"3\.json, line 1, config 0: task test-world/2 occurs twice"):
        read_configs(tmp_path / "one")
    (tmp_path / "bad.json").write_text(json.dumps([config(1), {**config(2), "intent": None}]))
    with pytest.raises(DataError, match=r"bad\.json, line 1, config 1: intent"):
        read_configs(tmp_path / "bad.json")
    assert resolved("__SHOPPING_ADMIN__/x __REDDIT__ __SHOPPING__") == "http://admin/x http://forum http://shop"


def test_official_configs() -> None:
    """All 812 are read; those of our kinds of site whose score needs neither a judge nor their servers are playable."""
    path = os.environ.get("OPE_WEBARENA_CONFIGS")
    if not path:
        pytest.skip("set OPE_WEBARENA_CONFIGS to WebArena's test.raw.json to read the official configs")
    tasks = read_configs(Path(path))
    assert len(tasks) == 812
    assert sum(task.unplayable() is None for task in tasks) == 308
    assert tasks[0].instance == "webarena/0"


def test_includes_needs_no_tokenizer() -> None:
    assert includes("Ö", "ö!", as_word=True) and not includes("Ö", "höher", as_word=True)


def test_an_episode_is_fast() -> None:
    """The measurement is in benchmarks/; here only that it is not ten times slower."""
    env, home = started()
    start, steps = time.process_time(), 0
    for _ in range(20):
        _, home = env.reset(f"{WORLD}/1")
        page = do(env, f"click [{number_of(home, 'link', 'Garden')}]")
        do(env, f"click [{number_of(page, 'link', 'Cart')}]")
        do(env, "go_back")
        do(env, "goto [http://forum/f/books]")
        steps += 4
    assert steps / (time.process_time() - start) > 100
