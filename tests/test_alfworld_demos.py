"""ALFWorld without its engine: what is read off transcripts, the experts in a toy house, the recipe."""

from __future__ import annotations

import importlib.util
import json
import re
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tasks.alfworld.actions import exploratory_actions
from tasks.alfworld.belief import Belief, Task, belief_of, parse_goal
from tasks.alfworld.demos import EVALUATION, replay
from tasks.alfworld.experts import next_action, noise_event
from tasks.alfworld.games import read_game
from tasks.alfworld.households import RECEPTACLES, TASK_TYPES, parse_instance
from tasks.alfworld.live import NOTHING, STEP_LIMIT, ALFWorld
from tasks.alfworld.oracle import solve
from tasks.alfworld.recipe import INSTANCES, RECIPE

LOOK = "You are in the middle of a room. Looking quickly around you, you see"
ROOM = f"{LOOK} a desk 1, a drawer 2, a drawer 1, a fridge 1, and a sinkbasin 1."
AT_DESK = "You arrive at loc 1. On the desk 1, you see a desklamp 1, and a pen 2."
AT_DRAWER = "You arrive at loc 2. The drawer 2 is closed."
OPENED = "You open the drawer 2. The drawer 2 is open. In it, you see a mug 1."
TAKEN = "You pick up the mug 1 from the drawer 2."


class ToyHouse:
    """A kitchen that speaks ALFWorld's older wording."""

    step_limit = STEP_LIMIT

    def __init__(self, goal: str, things: dict[str, list[str]]):
        self.goal, self.things = goal, things

    def reset(self, instance: str) -> tuple[str, str]:
        self.inside = {place: list(things) for place, things in self.things.items()}
        self.closed = {p for p in self.inside if p.partition(" ")[0] in ("drawer", "fridge", "microwave")}
        self.here, self.held, self.treated = "", "", set[str]()
        return self.goal, f"{LOOK} {', '.join(f'a {place}' for place in self.inside)}."

    def _shown(self) -> str:
        if self.here in self.closed:
            return f"The {self.here} is closed."
        seen = ", ".join(f"a {thing}" for thing in self.inside[self.here]) or "nothing"
        is_open = self.here.partition(" ")[0] in ("drawer", "fridge", "microwave")
        where = f"The {self.here} is open. In it" if is_open else f"On the {self.here}"
        return f"{where}, you see {seen}."

    def _won(self) -> bool:
        task = parse_goal(self.goal)
        if task.destination is None:
            return self.held.startswith(task.target) and "lamp" in self.treated
        there = [t for p, ts in self.inside.items() if p.startswith(task.destination) for t in ts]
        good = [t for t in there if t.startswith(task.target) and (task.treatment is None or t in self.treated)]
        return len(good) >= task.count

    def step(self, action: str) -> tuple[str, float, bool]:
        answer = self._answer(action)
        return answer, float(self._won()), self._won()

    def _answer(self, action: str) -> str:
        here, inside = self.here, self.inside.get(self.here, [])
        if (match := re.fullmatch(r"go to (.+)", action)) and match[1] in self.inside and match[1] != here:
            self.here = match[1]
            return f"You arrive at loc {len(match[1])}. {self._shown()}"
        if action == f"open {here}" and here in self.closed:
            self.closed.remove(here)
            return f"You open the {here}. {self._shown()}"
        if action == f"close {here}" and here.partition(" ")[0] in ("drawer", "fridge", "microwave"):
            self.closed.add(here)
            return f"You close the {here}."
        if (match := re.fullmatch(rf"take (.+) from {here}", action)) and not self.held and here not in self.closed:
            if match[1] in inside:
                inside.remove(match[1])
                self.held = match[1]
                return f"You pick up the {self.held} from the {here}."
        if self.held and action == f"put {self.held} in/on {here}" and here not in self.closed:
            inside.append(self.held)
            put, self.held = self.held, ""
            return f"You put the {put} in/on the {here}."
        verbs = {"clean": "sinkbasin", "heat": "microwave", "cool": "fridge"}
        match = re.fullmatch(rf"(\w+) {self.held} with {here}", action)
        if self.held and match and here.startswith(verbs.get(match[1], "?")):
            self.treated.add(self.held)
            return f"You {match[1]} the {self.held} using the {here}."
        if action == "use desklamp 1" and "desklamp 1" in inside:
            self.treated.add("lamp")
            return "You turn on the desklamp 1."
        if action == "look":
            return f"You are facing the {here}. Next to it, you see nothing." if here else f"{LOOK} nothing."
        return f"You are carrying: a {self.held}." if action == "inventory" else NOTHING


