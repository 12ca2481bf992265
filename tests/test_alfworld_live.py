"""ALFWorld: the live engine (skipped where it is not installed), word for word against the stock engine."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.alfworld.demos import EVALUATION, NOISE, evaluation_instances, generate, gold_length, replay
from tasks.alfworld.games import make_game, rules
from tasks.alfworld.households import EXTRA_OBJECTS, RECEPTACLES, TASK_TYPES, household
from tasks.alfworld.live import NOTHING, STEP_LIMIT, ALFWorld
from tasks.alfworld.oracle import solve

NEEDED = ("textworld", "alfworld", "fast_downward")
pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in NEEDED),
    reason="needs the live engine: install the extra [alfworld] (needs g++ and Python 3.11 or 3.12)",
)
RECORDED = Path(__file__).parent.parent / "tasks" / "alfworld" / "recorded" / "instances.json"
ORIGINAL = {  # sha256 of alfred.pddl and alfred.twl2 in alfworld 0.3.5, whose text published logs have
    "domain": "e64e8c0002648c403e05adedc25be5ea8b9863924f32cc7611051bed1f386e46",
    "grammar": "d955e6db384c68ac5797e881b795fd36d788e87a03547f9a87e48fbd7c5b361b",
}


@pytest.fixture(scope="module")
def env() -> Iterator[ALFWorld]:
    with ALFWorld() as world:
        yield world


def solution(world: ALFWorld, instance: str) -> tuple[str, ...]:
    """The oracle's commands; the instance is reset."""
    world.reset(instance)
    problem, names = world.facts()
    return solve(problem, names, world.game_wording())


def play(world: ALFWorld, instance: str, actions: tuple[str, ...]) -> list[tuple[str, float, bool]]:
    """What actions bring, the reset first."""
    played = [("\n".join(world.reset(instance)), 0.0, False)]
    for action in actions:
        played.append(world.step(action))
        if played[-1][2]:
            break
    return played


def wanderings(world: ALFWorld, instance: str, length: int) -> tuple[str, ...]:
    """Random admissible commands and some that are not."""
    rng = np.random.default_rng(len(instance))
    world.reset(instance)
    actions: list[str] = []
    while len(actions) < length:
        actions.append(str(rng.choice([*world.admissible_commands(), "dance"])))
        if world.step(actions[-1])[2]:
            break
    return tuple(actions)


def stock_engine(game: dict[str, Any], folder: Path) -> Any:
    """The engine as alfworld itself puts it together."""
    import textworld
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
    from textworld.envs import PddlEnv

    (folder / "game.tw-pddl").write_text(json.dumps(game), encoding="utf-8")
    stock = AlfredDemangler(PddlEnv(textworld.EnvInfos(won=True, admissible_commands=True)), shuffle=False)
    arguments = list(sys.argv)
    stock.load(str(folder / "game.tw-pddl"))
    sys.argv = arguments
    return stock


def assert_same_as_stock(world: ALFWorld, stock: Any, instance: str, actions: tuple[str, ...]) -> None:
    goal, room = world.reset(instance)
    state = stock.reset()
    assert state.feedback == f"-= Welcome to TextWorld, ALFRED! =-\n\n{room}\n\nYour task is to: {goal}"
    for action in actions:
        assert world.admissible_commands() == state["admissible_commands"]
        state, score, done = stock.step(action)
        assert world.step(action) == (state.feedback.strip(), float(score), done), action


@pytest.mark.parametrize(
    "wording, instance",
    [
        ("older", "train/pick_cool_then_place_in_recep/5"),
        ("older", "eval/look_at_obj_in_light/1"),
        ("newer", "train/pick_two_obj_and_place/2"),
    ],
)
def test_text_is_that_of_the_stock_engine(wording: Any, instance: str, tmp_path: Path) -> None:
    with ALFWorld(wording) as world:
        stock = stock_engine(make_game(instance, wording), tmp_path)
        for actions in (wanderings(world, instance, 15), solution(world, instance)):
            assert_same_as_stock(world, stock, instance, actions)


