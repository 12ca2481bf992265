"""ALFWorld game files: of own households, and official ones by path; in the older or the newer wording.

Published logs are in the older wording ("You arrive at loc 3.", "put mug 1 in/on desk 1", "You put the mug 1 in/on the
desk 1."), the installed package has the newer one ("You arrive at desk 1.", "move mug 1 to desk 1"). The older grammar
is rebuilt from the newer, exactly as version 0.3.5 had it (a test compares the hash). Official games carry theirs.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from tasks.alfworld.households import LAMP, Household, household

Wording = Literal["older", "newer"]
GAME_FILE = "game.tw-pddl"
_OLDER = (
    ("You arrive at {r.name}.", "You arrive at {lend.name}."),
    ("You move the {o.name} to the {r.name}.", "You put the {o.name} in/on the {r.name}."),
    ('"move {o} to {r}"', '"put {o} in/on {r}"'),
)
_HELP_SENTENCES = re.compile(r"\naction help \{\n.*?\n\}\n", re.S)
_HELP_ACTION = re.compile(r"\(:action help\n.*?\n\)\n\n", re.S)
_UNSAFE = {"-": "_minus_", "|": "_bar_", "+": "_plus_", ".": "_dot_", ",": "_comma_"}
_FACTS = (("Cleanable", "cleanable"), ("Heatable", "heatable"), ("Coolable", "coolable"), ("Toggleable", "toggleable"))


def make_game(instance: str, wording: Wording = "older") -> dict[str, Any]:
    """The game of an own household, as a game.tw-pddl holds one.

    Args:
        instance: see `tasks.alfworld.households`.
        wording: of what the engine says and of the commands for putting things down.
    """
    home = household(instance)
    domain, grammar = rules(wording)
    return {
        "pddl_domain": domain,
        "grammar": grammar.replace("UNKNOWN GOAL", home.goal),
        "pddl_problem": _problem(home, instance),
        "solvable": True,
        "walkthrough": None,
    }


def read_game(path: Path) -> dict[str, Any]:
    """An official game.

    Args:
        path: its folder, or the file game.tw-pddl in it.

    Raises:
        ValueError: there is none, it is damaged, or it is not marked solvable (the official collection skips those).
    """
    file = path / GAME_FILE if path.is_dir() else path
    try:
        game = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{file}: cannot be read ({error.strerror}). Name a folder that holds {GAME_FILE}.") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{file}, line {error.lineno}: {error.msg}. The game is damaged.") from error
    missing = [key for key in ("pddl_domain", "grammar", "pddl_problem") if not isinstance(game.get(key), str)]
    if missing:
        raise ValueError(f"{file}: has no {', '.join(missing)}; it is not an ALFWorld game.")
    if game.get("solvable") is not True:
        raise ValueError(f"{file}: is not marked solvable; the official collection skips such games. Choose another.")
    return game


def wording_of(game: dict[str, Any]) -> Wording:
    """Which wording a game has."""
    return "older" if "{lend.name}" in game["grammar"] else "newer"


@lru_cache(maxsize=2)
def rules(wording: Wording) -> tuple[str, str]:
    """ALFWorld's domain and grammar in a wording.

    Raises:
        ImportError: the package alfworld is not installed.
    """
    from alfworld.info import ALFRED_PDDL_PATH, ALFRED_TWL2_PATH

    domain, grammar = Path(ALFRED_PDDL_PATH).read_text(), Path(ALFRED_TWL2_PATH).read_text()
    if wording == "newer":
        return domain, grammar
    for newer, older in _OLDER:
        grammar = grammar.replace(newer, older)
    return _HELP_ACTION.sub("", domain), _HELP_SENTENCES.sub("", grammar)


def _problem(home: Household, instance: str) -> str:
    """The household as a PDDL problem, in the vocabulary of ALFRED's domain."""
    from alfworld.gen import constants
    from alfworld.gen.goal_library import gdict

    places = {r.id: r.place for r in home.receptacles}
    fixed, loose = {r.kind for r in home.receptacles}, {o.kind for o in home.objects}
    facts = [f"atLocation agent1 {home.start}"]
    for r in home.receptacles:
        facts += [f"receptacleType {r.id} {r.kind}Type", f"receptacleAtLocation {r.id} {r.place}"]
        facts += [f"openable {r.id}"] if r.kind in constants.OPENABLE_CLASS_SET else []
    for kind in sorted(fixed):
        fitting = sorted(loose & set(constants.VAL_RECEPTACLE_OBJECTS[kind]))
        facts += [f"canContain {kind}Type {held}Type" for held in fitting]
    for o in home.objects:
        facts += [f"objectType {o.id} {o.kind}Type", f"inReceptacle {o.id} {o.place}"]
        facts += [f"objectAtLocation {o.id} {places[o.place]}"]
        facts += [] if o.kind == LAMP else [f"pickupable {o.id}"]
        facts += [f"isReceptacleObject {o.id}"] if o.kind in constants.MOVABLE_RECEPTACLES_SET else []
        facts += [f"{name} {o.id}" for key, name in _FACTS if o.kind in constants.VAL_ACTION_OBJECTS[key]]
    # the domain and the goals name these classes even where a room has none of them
    object_kinds = loose | {"Knife", "ButterKnife", LAMP, home.target}
    receptacle_kinds = fixed | {"SinkBasin", "Microwave", "Fridge"}
    declared = [
        "agent1 - agent",
        *(f"{kind}Type - otype" for kind in sorted(object_kinds)),
        *(f"{kind}Type - rtype" for kind in sorted(receptacle_kinds)),
        *(f"{_escaped(o.id)} - object" for o in home.objects),
        *(f"{_escaped(r.id)} - receptacle" for r in home.receptacles),
        *(f"{_escaped(place)} - location" for place in sorted({*places.values(), home.start})),
    ]
    goal = gdict[home.task]["pddl"].format(obj=home.target, recep=home.destination, toggle=LAMP).replace("#", "-")
    init = "\n".join(f"({_escaped(fact)})" for fact in facts)
    name = re.sub(r"\W", "_", instance)
    head = f"(define (problem {name})\n(:domain alfred)\n"
    return head + "(:objects\n" + "\n".join(declared) + f"\n)\n(:init\n{init}\n)\n{goal}"


def _escaped(text: str) -> str:
    """An ALFRED identifier in letters that PDDL allows."""
    return "".join(_UNSAFE.get(letter, letter) for letter in text)