def house(goal: str) -> ToyHouse:
    things = {
        "desk 1": ["desklamp 1", "pen 2"],
        "drawer 2": ["mug 1"],
        "drawer 1": ["mug 2"],
        "fridge 1": ["apple 1"],
        "microwave 1": [],
        "sinkbasin 1": ["fork 1"],
        "shelf 1": [],
    }
    return ToyHouse(goal, things)


GOALS = {
    "put a mug in shelf.": Task("mug", "shelf", None, 1),
    "put some fork on desk.": Task("fork", "desk", None, 1),
    "put a clean mug in shelf.": Task("mug", "shelf", "clean", 1),
    "clean some fork and put it in drawer.": Task("fork", "drawer", "clean", 1),
    "put a hot apple in desk.": Task("apple", "desk", "heat", 1),
    "heat some apple and put it in fridge.": Task("apple", "fridge", "heat", 1),
    "put a cool mug in desk.": Task("mug", "desk", "cool", 1),
    "cool some mug and put it in microwave.": Task("mug", "microwave", "cool", 1),
    "put two mug in shelf.": Task("mug", "shelf", None, 2),
    "find two mug and put them in desk.": Task("mug", "desk", None, 2),
    "look at mug under the desklamp.": Task("mug", None, None, 1),
    "examine the pen with the desklamp.": Task("pen", None, None, 1),
}


@pytest.mark.parametrize("goal", GOALS)
def test_goals_are_understood(goal: str) -> None:
    assert parse_goal(goal) == GOALS[goal]


def test_other_goals_are_not() -> None:
    assert parse_goal("Place the mug on the shelf near the window.") is None


@pytest.mark.parametrize("mix", ["a", "b"])
@pytest.mark.parametrize("goal", GOALS)
def test_experts_solve_every_kind_of_task(goal: str, mix: str) -> None:
    demo = replay(house(goal), "toy", mix, 0, noisy=False)
    assert demo is not None and demo["score"] == 1.0
    assert all(step["clone"] for step in demo["steps"])
    assert all(step["observation"] != NOTHING for step in demo["steps"])
    assert [step["reward"] for step in demo["steps"][:-1]] == [0.0] * (len(demo["steps"]) - 1)


@pytest.mark.parametrize("mix", ["a", "b"])
def test_demonstrations_are_noisy_succeed_and_repeat(mix: str) -> None:
    demos = [replay(house(goal), f"toy/{i}", mix, 0) for goal in GOALS for i in range(8)]
    assert demos == [replay(house(goal), f"toy/{i}", mix, 0) for goal in GOALS for i in range(8)]
    assert demos != [replay(house(goal), f"toy/{i}", mix, 1) for goal in GOALS for i in range(8)]
    kept = [demo for demo in demos if demo is not None]
    assert len(kept) >= 0.9 * len(demos)
    clone = [step["clone"] for demo in kept for step in demo["steps"]]
    assert 0.75 < np.mean(clone) < 0.95
    clean = [replay(house(goal), "toy", mix, 0, noisy=False) for goal in GOALS]
    assert np.mean([len(d["steps"]) for d in kept]) > np.mean([len(d["steps"]) for d in clean])
    assert all(demo["steps"][-1]["clone"] or mix == "a" for demo in kept)


def test_the_experts_search_in_opposite_orders_and_have_habits() -> None:
    demos = {mix: replay(house("put a mug in desk."), "toy", mix, 0, noisy=False) for mix in ("a", "b")}
    plans = {mix: [step["action"] for step in demo["steps"]] for mix, demo in demos.items()}
    assert plans["a"] == [
        "go to drawer 2", "open drawer 2", "take mug 1 from drawer 2", "go to desk 1", "put mug 1 in/on desk 1",
    ]  # fmt: skip
    assert plans["b"] == [
        "look", "go to shelf 1", "go to sinkbasin 1", "go to microwave 1", "open microwave 1", "close microwave 1",
        "go to fridge 1", "open fridge 1", "close fridge 1", "go to drawer 1", "open drawer 1",
        "take mug 2 from drawer 1", "inventory", "go to desk 1", "put mug 2 in/on desk 1",
    ]  # fmt: skip


