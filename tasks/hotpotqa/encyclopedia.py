"""A fictional encyclopedia: short articles about people, places, works and companies that point at each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bench.rng import rng_for
from tasks.hotpotqa.names import Split, draw

LEAST = 200
"""Smallest size: everything a question can ask for exists."""
TWINS = 0.3
"""Share of films and novels that carry a common name, so that only "<name> (film)" and "<name> (novel)" are titles."""
_SIZES = {"city": 4, "film": 5, "novel": 5, "band": 4, "company": 4}
"""Articles of each kind, in parts of 32; the people are their directors, authors, singers and founders."""
_MAKERS = {"film": "director", "novel": "author", "band": "singer", "company": "founder"}
_PROFESSION = {"director": "film director", "author": "writer", "singer": "singer", "founder": "merchant"}
_GENRES = {
    "film": ("comedy", "crime", "drama", "fantasy", "horror", "war"),
    "novel": ("adventure", "crime", "fantasy", "ghost", "historical", "love"),
    "band": ("folk", "jazz", "metal", "pop", "punk", "rock"),
}
_TEXTS = {
    "city": (
        "{name} is a city in {region}.",
        "It lies on the River {river}.",
        "It was founded in {year}.",
    ),
    "film": (
        "{name} is a {genre} film from {year}.",
        "Its director is {maker}.",
        "It was filmed in {city}.",
    ),
    "novel": (
        "{name} is a {genre} novel from {year}.",
        "Its author is {maker}.",
        "The story takes place in {city}.",
    ),
    "band": (
        "{name} is a {genre} band from {city}.",
        "It was formed in {year}.",
        "Its singer is {maker}.",
    ),
    "company": (
        "{name} is a company based in {city}.",
        "Its founder is {maker}.",
        "It was founded in {year}.",
    ),
    "person": (
        "{name} is a {profession}.",
        "{surname} was born in {city} in {year}.",
        "{surname} is best known for {work}.",
    ),
}
_YEARS = {"city": (1100, 1700), "person": (1880, 1950), "company": (1900, 1990)}
_RECENT = (1930, 2010)


@dataclass(frozen=True, slots=True)
class Article:
    """A page.

    Attributes:
        title: unique.
        name: what texts and questions call it; the title unless that is needed to tell twins apart.
        kind: city, film, novel, band, company or person.
        values: what is said of it, by relation; names of other articles among them.
        links: relation -> title of the article that the value names.
        sentences: its text.
        said_in: relation -> index of the sentence that says it.
    """

    title: str
    name: str
    kind: str
    values: Mapping[str, str]
    links: Mapping[str, str]
    sentences: tuple[str, ...]
    said_in: Mapping[str, int]


def encyclopedia(split: Split, size: int, seed: int) -> dict[str, Article]:
    """All articles by title, a function of the arguments alone.

    Args:
        split: whose names are used; the two splits share no title and no name of a region or river.
        size: rough number of articles, at least `LEAST`; some two fifths of them are people.
        seed: of the world.

    Raises:
        ValueError: the size is too small, or there are not enough names for it.
    """
    if size < LEAST:
        raise ValueError(f"an encyclopedia of {size} articles is too small to ask about; make it {LEAST} or more.")
    rng = rng_for("hotpotqa", "encyclopedia", split, size, seed)
    counts = {kind: size * share // 32 for kind, share in _SIZES.items()}
    titles = _titles(split, counts, rng)
    people = draw("person", split, sum(counts[kind] for kind in _MAKERS), rng)
    regions = draw("region", split, min(40, counts["city"] // 3), rng)
    rivers = draw("river", split, min(90, counts["city"] // 2), rng)
    cities = [title for title, _ in titles["city"]]
    world: dict[str, Article] = {}
    for title, name in titles["city"]:
        values = {"region": _one(regions, rng), "river": _one(rivers, rng), "year": _year("city", rng)}
        world[title] = _article(title, name, "city", values, {})
    for kind, role in _MAKERS.items():
        for title, name in titles[kind]:
            maker, home, birthplace = people.pop(), _one(cities, rng), _one(cities, rng)
            values = {"year": _year(kind, rng), "city": home, "maker": maker}
            if kind in _GENRES:
                values["genre"] = _one(_GENRES[kind], rng)
            world[title] = _article(title, name, kind, values, {"city": home, "maker": maker})
            values = {"profession": _PROFESSION[role], "surname": maker.split()[-1], "city": birthplace}
            values |= {"year": _year("person", rng), "work": name}
            world[maker] = _article(maker, maker, "person", values, {"city": birthplace, "work": title})
    return world


def _titles(split: Split, counts: Mapping[str, int], rng: np.random.Generator) -> dict[str, list[tuple[str, str]]]:
    """(title, name) of the articles of every kind but people; film and novel twins share their name."""
    twins = int(TWINS * min(counts["film"], counts["novel"]))
    works = draw("work", split, counts["film"] + counts["novel"] - twins, rng)
    shared, films, novels = works[:twins], works[twins : counts["film"]], works[counts["film"] :]
    titles = {kind: [(n, n) for n in draw(kind, split, counts[kind], rng)] for kind in ("city", "company")}
    titles["band"] = [(f"The {name}", f"The {name}") for name in draw("band", split, counts["band"], rng)]
    for kind, own in (("film", films), ("novel", novels)):
        titles[kind] = [(f"{name} ({kind})", name) for name in shared] + [(name, name) for name in own]
    return titles


def _article(title: str, name: str, kind: str, values: Mapping[str, str], links: Mapping[str, str]) -> Article:
    templates = _TEXTS[kind]
    said = {relation: i for i, text in enumerate(templates) for relation in values if f"{{{relation}}}" in text}
    sentences = tuple(text.format(name=name, **values) for text in templates)
    return Article(title, name, kind, values, links, sentences, said)


def _one(options: list[str] | tuple[str, ...], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _year(kind: str, rng: np.random.Generator) -> str:
    first, last = _YEARS.get(kind, _RECENT)
    return str(rng.integers(first, last + 1))
