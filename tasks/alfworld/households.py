"""Small household layouts for ALFWorld's six task types, drawn from the floor plans that its package ships.

An instance is `<split>/<task type>/<number>`, for example `train/pick_heat_then_place_in_recep/12`; its name alone
determines it. The splits are ALFRED's: evaluation households stand in floor plans that no train household has. Rooms
are cut down to what a small agent can learn: 5 to 7 receptacles, each at a place of its own, and 5 objects besides what
the task needs. Evaluation households are smaller still (3 or 4, and 2), so that agents of this size often succeed.
Every household is solvable by construction: what the task names is there, reachable, and fits.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from bench.rng import rng_for

TASK_TYPES = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)
SPLITS = ("train", "eval")
RECEPTACLES = {"train": (5, 7), "eval": (3, 4)}
"""Fewest and most receptacles of a household of a split."""
EXTRA_OBJECTS = {"train": 5, "eval": 2}
"""Objects besides those the task needs."""
LAMP = "DeskLamp"
STATIONS = {
    "pick_clean_then_place_in_recep": ("SinkBasin", "Cleanable"),
    "pick_heat_then_place_in_recep": ("Microwave", "Heatable"),
    "pick_cool_then_place_in_recep": ("Fridge", "Coolable"),
}
"""Where an object is cleaned, heated or cooled, and the property it needs for that."""

_ROOMS = {"kitchen": 0, "living room": 200, "bedroom": 300, "bathroom": 400}
_ROOMS_OF = {
    "pick_and_place_simple": ("kitchen", "living room", "bedroom", "bathroom"),
    "look_at_obj_in_light": ("living room", "bedroom"),
    "pick_clean_then_place_in_recep": ("kitchen", "bathroom"),
    "pick_heat_then_place_in_recep": ("kitchen",),
    "pick_cool_then_place_in_recep": ("kitchen",),
    "pick_two_obj_and_place": ("kitchen", "living room", "bedroom", "bathroom"),
}
_PLANS = {"eval": range(1, 7), "train": range(7, 31)}
_LAMP_SURFACES = frozenset(("Desk", "SideTable", "Dresser", "DiningTable", "CoffeeTable", "Shelf", "CounterTop"))
_FIXED = frozenset(("FloorLamp", "HousePlant", "Television", "Footstool", "TennisRacket", "PaperTowelRoll", "Box"))
"""Objects of a floor plan that never play a part: they stand on the floor, or could hold others."""
_TRIES = 500


@dataclass(frozen=True)
class Thing:
    """A receptacle or an object.

    Attributes:
        id: as in ALFRED, for example `Mug|+01.20|+00.90|-02.00`.
        kind: its class, for example `Mug`.
        place: of a receptacle the agent's position before it; of an object the id of the receptacle it lies in.
    """

    id: str
    kind: str
    place: str


@dataclass(frozen=True)
class Household:
    """What a game is made of.

    Attributes:
        task: task type.
        plan: number of the floor plan.
        target: class of the object to be found.
        destination: class of the receptacle to put it in; None where it is to be looked at.
        goal: the task in words, without a full stop.
        receptacles, objects: what is there.
        start: the agent's first position.
    """

    task: str
    plan: int
    target: str
    destination: str | None
    goal: str
    receptacles: tuple[Thing, ...]
    objects: tuple[Thing, ...]
    start: str


def parse_instance(instance: str) -> tuple[str, str, int]:
    """Split, task type and number of an instance's name.

    Raises:
        ValueError: it is not such a name.
    """
    split, _, rest = instance.partition("/")
    task, _, number = rest.partition("/")
    if split not in SPLITS or task not in TASK_TYPES or not number.isdecimal():
        raise ValueError(
            f"Unknown ALFWorld instance {instance!r}: expected split/task-type/number, for example "
            f"train/pick_and_place_simple/12, a split of {', '.join(SPLITS)} and a type of {', '.join(TASK_TYPES)}."
        )
    return split, task, int(number)


@lru_cache(maxsize=1024)
def household(instance: str) -> Household:
    """Draws the household that an instance names.

    Raises:
        ValueError: the name is malformed.
        ImportError: the package alfworld is not installed.
    """
    split, task, number = parse_instance(instance)
    rng = rng_for("alfworld", "household", split, task, number)
    rooms = _ROOMS_OF[task]
    for _ in range(_TRIES):
        plan = _ROOMS[rooms[rng.integers(len(rooms))]] + int(rng.choice(_PLANS[split]))
        found = _furnished(split, task, plan, rng)
        if found is not None:
            return found
    raise RuntimeError(f"{instance}: no household was found in {_TRIES} floor plans.")


def _furnished(split: str, task: str, plan: int, rng: np.random.Generator) -> Household | None:
    """A household in one floor plan, or None where the plan does not allow the task."""
    from alfworld.gen import constants
    from alfworld.gen.goal_library import gdict

    fixed, present = _floor_plan(plan)
    holds = {kind: set(constants.VAL_RECEPTACLE_OBJECTS.get(kind, ())) for kind in {r.kind for r in fixed}}
    kinds = sorted(set(present) & set().union(*holds.values()) - _FIXED - set(holds) - {LAMP})
    station, needed = STATIONS.get(task, (None, None))
    if station is not None and station not in holds:
        return None
    if task == "look_at_obj_in_light":
        pairs = [(kind, None) for kind in kinds]
    else:
        able = [k for k in kinds if needed is None or k in constants.VAL_ACTION_OBJECTS[needed]]
        pairs = [(k, r) for k in able for r in sorted(holds) if k in holds[r] and r != station]
    if not pairs:
        return None
    target, destination = pairs[rng.integers(len(pairs))]
    room = _chosen(fixed, (destination, station), RECEPTACLES[split], rng)
    sources = [r for r in room if target in holds[r.kind] and r.kind != destination]
    surfaces = [r for r in room if r.kind in _LAMP_SURFACES]
    if len(room) < RECEPTACLES[split][0] or not sources or (destination is None and not surfaces):
        return None
    copies = 2 if task == "pick_two_obj_and_place" else 1
    objects = [_put(target, sources, rng) for _ in range(copies)]
    if destination is None:
        objects.append(_put(LAMP, surfaces, rng))
    extras = [k for k in kinds if k != target and any(k in holds[r.kind] for r in room)]
    for kind in rng.choice(extras, min(EXTRA_OBJECTS[split], len(extras)), replace=False).tolist():
        objects.append(_put(kind, [r for r in room if kind in holds[r.kind]], rng))
    templates = gdict[task]["templates"]
    names = {"obj": target.lower(), "recep": (destination or "").lower(), "toggle": LAMP.lower()}
    goal = templates[rng.integers(len(templates))].format(**names)
    return Household(task, plan, target, destination, goal, tuple(room), tuple(objects), _start(room, rng))


@lru_cache(maxsize=128)
def _floor_plan(plan: int) -> tuple[tuple[Thing, ...], tuple[str, ...]]:
    """Receptacles of a floor plan, one per place, and the classes of its objects."""
    import alfworld.gen
    from alfworld.gen.constants import VAL_RECEPTACLE_OBJECTS

    folder = Path(alfworld.gen.__file__).parent / "layouts"
    found: dict[str, Thing] = {}
    for key, (x, z, turn, tilt) in json.loads((folder / f"FloorPlan{plan}-openable.json").read_text()).items():
        parts = key.split("|")
        kind = parts[4] if len(parts) > 4 else parts[0]
        place = f"loc|{round(x / 0.25)}|{round(z / 0.25)}|{round(turn / 90)}|{tilt}"
        if kind in VAL_RECEPTACLE_OBJECTS and place not in found:
            found[place] = Thing(key, kind, place)
    return tuple(found.values()), tuple(json.loads((folder / f"FloorPlan{plan}-objects.json").read_text()))


def _chosen(
    fixed: Iterable[Thing], needed: Iterable[str | None], number: tuple[int, int], rng: np.random.Generator
) -> list[Thing]:
    """The receptacles that stay: one of each needed class, then others up to a number drawn at random."""
    shuffled = [list(fixed)[i] for i in rng.permutation(len(list(fixed)))]
    kept = [next(r for r in shuffled if r.kind == kind) for kind in dict.fromkeys(needed) if kind is not None]
    size = int(rng.integers(number[0], number[1] + 1))
    return (kept + [r for r in shuffled if r not in kept])[: max(size, len(kept))]


def _put(kind: str, where: list[Thing], rng: np.random.Generator) -> Thing:
    """An object in one of some receptacles."""
    position = "|".join(f"{value:+06.2f}" for value in rng.uniform(-3, 3, 3))
    return Thing(f"{kind}|{position}", kind, where[rng.integers(len(where))].id)


def _start(room: list[Thing], rng: np.random.Generator) -> str:
    """A position from which no receptacle is reached."""
    taken = {r.place for r in room}
    while True:
        x, z, turn = rng.integers(-12, 13), rng.integers(-12, 13), rng.integers(4)
        if (place := f"loc|{x}|{z}|{turn}|30") not in taken:
            return place
