"""The two experts that demonstrations come from: their words, their habits and their noise (no simulator).

Expert ``a`` follows the simulator's gold path.  Expert ``b`` uses other verbs the parser knows, looks around in every
room until it has found what it needs, examines and takes stock, skips doors it has opened, and wires circuits another
way round.  Both name objects as the observations do, where gold paths use aliases.
"""

from __future__ import annotations

import numpy as np

from tasks.scienceworld.actions import Listing, parse
from tasks.scienceworld.live import STEP_LIMIT

_WORDS = {
    "a": {
        "open": "open door to {}",
        "go": "go to {}",
        "look": "look around",
        "focus": "focus on {}",
        "take": "pick up {}",
        "put": "move {} to {}",
        "check": "look at {}",
        "source": "connect battery {} to {} terminal 1",
        "sink": "connect {1} terminal 2 to {0} in {2}",
        "wait": "wait1",
    },
    "b": {
        "open": "open {} door",
        "go": "walk to {}",
        "look": "look",
        "focus": "focus {}",
        "take": "take {}",
        "put": "put {} in {}",
        "check": "examine {}",
        "source": "connect {1} terminal 1 to battery {0}",
        "sink": "connect {2} {0} to {1} terminal 2",
        "wait": "wait",
    },
}
_SHARED = {"inventory": "inventory", "unshut": "open {}", "answer": "0", "verbatim": "{}"}
_EVENTS = ("look", "inventory", "check", "unshut", "garble", "stray", "detour")
_EVENT_WEIGHTS = np.array((0.14, 0.1, 0.2, 0.12, 0.14, 0.1, 0.2))
Step = tuple[str, ...]  # what to do, then its arguments


def render(step: Step, style: str) -> str:
    """Words a step in the style of a mix."""
    words = _WORDS[style].get(step[0]) or _SHARED[step[0]]
    return words.format(*step[1:])


def abstract(start: str, gold: list[tuple[str, str]]) -> list[Step]:
    """Turns a replayed gold path into steps that name objects as the observations do.

    Args:
        start: The initial observation.
        gold: Actions with the observation that each of them brought.

    Returns:
        The steps.  Waiting at the end is dropped; the connections of a circuit become one step.
    """
    steps: list[Step] = []
    focus = held = ("", "")
    things = parse(start).things
    for action, answer in gold:
        verb, _, rest = action.partition(" ")
        shown = answer.split(" the ", 1)[-1]
        if action.startswith("open door to "):
            steps.append(("open", action.removeprefix("open door to ")))
        elif action.startswith("go to "):
            steps.append(("go", action.removeprefix("go to ")))
        elif action == "look around":
            steps.append(("look",))
            things = parse(answer).things
        elif action.startswith("focus on "):
            name = action.removeprefix("focus on ")
            known = (thing for thing in things if name.endswith(thing))  # a plant has no name of its own at first
            focus = held = (name, next(known, name) if shown == "plant." else shown.rstrip("."))
            steps.append(("focus", focus[1]))
        elif action.startswith("pick up "):
            name = action.removeprefix("pick up ")
            held = (name, focus[1] if name == focus[0] else shown.removesuffix(" to the inventory."))
            steps.append(("take", held[1]))
        elif verb == "move":
            steps.append(("put", held[1], rest.rpartition(" to ")[2]))
        elif verb == "connect" and not any(step[0] == "circuit" for step in steps):
            wires = [name for name in things if name.endswith(" wire")]
            steps.append(("circuit", focus[1], *wires[:2], *wires[-2:]))
        elif verb not in ("connect", "wait1"):
            steps.append(("verbatim", action))
    return steps


def script(plan: list[Step], mix: str, start: str) -> list[Step]:
    """Plays a plan out in the habits of a mix, without noise.

    Args:
        plan: The steps of the gold path, see :func:`abstract`.
        mix: ``a`` or ``b``.
        start: The room that the episode starts in.

    Returns:
        The expert's steps, within the step limit if its optional checks can be dropped for that.
    """
    careful = mix == "b"
    room, described, opened, focused = start, {start}, set[frozenset[str]](), False
    steps: list[tuple[Step, bool]] = []  # with True where the step can be left out
    for step in plan:
        kind = step[0]
        if kind == "open":
            door = frozenset((room, step[1]))
            if not (careful and door in opened):
                steps.append((step, False))
            opened.add(door)
        elif kind == "go":
            room = step[1]
            steps.append((step, False))
            if careful and not focused and room not in described:
                described.add(room)
                steps.append((("look",), True))
        elif kind == "look":
            if not (careful and room in described):
                steps.append((step, False))
            described.add(room)
        elif kind == "focus":
            if room not in described:  # gold paths focus blindly; an agent that reads cannot
                described.add(room)
                steps.append((("look",), False))
            if careful:
                steps.append((("check", step[1]), True))
            steps.append((step, False))
            focused = True
        elif kind == "take":
            steps.append((step, False))
            if careful:
                steps.append((("inventory",), True))
        elif kind == "circuit":
            first, second = step[2:4] if mix == "a" else step[4:6]
            poles = (("anode", first, "cathode"), ("cathode", second, "anode"))
            steps += [(("source", pole, wire), False) for pole, wire, _ in poles]
            steps += [(("sink", pole, wire, step[1]), False) for _, wire, pole in poles]
            steps.append((("wait",), False))  # some parts light up one tick later; otherwise the episode is over
        else:
            steps.append((step, False))
    for kind in ("inventory", "check", "look"):
        for i in reversed(range(len(steps))):
            needed = i + 2 < len(steps) and "focus" in (steps[i + 1][0][0], steps[i + 2][0][0])
            if (
                len(steps) > STEP_LIMIT - 1
                and steps[i][1]
                and steps[i][0][0] == kind
                and not (kind == "look" and needed)
            ):
                del steps[i]
    return [step for step, _ in steps]


def noise_event(rng: np.random.Generator, here: Listing | None, room: str, upcoming: Step) -> list[Step]:
    """Draws a harmless mistake or detour.

    Args:
        rng: Source of randomness.
        here: The description of the present room, if the agent has seen it.
        room: The present room.
        upcoming: The expert's next step.

    Returns:
        The steps, or none.  Going back where a step moves the agent is up to the caller.
    """
    kind = str(rng.choice(_EVENTS, p=_EVENT_WEIGHTS / _EVENT_WEIGHTS.sum()))
    things = here.things if here else ()
    doors = here.doors if here else ()
    if kind == "check" and things:
        return [("check", str(rng.choice(things)))]
    if kind == "unshut" and here and here.shut:
        return [("unshut", str(rng.choice(here.shut)))]
    if kind == "stray" and doors and upcoming[0] == "open":
        return [("go", doors[int(rng.integers(len(doors)))][0])]
    away = [name for name, _ in doors if upcoming[0] not in ("open", "go") or name != upcoming[1]]
    if kind == "detour" and away:
        other = str(rng.choice(away))
        return [("open", other), ("go", other), *([("look",)] if rng.random() < 0.3 else [])]
    if kind in ("look", "inventory"):
        return [(kind,)]
    if upcoming[0] not in ("open", "go", "take"):
        return []
    words = render(upcoming, str(rng.choice(("a", "b")))).split(" ")  # garbled
    if rng.random() < 0.5 and len(words) > 2:
        del words[int(rng.integers(len(words) - 1))]
    else:
        longest = max(range(len(words)), key=lambda i: len(words[i]))
        at = int(rng.integers(1, len(words[longest])))
        words[longest] = words[longest][:at] + words[longest][at + 1 :]
    return [("verbatim", " ".join(words))]
