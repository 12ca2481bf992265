"""Plausible ALFWorld commands, read off the goal and the observations alone (no engine)."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.alfworld.belief import LAMP, OPENABLE, STATIONS, belief_of, kind_of

_ALWAYS = ("look", "inventory")


def exploratory_actions(goal: str, observations: Sequence[str]) -> tuple[str, ...]:
    """Lists plausible actions after a transcript, for exploration and for mixtures with a uniform policy.

    Going to every other receptacle, opening or closing the one at hand, taking what lies there, and everything that can
    be done with what is held. Never calls an engine, so it works inside world models too.

    Args:
        goal: The goal text; commands do not depend on it.
        observations: The observations so far, oldest first.

    Returns:
        Distinct actions in sorted order, typically 6 to 30.
    """
    belief = belief_of(observations)
    here = belief.here
    actions = {*_ALWAYS, *(f"go to {name}" for name in belief.receptacles if name != here)}
    if here is not None:
        actions.add(f"examine {here}")
        if here in belief.closed:
            actions.add(f"open {here}")
        elif kind_of(here) in OPENABLE:
            actions.add(f"close {here}")
        for thing in belief.reachable():
            actions.add(f"use {thing}" if kind_of(thing) == LAMP else f"take {thing} from {here}")
    if belief.held is not None:
        actions.add(f"examine {belief.held}")
        if here is not None and here not in belief.closed:
            actions.add(belief.put(belief.held, here))
        if here is not None:
            verbs = (verb for verb, station in STATIONS.items() if kind_of(here) == station)
            actions.update(f"{verb} {belief.held} with {here}" for verb in verbs)
    return tuple(sorted(actions))