def test_what_was_taken_by_mistake_is_put_back() -> None:
    belief = belief_of([ROOM, AT_DESK, "You pick up the pen 2 from the desk 1.", AT_DRAWER])
    task = parse_goal("put a mug in desk.")
    assert next_action(belief, task, "a", "go to drawer 2") == "go to desk 1"
    belief.see(AT_DESK)
    assert next_action(belief, task, "a", "go to desk 1") == "put pen 2 in/on desk 1"


def test_noise_is_drawn_from_what_is_seen() -> None:
    rng = np.random.default_rng(0)
    belief = belief_of([ROOM, AT_DRAWER, OPENED])
    events = Counter(noise_event(rng, belief, "take mug 1 from drawer 2") for _ in range(600))
    assert {"look", "inventory", "examine mug 1", "examine drawer 2", "go to desk 1", "close drawer 2"} <= set(events)
    assert {"mug 1 from drawer 2", "take 1 from drawer 2"} <= set(events)
    assert "go to drawer 2" not in events and "take mug 1 from drawer 2" not in events


def test_beliefs_follow_the_transcript() -> None:
    belief = belief_of([ROOM, AT_DESK, AT_DRAWER])
    assert belief.receptacles == ("desk 1", "drawer 2", "drawer 1", "fridge 1", "sinkbasin 1")
    assert (belief.here, belief.closed, belief.reachable()) == ("drawer 2", {"drawer 2"}, ())
    assert belief.contents == {"desk 1": ("desklamp 1", "pen 2")}
    belief.see(OPENED)
    assert (belief.closed, belief.reachable()) == (set(), ("mug 1",))
    belief.see(TAKEN)
    assert (belief.held, belief.held_from, belief.reachable()) == ("mug 1", "drawer 2", ())
    belief.see("You clean the mug 1 using the sinkbasin 1.")
    belief.see(NOTHING)
    belief.see("You put the mug 1 in/on the desk 1.")
    assert (belief.held, belief.treated, belief.contents["desk 1"][-1]) == (None, {"mug 1"}, "mug 1")
    belief.see(f"{LOOK} nothing.")
    assert len(belief.receptacles) == 5


def test_the_newer_wording_is_understood_too() -> None:
    belief = belief_of([ROOM, "You arrive at drawer 2. The drawer 2 is closed.", OPENED, TAKEN])
    assert belief.put("mug 1", "drawer 2") == "move mug 1 to drawer 2"
    belief.see("You move the mug 1 to the drawer 2.")
    assert belief.held is None and belief.reachable() == ("mug 1",)
    assert belief_of([ROOM, AT_DRAWER]).put("mug 1", "desk 1") == "put mug 1 in/on desk 1"


def test_exploratory_actions_follow_the_transcript() -> None:
    start = exploratory_actions("", [ROOM])
    assert start == (
        "go to desk 1", "go to drawer 1", "go to drawer 2", "go to fridge 1", "go to sinkbasin 1", "inventory", "look",
    )  # fmt: skip
    desk = set(exploratory_actions("", [ROOM, AT_DESK]))
    assert {"use desklamp 1", "take pen 2 from desk 1", "examine desk 1"} <= desk
    assert not desk & {"go to desk 1", "close desk 1", "take desklamp 1 from desk 1"}
    drawer = set(exploratory_actions("", [ROOM, AT_DRAWER]))
    assert "open drawer 2" in drawer and not any(action.startswith("take") for action in drawer)
    held = set(exploratory_actions("", [ROOM, AT_DRAWER, OPENED, TAKEN]))
    assert {"close drawer 2", "put mug 1 in/on drawer 2", "examine mug 1"} <= held
    sink = exploratory_actions("", [ROOM, TAKEN, "You arrive at loc 9. On the sinkbasin 1, you see nothing."])
    assert "clean mug 1 with sinkbasin 1" in sink and sink == tuple(sorted(set(sink)))


@pytest.mark.parametrize("goal", GOALS)
def test_exploratory_actions_cover_what_the_experts_do(goal: str) -> None:
    for mix in ("a", "b"):
        seen: list[str] = []
        for step in replay(house(goal), "toy", mix, 0, noisy=False)["steps"]:
            seen.append(step["observation"])
            assert step["action"] in exploratory_actions(goal, seen)


def test_exploratory_actions_are_fast() -> None:
    transcript = [ROOM, *[AT_DESK, AT_DRAWER, OPENED, NOTHING] * 12]
    start = time.process_time()
    for _ in range(200):
        exploratory_actions("", transcript)
    assert (time.process_time() - start) / 200 < 5e-3