def test_the_older_rules_are_those_of_version_0_3_5() -> None:
    domain, grammar = (hashlib.sha256(text.encode()).hexdigest() for text in rules("older"))
    assert {"domain": domain, "grammar": grammar} == ORIGINAL
    assert "put {o} in/on {r}" not in rules("newer")[1]


@pytest.mark.parametrize("task", TASK_TYPES)
def test_every_task_type_is_solved_for_reward_one(env: ALFWorld, task: str) -> None:
    for instance in (f"train/{task}/0", f"eval/{task}/0"):
        actions = solution(env, instance)
        played = play(env, instance, actions)
        assert [reward for _, reward, _ in played] == [0.0] * len(actions) + [1.0]
        assert played[-1][2]
        assert gold_length(env, instance) == len(actions)
        with pytest.raises(RuntimeError, match="has ended"):
            env.step("look")


def test_both_wordings_are_spoken(env: ALFWorld) -> None:
    instance = "train/pick_and_place_simple/0"
    with ALFWorld("newer") as world:
        newer, older = solution(world, instance), solution(env, instance)
        assert newer[-1].startswith("move ") and older[-1].startswith("put ")
        assert world.game_wording() == "newer" and env.game_wording() == "older"
        texts = [play(w, instance, a) for w, a in ((world, newer), (env, older))]
    assert texts[0][0] == texts[1][0]
    place = older[0].removeprefix("go to ")
    assert texts[0][1][0].startswith(f"You arrive at {place}.") and texts[1][1][0].startswith("You arrive at loc ")
    assert " in/on the " in texts[1][-1][0] and " to the " in texts[0][-1][0]


def test_same_actions_give_the_same_text_after_anything_else(env: ALFWorld) -> None:
    instances = ["train/pick_heat_then_place_in_recep/1", "eval/pick_two_obj_and_place/0"]
    runs = {one: wanderings(env, one, 12) for one in instances}
    played = {one: play(env, one, runs[one]) for one in instances}
    with ALFWorld() as other:
        for one in reversed(instances):
            assert play(other, one, runs[one]) == play(env, one, runs[one]) == played[one]


def test_players_in_threads_do_not_disturb_each_other(env: ALFWorld) -> None:
    instances = [f"train/{task}/1" for task in TASK_TYPES[:4]]
    runs = [wanderings(env, one, 8) for one in instances]
    expected = [play(env, one, run) for one, run in zip(instances, runs, strict=True)]
    players = [ALFWorld() for _ in instances]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(play, players, instances, runs)) == expected
    for player in players:
        player.close()


def test_steps_are_counted_and_limited(env: ALFWorld) -> None:
    with ALFWorld(step_limit=20) as world:
        with pytest.raises(RuntimeError, match="never started"):
            world.step("look")
        with pytest.raises(RuntimeError, match="No episode"):
            world.admissible_commands()
        world.reset("train/look_at_obj_in_light/0")
        assert {world.step("dance") for _ in range(20)} == {(NOTHING, 0.0, False)}
        assert world.steps == 20
        with pytest.raises(RuntimeError, match="limit of 20 steps"):
            world.step("look")
        world.reset("train/look_at_obj_in_light/0")
        assert world.steps == 0 and world.step("look")[0] != NOTHING
    assert env.step_limit == STEP_LIMIT == 30


def test_commands_are_offered_and_the_command_line_is_left_alone(env: ALFWorld) -> None:
    arguments = list(sys.argv)
    actions = solution(env, "train/pick_clean_then_place_in_recep/1")
    assert sys.argv == arguments
    for action in actions:
        offered = env.admissible_commands()
        assert action in offered and offered == sorted(set(offered))
        env.step(action)


def test_households_are_small_and_splits_share_no_floor_plan() -> None:
    plans: dict[str, set[int]] = {}
    for split in ("train", "eval"):
        homes = [household(f"{split}/{task}/{number}") for task in TASK_TYPES for number in range(40)]
        plans[split] = {home.plan for home in homes}
        fewest, most = RECEPTACLES[split]
        for home in homes:
            assert fewest <= len(home.receptacles) <= most
            needed = 2 if home.destination is None or home.task == "pick_two_obj_and_place" else 1
            assert len(home.objects) <= needed + EXTRA_OBJECTS[split]
            assert len({r.place for r in home.receptacles}) == len(home.receptacles)
            kinds = {r.id: r.kind for r in home.receptacles}
            assert all(kinds[o.place] != home.destination for o in home.objects if o.kind == home.target)
    assert not plans["train"] & plans["eval"]
    assert household("train/pick_and_place_simple/3") == household("train/pick_and_place_simple/3")


