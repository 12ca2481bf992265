"""The two experts that demonstrations come from: how they search, their habits and their noise (no engine).

Both know only what they have been shown, so that an agent that reads can learn what they do. Expert `a` searches the
receptacles in the order of the list and takes the first one of a kind to put things in. Expert `b` searches from the
end of the list, what stands open before what is closed, and takes the last one of a kind; it looks around first, checks
what it holds after taking something, closes what it has searched in vain, and opens fridge or microwave before use.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from tasks.alfworld.belief import LAMP, OPENABLE, STATIONS, Belief, Task, kind_of

Mix = Literal["a", "b"]
_EVENTS = ("look", "inventory", "examine", "garble", "detour", "shut")
_EVENT_WEIGHTS = np.array((0.1, 0.12, 0.24, 0.2, 0.24, 0.1))


def next_action(belief: Belief, task: Task, mix: Mix, last: str | None) -> str:
    """What an expert does next.

    Args:
        belief: what was shown.
        task: the goal.
        mix: whose habits.
        last: the expert's action before; None at the start.
    """
    if mix == "b" and last is None:
        return "look"
    if mix == "b" and last is not None and last.startswith("take "):
        return "inventory"
    held = belief.held
    if held is not None and kind_of(held) != task.target:  # taken by mistake
        return _at(belief, belief.held_from) or belief.put(held, belief.held_from)
    if held is None:
        found = _known(belief, task)
        if found is not None:
            thing, place = found
            return _at(belief, place) or f"take {thing} from {place}"
        return _search(belief, task, mix)
    if task.treatment is not None and held not in belief.treated:
        station = _chosen(belief, STATIONS[task.treatment], mix)
        reached = _at(belief, station, opened=mix == "b")
        return reached or f"{task.treatment} {held} with {station}"
    if task.destination is None:
        lamp = next(((t, r) for r, things in belief.contents.items() for t in things if kind_of(t) == LAMP), None)
        return _search(belief, task, mix) if lamp is None else _at(belief, lamp[1]) or f"use {lamp[0]}"
    place = _chosen(belief, task.destination, mix)
    return _at(belief, place) or belief.put(held, place)


def _at(belief: Belief, place: str, opened: bool = True) -> str | None:
    """The step that brings the agent closer to reaching into a receptacle; None where it already can."""
    if belief.here != place:
        return f"go to {place}"
    return f"open {place}" if opened and place in belief.closed else None


def _chosen(belief: Belief, kind: str, mix: Mix) -> str:
    """The receptacle of a kind that an expert uses."""
    found = [name for name in belief.receptacles if kind_of(name) == kind]
    return found[0 if mix == "a" else -1]


def _known(belief: Belief, task: Task) -> tuple[str, str] | None:
    """An object that is still to be brought, and where it is, if that is known."""
    for place, things in belief.contents.items():
        if kind_of(place) == task.destination and task.treatment is None:
            continue  # it is where it belongs
        for thing in things:
            if kind_of(thing) == task.target:
                return thing, place
    return None


def _search(belief: Belief, task: Task, mix: Mix) -> str:
    """The next step of a search through what was not seen yet."""
    here = belief.here
    if here is not None and here in belief.closed and here not in belief.contents:
        return f"open {here}"
    if mix == "b" and here is not None and kind_of(here) in OPENABLE and here in belief.contents:
        if here not in belief.closed:
            return f"close {here}"
    unseen = [name for name in belief.receptacles if name not in belief.contents]
    if mix == "b":
        unseen = sorted(reversed(unseen), key=lambda name: kind_of(name) in OPENABLE)
    unseen.sort(key=lambda name: kind_of(name) == task.destination)  # hardly there, and then it would be done
    return f"go to {unseen[0]}" if unseen else "look"


def noise_event(rng: np.random.Generator, belief: Belief, upcoming: str) -> str | None:
    """Draws a harmless mistake or detour; an expert finds back from any of them.

    Args:
        rng: source of randomness.
        belief: what was shown.
        upcoming: the expert's next action.

    Returns:
        The action, or None.
    """
    kind = str(rng.choice(_EVENTS, p=_EVENT_WEIGHTS / _EVENT_WEIGHTS.sum()))
    here = belief.here
    if kind == "examine" and here is not None:
        things = [here, *belief.reachable(), *([belief.held] if belief.held else [])]
        return f"examine {things[rng.integers(len(things))]}"
    if kind == "detour":
        others = [name for name in belief.receptacles if name != here and upcoming != f"go to {name}"]
        return f"go to {others[rng.integers(len(others))]}" if others else None
    if kind == "shut" and here is not None and kind_of(here) in OPENABLE and not upcoming.startswith(("open", "close")):
        return f"open {here}" if here in belief.closed else f"close {here}"
    if kind == "garble":
        return _garbled(rng, upcoming)
    return kind if kind in ("look", "inventory") else None


def _garbled(rng: np.random.Generator, action: str) -> str:
    """An action with a word left out, or with a letter left out."""
    words = action.split(" ")
    if len(words) > 2 and rng.random() < 0.5:
        del words[int(rng.integers(len(words)))]
        return " ".join(words)
    at = int(rng.integers(len(action) - 1))
    return action[:at] + action[at + 1 :]
