"""What our sites hold: products, reviews, orders, posts. Drawn anew for every world, kept in SQLite in memory."""

from __future__ import annotations

import sqlite3
from functools import lru_cache

import numpy as np

from bench.rng import rng_for

CATEGORIES = ("Kitchen", "Garden", "Office", "Sports")
FORUMS = ("books", "cooking", "music", "travel")
CUSTOMER = "Robin"
"""Who shops and posts: the user whose browser the agent drives."""
PER_CATEGORY = 6
PER_FORUM = 5
ORDERS = 6
STATUSES = ("pending", "shipped", "delivered", "canceled")
COLORS = ("red", "blue", "green", "black", "white", "yellow")

_LOOKS = "Amber Bright Clever Coral Dapper Ember Frosty Gentle Humble Ivory Jolly Lucky Mellow Noble Plain Quiet Rustic"
_LOOKS += " Silver Tidy Velvet"
_THINGS = {
    "Kitchen": "Bowl Cup Grater Kettle Ladle Mug Pan Pot Spoon Tray",
    "Garden": "Bench Bucket Fence Hose Lantern Planter Rake Shears Shovel Trellis",
    "Office": "Binder Clock Desk Folder Lamp Notepad Pen Ruler Shelf Stapler",
    "Sports": "Ball Bat Glove Helmet Jersey Kite Net Paddle Racket Whistle",
}
_PEOPLE = "Ada Bruno Clara Dario Edda Felix Greta Hugo Iris Jonas Klara Leon Mara Nils Olga Paul Rosa Sven Tilda Uwe"
_PRAISE = ("works well", "broke soon", "looks nice", "is too small", "was a gift", "feels cheap", "is a bargain")
_TOPICS = {
    "books": ("short novels", "old maps", "sea stories", "long poems", "spy tales", "cheap prints"),
    "cooking": ("bean soup", "fresh bread", "plum jam", "rice pans", "cold tea", "apple cake"),
    "music": ("loud drums", "first guitar", "choir songs", "quiet piano", "tape decks", "folk dances"),
    "travel": ("night trains", "small islands", "city walks", "mountain huts", "slow boats", "rainy days"),
}
_ASKS = ("Thoughts on", "Help with", "Looking for", "In praise of")
_REMARKS = ("I agree.", "Not for me.", "Try it twice.", "Thank you!", "Where is that?")

_SCHEMA = """
CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, category TEXT, price INTEGER, color TEXT, sold INTEGER);
CREATE TABLE reviews (id INTEGER PRIMARY KEY, product INTEGER, author TEXT, rating INTEGER, text TEXT);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, product INTEGER, quantity INTEGER, status TEXT);
CREATE TABLE cart (product INTEGER PRIMARY KEY, quantity INTEGER);
CREATE TABLE posts
    (id INTEGER PRIMARY KEY, forum TEXT, title TEXT, author TEXT, body TEXT, votes INTEGER, voted INTEGER);
CREATE TABLE comments (id INTEGER PRIMARY KEY, post INTEGER, author TEXT, text TEXT);
"""


@lru_cache(maxsize=512)
def snapshot(world: str) -> bytes:
    """A world's data base as SQLite writes it to disk.

    Args:
        world: its name; the same name always holds the same.
    """
    connection, rng = sqlite3.connect(":memory:"), rng_for("webarena", "world", world)
    connection.executescript(_SCHEMA)
    _fill_shop(connection, rng)
    _fill_forum(connection, rng)
    connection.commit()
    content = connection.serialize()
    connection.close()
    return content


def database(world: str) -> sqlite3.Connection:
    """A fresh copy of a world that may be changed; threads may take turns with it."""
    connection = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
    connection.deserialize(snapshot(world))
    connection.row_factory = sqlite3.Row
    return connection


def _fill_shop(connection: sqlite3.Connection, rng: np.random.Generator) -> None:
    people, number = _PEOPLE.split(), 0
    looks = rng.permutation(_LOOKS.split()).tolist()
    for category in CATEGORIES:
        for thing in rng.permutation(_THINGS[category].split())[:PER_CATEGORY].tolist():
            number += 1
            name = f"{looks[number % len(looks)]} {thing}"
            row = (number, name, category, int(rng.integers(3, 96)), _one(COLORS, rng), int(rng.integers(0, 200)))
            connection.execute("INSERT INTO products VALUES (?, ?, ?, ?, ?, ?)", row)
            for author in rng.permutation(people)[: int(rng.integers(1, 4))].tolist():
                review = (number, author, int(rng.integers(1, 6)), f"It {_one(_PRAISE, rng)}.")
                connection.execute("INSERT INTO reviews (product, author, rating, text) VALUES (?, ?, ?, ?)", review)
    first = int(rng.integers(10, 100 - ORDERS))
    for order in range(first, first + ORDERS):
        customer = CUSTOMER if (order - first) % 2 else _one(people, rng)
        row = (order, customer, int(rng.integers(1, number + 1)), int(rng.integers(1, 5)), _one(STATUSES[:3], rng))
        connection.execute("INSERT INTO orders VALUES (?, ?, ?, ?, ?)", row)


def _fill_forum(connection: sqlite3.Connection, rng: np.random.Generator) -> None:
    people, number = _PEOPLE.split(), 0
    for forum in FORUMS:
        for topic in rng.permutation(_TOPICS[forum])[:PER_FORUM].tolist():
            number += 1
            author = _one(people, rng)
            title = f"{_one(_ASKS, rng)} {topic}"
            row = (number, forum, title, author, f"Who knows more about {topic}?", int(rng.integers(0, 90)), 0)
            connection.execute("INSERT INTO posts VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            for other in rng.permutation(people)[: int(rng.integers(0, 3))].tolist():
                said = (number, other, _one(_REMARKS, rng))
                connection.execute("INSERT INTO comments (post, author, text) VALUES (?, ?, ?)", said)


def _one(options: tuple[str, ...] | list[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
