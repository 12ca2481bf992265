"""What an agent knows from its transcript alone: where it is, what it holds, what lies where (no engine)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

OPENABLE = frozenset(("cabinet", "drawer", "fridge", "microwave", "safe"))
"""Kinds of receptacles that may be closed."""
STATIONS = {"clean": "sinkbasin", "heat": "microwave", "cool": "fridge"}
"""Where an object is cleaned, heated or cooled."""
LAMP = "desklamp"

_NAME = r"([a-z]+ \d+)"
_THINGS = re.compile(rf"\ban? {_NAME}")
_ROOM = re.compile(r"Looking quickly around you, you see (.*)", re.S)
_ARRIVED = re.compile(r"You arrive at (loc )?")
_SURFACE = re.compile(rf"On the {_NAME}, you see ([^.]*)\.")
_INSIDE = re.compile(rf"The {_NAME} is open\. In it, you see ([^.]*)\.")
_CLOSED = re.compile(rf"(?:The {_NAME} is closed|You close the {_NAME})\.")
_FACING = re.compile(rf"You are facing the {_NAME}\.")
_TOOK = re.compile(rf"You pick up the {_NAME} from the {_NAME}\.")
_PUT = re.compile(rf"You (?:put|move) the {_NAME} (?:in/on|to) the {_NAME}\.")
_TREATED = re.compile(rf"You (?:clean|heat|cool) the {_NAME} using the {_NAME}\.")

_GOALS = (
    (re.compile(r"(?:put a|put some) (?:(clean|hot|cool) )?(\w+) (?:in|on) (\w+)"), 1),
    (re.compile(r"(clean|heat|cool) some (\w+) and put it in (\w+)"), 1),
    (re.compile(r"(?:put|find) two()? (\w+)(?: and put them)? in (\w+)"), 2),
    (re.compile(r"(?:look at|examine the)()? (\w+) (?:under|with) the ()desklamp"), 1),
)


@dataclass(frozen=True)
class Task:
    """A goal, understood.

    Attributes:
        target: kind of the object.
        destination: kind of the receptacle it belongs in; None where it is to be looked at under the lamp.
        treatment: clean, heat, cool or None.
        count: how many objects.
    """

    target: str
    destination: str | None
    treatment: str | None
    count: int


@lru_cache(maxsize=4096)
def parse_goal(goal: str) -> Task | None:
    """The task in a goal of ALFWorld's own wording, or None for any other text."""
    for pattern, count in _GOALS:
        match = pattern.match(goal)
        if match:
            treatment = "heat" if match[1] == "hot" else match[1] or None
            return Task(match[2], match[3] or None, treatment, count)
    return None


def kind_of(name: str) -> str:
    """`cabinet` of `cabinet 3`."""
    return name.rpartition(" ")[0]


@dataclass
class Belief:
    """Kept up to date by `see`.

    Attributes:
        receptacles: all there are, as first listed.
        here: the one the agent stands at.
        contents: what lies in those whose inside was seen, as far as known.
        closed: those known to be closed.
        held, held_from: the object in hand, and where it was.
        treated: objects that were cleaned, heated or cooled.
        newer: the engine speaks the newer wording.
    """

    receptacles: tuple[str, ...] = ()
    here: str | None = None
    contents: dict[str, tuple[str, ...]] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    held: str | None = None
    held_from: str | None = None
    treated: set[str] = field(default_factory=set)
    newer: bool = False

    def see(self, observation: str) -> None:
        """Takes in one observation."""
        room = _ROOM.search(observation)
        if room and not self.receptacles:
            self.receptacles = tuple(_THINGS.findall(room[1]))
        if arrived := _ARRIVED.search(observation):
            self.newer = arrived[1] is None
        for pattern in (_SURFACE, _INSIDE):
            if seen := pattern.search(observation):
                self.here = seen[1]
                self.contents[seen[1]] = tuple(_THINGS.findall(seen[2]))
                self.closed.discard(seen[1])
        if shut := _CLOSED.search(observation):
            self.here = shut[1] or shut[2]
            self.closed.add(self.here)
        if facing := _FACING.search(observation):
            self.here = facing[1]
        if took := _TOOK.search(observation):
            self.held, self.held_from = took[1], took[2]
            self.contents[took[2]] = tuple(thing for thing in self.contents.get(took[2], ()) if thing != took[1])
        if put := _PUT.search(observation):
            self.held = self.held_from = None
            self.contents[put[2]] = (*self.contents.get(put[2], ()), put[1])
        if done := _TREATED.search(observation):
            self.treated.add(done[1])

    def reachable(self) -> tuple[str, ...]:
        """Objects the agent sees where it stands."""
        return () if self.here is None or self.here in self.closed else self.contents.get(self.here, ())

    def put(self, thing: str, receptacle: str) -> str:
        """The command for putting something down."""
        return f"move {thing} to {receptacle}" if self.newer else f"put {thing} in/on {receptacle}"


def belief_of(observations: Sequence[str]) -> Belief:
    """What an agent knows after some observations, oldest first."""
    belief = Belief()
    for observation in observations:
        belief.see(observation)
    return belief