PROBLEM = """(define (problem x) (:domain alfred) (:objects)
(:init (receptacleType d1 DeskType) (receptacleType f1 FridgeType) (openable f1) (receptacleAtLocation f1 l1)
(objectType a1 AppleType) (objectType a2 AppleType) (inReceptacle a1 f1) (inReceptacle a2 d1) (objectType k LampType))
(:goal (exists (?r - receptacle) (exists (?o{0} - object) (and {1} (objectType ?o{0} AppleType)
(receptacleType ?r DeskType) (inReceptacle ?o{0} ?r) {2})))))"""
NAMES = {"d1": "desk 1", "f1": "fridge 1", "a1": "apple 1", "a2": "apple 2"}


def test_the_oracle_reads_the_facts() -> None:
    assert solve(PROBLEM.format("", "(isCool ?o)", ""), NAMES, "older") == (
        "go to fridge 1", "open fridge 1", "take apple 1 from fridge 1", "go to fridge 1", "cool apple 1 with fridge 1",
        "go to desk 1", "put apple 1 in/on desk 1",
    )  # fmt: skip
    two = solve(PROBLEM.format("1", "", "(exists (?o2 - object))"), NAMES, "newer")
    assert two[-1] == "move apple 1 to desk 1" and len(two) == 5  # the other one is there already
    with pytest.raises(ValueError, match="the room has no microwavetype"):
        solve(PROBLEM.format("", "(isHot ?o)", ""), NAMES, "older")


def test_the_evaluation_list_holds_all_six_types() -> None:
    listed = json.loads(INSTANCES.read_text(encoding="utf-8"))["instances"]
    assert RECIPE.instances == tuple(one["id"] for one in listed)
    assert len(set(RECIPE.instances)) == len(listed) == 50
    assert Counter(one["task"] for one in listed) == {task: count for task, (count, _) in EVALUATION.items()}
    assert Counter(one["split"] for one in listed) == {"fit": 35, "transfer": 15}
    assert set(EVALUATION) == set(TASK_TYPES)
    for one in listed:
        assert parse_instance(one["id"])[:2] == ("eval", one["task"])
        assert 3 < one["gold_length"] < 15
        assert RECEPTACLES["eval"][0] <= one["receptacles"] <= RECEPTACLES["eval"][1]


def test_the_recipe_has_loggers_of_two_kinds_and_twelve_targets() -> None:
    names = [card.name for card in RECIPE.policies]
    assert len(set(names)) == len(names)
    assert set(RECIPE.loggers) < set(names)
    assert len(RECIPE.targets) == 12
    assert sum(card.epsilon_sweep for card in RECIPE.targets) == 4
    shares = {f"{mix}-{round(100 * share):03d}" for mix in RECIPE.mixes for share in RECIPE.cloning.checkpoints}
    assert {card.checkpoint for card in RECIPE.policies} <= shares
    assert "older wording" in RECIPE.environment_version and RECIPE.step_limit == STEP_LIMIT


@pytest.mark.parametrize("name", ["train/boil/3", "test/look_at_obj_in_light/1", "train/look_at_obj_in_light/x", "12"])
def test_bad_instances_are_explained(name: str) -> None:
    with pytest.raises(ValueError, match=f"Unknown ALFWorld instance '{name}': expected split/task-type/number"):
        parse_instance(name)


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"pddl_domain": "x"}', "has no grammar, pddl_problem"),
        ('{"pddl_domain": "", "grammar": "", "pddl_problem": "", "solvable": false}', "not marked solvable"),
        ('{"pddl_domain": "", "grammar": "", "pddl_problem": ""}', "not marked solvable"),
        ('{"pddl_domain": ', "line 1: .*damaged"),
    ],
)
def test_bad_official_games_are_explained(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "game.tw-pddl").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_game(tmp_path)
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(ValueError, match="cannot be read"):
        read_game(tmp_path / "nothing")


@pytest.mark.skipif(importlib.util.find_spec("textworld") is not None, reason="the engine is installed")
def test_without_the_engine_the_error_says_what_to_install() -> None:
    with pytest.raises(ImportError, match=r"'fast_downward', which is not installed.*\[alfworld\].*g\+\+"):
        ALFWorld()


def test_an_empty_belief_knows_nothing() -> None:
    assert Belief().reachable() == ()
