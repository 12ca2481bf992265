"""Made-up names: people, places, works and companies that no other encyclopedia knows."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Literal

import numpy as np

Split = Literal["train", "evaluation"]
EVALUATION_SHARE = 0.25
"""Share of all names that only evaluation questions use."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_FIRST = _words(
    "Ada Alma Anton Arvid Berit Boris Carla Cecil Clara Dario Edda Edgar Elias Elsa Emil Enid Erik Faye Felix "
    "Flora Fritz Greta Gustav Hanna Hector Hilda Hugo Ida Ines Ivo Jonas Julia Karl Kira Lars Lena Leo Lotte "
    "Lucas Magda Marta Milo Nadia Nils Nina Olga Oscar Otto Paula Petra Rita Rolf Ruth Selma Simon Sven Tessa "
    "Theo Vera Wanda"
)
_ROOTS = _words(
    "Al Bar Bel Bren Cor Dal Dor El Fal Fen Gar Gol Hal Har Hol Jor Kal Kel Kor Lan Lin Lor Mal Mar Mel Mor Nor "
    "Ol Or Pel Pol Ran Rin Ros Sal Sel Sol Tal Tel Tor Tul Val Vel Vin Vor Wal Wel Wil Yar Zel"
)
_SURNAME_ENDS = _words("berg by dal den dine feld gren holm ker lund mond nes quist rick ron sen son vik")
_CITY_ENDS = _words(
    "aven beck borough bridge burg bury cliff dorf field ford gate grad ham haven hurst ley mere minster mouth "
    "pool port sted stow ton wick worth"
)
_REGION_ENDS = _words("avia any land mark onia shire")
_RIVER_ENDS = _words("a ar ber da en er is ne ra se")
_FIRST_OF_TITLE = _words(
    "Amber Bitter Black Blue Bright Broken Burning Cold Copper Crimson Crystal Distant Early Empty Endless Fallen "
    "First Foreign Forgotten Frozen Gentle Golden Green Hidden Hollow Iron Last Little Lonely Long Lost Lucky "
    "Midnight Narrow Northern Open Paper Patient Quiet Red Restless Second Secret Silent Silver Simple Southern "
    "Stolen Stone Sudden Summer Sweet Tender Velvet Violet Wandering White Wild Winter Wooden"
)
_SECOND_OF_TITLE = _words(
    "Anchor Autumn Balcony Bell Bridge Canal Candle Carnival Castle Circus Coast Compass Corner Crossing Curtain "
    "Desert Door Engine Feather Ferry Field Forest Fountain Garden Harbor Harvest Horizon Hotel House Island "
    "Journey Ladder Lake Lantern Letter Library Lighthouse Machine Market Meadow Mirror Moon Morning Mountain "
    "Ocean Orchard Palace Parade Piano Rain Road Shadow Ship Sparrow Station Stranger Tower Train Valley Voyage "
    "Wall Window Wolf"
)
_TRADES = _words(
    "Airways Bank Books Brewery Cameras Carpets Chocolate Clocks Foods Furniture Glass Instruments Lamps Motors "
    "Paints Pottery Press Shipyard Steel Tools Toys Watches"
)
_POOLS: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    "person": (_FIRST, tuple(f"{root}{end}" for root in _ROOTS for end in _SURNAME_ENDS), " "),
    "city": (_ROOTS, _CITY_ENDS, ""),
    "region": (_ROOTS, _REGION_ENDS, ""),
    "river": (_ROOTS, _RIVER_ENDS, ""),
    "work": (_FIRST_OF_TITLE, _SECOND_OF_TITLE, " "),
    "band": (_FIRST_OF_TITLE, tuple(f"{word}s" for word in _SECOND_OF_TITLE if word[-1] not in "fhsy"), " "),
    "company": (tuple(f"{root}{end}" for root in _ROOTS for end in ("co", "ex", "ia")), _TRADES, " "),
}
"""First part, second part, and what stands between them."""


def split_of(name: str) -> Split:
    """The split a name belongs to, a property of the name alone: no evaluation name occurs in training."""
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32
    return "evaluation" if share < EVALUATION_SHARE else "train"


def draw(kind: str, split: Split, count: int, rng: np.random.Generator) -> list[str]:
    """Distinct names of a kind (person, city, region, river, work, band, company).

    Raises:
        ValueError: there are not that many.
    """
    pool = _pool(kind, split)
    if count > len(pool):
        raise ValueError(f"{count} names of kind {kind} are wanted, the {split} split has {len(pool)}.")
    return [pool[i] for i in rng.choice(len(pool), count, replace=False)]


@cache
def _pool(kind: str, split: Split) -> tuple[str, ...]:
    first, second, glue = _POOLS[kind]
    names = (f"{a}{glue}{b}" for a in first for b in second)
    return tuple(name for name in names if split_of(name) == split)
