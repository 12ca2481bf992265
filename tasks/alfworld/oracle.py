"""The shortest way that an agent who knows everything would take, read off the facts of a game, without a search."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tasks.alfworld.games import Wording

_FACT = re.compile(r"\((\w+) ([^()]+)\)")
_TARGET = re.compile(r"\(objecttype \?o1? (\w+)\)")
_LAMP = re.compile(r"\(objecttype \?ot (\w+)\)")
_DESTINATION = re.compile(r"\(receptacletype \?r (\w+)\)")
_STATIONS = (
    ("isclean", "clean", "sinkbasintype"),
    ("ishot", "heat", "microwavetype"),
    ("iscool", "cool", "fridgetype"),
)


@dataclass
class _Plan:
    """A plan in the making; `opened` are the receptacles that are open by then."""

    names: Mapping[str, str]
    openable: frozenset[str]
    lies_in: Mapping[str, str]
    opened: set[str] = field(default_factory=set)
    actions: list[str] = field(default_factory=list)

    def visit(self, receptacle: str) -> None:
        self.actions.append(f"go to {self.names[receptacle]}")

    def reach_into(self, receptacle: str) -> None:
        self.visit(receptacle)
        if receptacle in self.openable and receptacle not in self.opened:
            self.actions.append(f"open {self.names[receptacle]}")
            self.opened.add(receptacle)

    def take(self, thing: str) -> None:
        self.reach_into(self.lies_in[thing])
        self.actions.append(f"take {self.names[thing]} from {self.names[self.lies_in[thing]]}")


def solve(problem: str, names: Mapping[str, str], wording: Wording) -> tuple[str, ...]:
    """Commands that solve a game.

    Args:
        problem: its PDDL problem.
        names: identifier to displayed name, see `tasks.alfworld.live.ALFWorld.facts`.
        wording: of the commands for putting things down.

    Raises:
        ValueError: the room lacks something that the task needs.
    """
    init, goal = problem.lower().split("(:init")[1].split("(:goal")
    facts: dict[str, list[list[str]]] = {}
    for name, arguments in _FACT.findall(init):
        facts.setdefault(name, []).append(arguments.split())
    kinds, fixed = dict(facts["objecttype"]), dict(facts["receptacletype"])
    plan = _Plan(names, frozenset(one[0] for one in facts.get("openable", ())), dict(facts["inreceptacle"]))
    plan.opened |= {one[0] for one in facts.get("opened", ())}
    target = _TARGET.search(goal)[1]
    things = [thing for thing in plan.lies_in if kinds.get(thing) == target]
    if "istoggled" in goal:
        lamp = _first(kinds, _LAMP.search(goal)[1])
        plan.take(_first(kinds, target))
        plan.visit(plan.lies_in[lamp])
        return (*plan.actions, f"use {names[lamp]}")
    there = _first(fixed, _DESTINATION.search(goal)[1])
    count = 2 if "?o2" in goal else 1
    already = [thing for thing in things if count == 2 and plan.lies_in[thing] == there][:count]
    for thing in [thing for thing in things if thing not in already][: count - len(already)]:
        plan.take(thing)
        for fact, verb, station in _STATIONS:
            if fact in goal:
                at = _first(fixed, station)
                plan.visit(at)
                plan.actions.append(f"{verb} {names[thing]} with {names[at]}")
        plan.reach_into(there)
        put = "put {} in/on {}" if wording == "older" else "move {} to {}"
        plan.actions.append(put.format(names[thing], names[there]))
    return tuple(plan.actions)


def _first(kinds: Mapping[str, str], kind: str) -> str:
    """The first thing of a kind."""
    found = next((name for name, own in kinds.items() if own == kind), None)
    if found is None:
        raise ValueError(f"the room has no {kind}, which its task needs.")
    return found