def test_official_folders_are_played_like_own_games(env: ALFWorld, tmp_path: Path) -> None:
    instance = "train/pick_clean_then_place_in_recep/2"
    folder = tmp_path / "pick_clean-X" / "trial_T1"
    folder.mkdir(parents=True)
    (folder / "game.tw-pddl").write_text(json.dumps(make_game(instance)))
    actions = solution(env, instance)
    with ALFWorld(official=tmp_path) as world:
        for name in ("pick_clean-X/trial_T1", str(folder), str(folder / "game.tw-pddl")):
            assert play(world, name, actions) == play(env, instance, actions)
        with pytest.raises(ValueError, match="expected split/task-type/number"):
            world.reset("pick_clean-X/trial_T2")


def test_real_official_games(env: ALFWorld, tmp_path: Path) -> None:
    """134 of the 195 folders are marked solvable; two are compared with the stock engine and solved."""
    root = os.environ.get("OPE_REAL_LOGS")
    if not root or not (Path(root) / "alfworld" / "official_games").is_dir():
        pytest.skip("set OPE_REAL_LOGS to the folder of real logs to play the official games")
    with tarfile.open(Path(root) / "alfworld" / "official_games" / "valid_unseen.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    games = {f.parent: json.loads(f.read_text()) for f in sorted(tmp_path.rglob("game.tw-pddl"))}
    solvable = [folder for folder, game in games.items() if game.get("solvable") is True]
    assert (len(games), len(solvable)) == (195, 134)
    for folder in (solvable[10], solvable[100]):
        actions = (*wanderings(env, str(folder), 8), "look", "inventory")
        assert_same_as_stock(env, stock_engine(games[folder], tmp_path), str(folder), actions)
        assert play(env, str(folder), solution(env, str(folder)))[-1][1:] == (1.0, True)
        assert env.game_wording() == "older"
    with pytest.raises(ValueError, match="not marked solvable"):
        env.reset(str(next(folder for folder in games if folder not in solvable)))


@pytest.mark.parametrize("mix", ["a", "b"])
def test_demonstrations_succeed_and_repeat(env: ALFWorld, mix: Any) -> None:
    demos = [replay(env, f"train/{task}/7", mix, 0) for task in TASK_TYPES]
    assert demos == [replay(env, f"train/{task}/7", mix, 0) for task in TASK_TYPES]
    kept = [demo for demo in demos if demo is not None]
    assert len(kept) >= 5
    for demo in kept:
        goal, observation = env.reset(demo["instance"])
        assert goal == demo["goal"] and len(demo["steps"]) <= STEP_LIMIT
        for step in demo["steps"]:
            assert observation == step["observation"]
            observation, reward, _ = env.step(step["action"])
            assert reward == step["reward"]
        assert observation == demo["final_observation"] and reward == demo["score"] == 1.0
    assert NOISE["a"] < NOISE["b"]


def test_demonstrations_are_written_and_go_on_where_they_stopped(tmp_path: Path) -> None:
    file = generate(tmp_path, "a", 1, households=1)
    whole = file.read_text()
    assert file.name == "demos-a.jsonl" and 11 <= whole.count("\n") <= 12
    file.write_text(whole[: whole.index("\n", 10) + 40])
    assert generate(tmp_path, "a", 1, households=1).read_text() == whole


def test_the_committed_evaluation_list_is_what_is_drawn(env: ALFWorld) -> None:
    counts = {task: EVALUATION[task] for task in ("look_at_obj_in_light", "pick_two_obj_and_place")}
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))["instances"]
    assert evaluation_instances(env, counts) == [one for one in recorded if one["task"] in counts]
