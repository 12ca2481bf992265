"""Plausible ScienceWorld actions, read off the goal and the observations alone (no simulator)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

_DOOR = re.compile(r"[Aa] door to the ([a-z ]+?) \(that is (open|closed)\)")
_ROOM = re.compile(r"(?:is called|You move to|You move through the door to) the ([a-z ]+?)\.")
_THING = re.compile(
    r"(?:^|\(containing |: |, )[Aa]n? (?!door to )(?!substance )([a-z][a-z0-9 -]*?)(?= in the |[,.()]|$)"
)
_SUBSTANCE = re.compile(r"substance called ([a-z][a-z -]*)")
_SHUT = re.compile(r"The ([a-z ]+) door is closed")
_BOX = re.compile(r"\bto the ([a-z]+ box)\b")
_PART = re.compile(r"\bturn on the ([a-z ]+)\.")
_TAKEN = re.compile(r"^You move the (.+) to the inventory\.")
_ALWAYS = ("inventory", "look around", "wait", "wait1")


@dataclass(frozen=True)
class Listing:
    """What one observation says.

    Attributes:
        room: The room that the agent is in, where the observation names it.
        doors: Rooms behind the doors listed, with True for an open door.
        things: Objects listed, in order of appearance.
        shut: Containers listed as closed.
        complete: Whether this is a description of a whole room.
        taken: The object that the agent has just picked up.
    """

    room: str | None
    doors: tuple[tuple[str, bool], ...]
    things: tuple[str, ...]
    shut: tuple[str, ...]
    complete: bool
    taken: str | None


@lru_cache(maxsize=65536)
def parse(observation: str) -> Listing:
    """Parses one observation.

    Args:
        observation: The simulator's text.

    Returns:
        Room, doors, objects and closed containers that it names.
    """
    room, taken = _ROOM.search(observation), _TAKEN.match(observation)
    things: dict[str, None] = {}
    for line in observation.split("\n"):
        if line.startswith("\t") or line.startswith("Inside the"):
            for name in _THING.findall(line.lstrip("\t")):
                things[name.strip()] = None
            for name in _SUBSTANCE.findall(line):
                things[name] = None
    things.pop("air", None)
    return Listing(
        room=room.group(1) if room else None,
        doors=tuple((name, state == "open") for name, state in _DOOR.findall(observation)),
        things=tuple(things),
        shut=tuple(dict.fromkeys(_SHUT.findall(observation))),
        complete="is called the" in observation,
        taken=taken.group(1) if taken else None,
    )


@lru_cache(maxsize=65536)
def _for_listing(listing: Listing, box: str | None, part: str | None) -> frozenset[str]:
    """Actions that one description suggests."""
    actions: set[str] = set()
    for room, is_open in listing.doors:
        actions.add(f"go to {room}")
        actions.add(f"close door to {room}" if is_open else f"open door to {room}")
    actions.update(f"open {name}" for name in listing.shut)
    for name in listing.things:
        actions.update((f"look at {name}", f"pick up {name}", f"focus on {name}"))
        if box is not None and name != box:
            actions.add(f"move {name} to {box}")
    if part is not None:
        for wire in (name for name in listing.things if name.endswith(" wire")):
            actions.update(f"connect battery {pole} to {wire} terminal 1" for pole in ("anode", "cathode"))
            actions.update(f"connect {wire} terminal 2 to {pole} in {part}" for pole in ("anode", "cathode"))
    return frozenset(actions)


@lru_cache(maxsize=1024)
def _goal_names(goal: str) -> tuple[str | None, str | None]:
    """The box and the electrical part that a goal names."""
    box, part = _BOX.search(goal), _PART.search(goal)
    return (box.group(1) if box else None), (part.group(1) if part else None)


def exploratory_actions(goal: str, observations: Sequence[str]) -> tuple[str, ...]:
    """Lists plausible actions after a transcript, for exploration and for mixtures with a uniform policy.

    Uses the description of the present room, what was seen in it since, and what the agent picked up.  In a room not
    yet described, any room heard of may be next door.  Never calls a simulator, so it works inside world models too.

    Args:
        goal: The goal text.
        observations: The observations so far, oldest first.

    Returns:
        Distinct actions in sorted order, typically 5 to 120 (few in a room not yet described).
    """
    box, part = _goal_names(goal)
    actions: set[str] = set(_ALWAYS)
    rooms: set[str] = set()
    held: set[str] = set()
    current: str | None = None
    recent: list[Listing] = []
    for observation in observations:
        listing = parse(observation)
        rooms.update(name for name, _ in listing.doors)
        if listing.taken is not None:
            held.add(listing.taken)
        if listing.room is not None:
            rooms.add(listing.room)
            if listing.room != current or listing.complete:
                recent = []
            current = listing.room
        recent.append(listing)
    for name in held:
        actions.update((f"put down {name}", f"look at {name}", f"focus on {name}"))
        if box is not None:
            actions.add(f"move {name} to {box}")
    for listing in recent:
        actions |= _for_listing(listing, box, part)
    if not any(listing.complete for listing in recent):
        actions.update(f"go to {name}" for name in rooms if name != current)
        actions.update(f"open door to {name}" for name in rooms if name != current)
    return tuple(sorted(actions))
