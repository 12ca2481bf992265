"""Demonstrations for behavior cloning, replayed in the live simulator on the train variations.

Two mixes of experts solve the same instances in different words and habits (see ``experts.py``).  The noise of mix
``a`` is
never cloned; mix ``b`` is noisier and half of its noise is cloned.  Every demonstration kept has the full score.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from tasks.scienceworld.actions import Listing, parse
from tasks.scienceworld.experts import Step, abstract, noise_event, render, script
from tasks.scienceworld.live import STEP_LIMIT, TASKS, UNKNOWN_ACTION, ScienceWorld

REPLAYS = dict(zip(TASKS, (3, 3, 3, 5, 5, 30), strict=True))
"""Demonstrations tried per train variation."""
NOISE = {"a": 0.15, "b": 0.25}
"""Chance of a noise event before each expert action."""
CLONED_NOISE = {"a": 0.0, "b": 0.5}
"""Share of the noise events that are cloned; going back after a detour always is."""
STYLE_SLIP = 0.1
"""Chance that an action is worded as in the other mix, so that the two overlap a little."""
EVALUATION = dict(zip(TASKS, ((9, 3), (9, 3), (8, 2), (9, 3), (9, 2), (6, 2)), strict=True))
"""Evaluation instances per task, and how many of them are for transfer."""
EVALUATION_SEED = 20250101
EVALUATION_GOLD_STEPS = 16


def replay(
    env: ScienceWorld, instance: str, plan: list[Step], mix: str, rng: np.random.Generator | None
) -> dict[str, Any] | None:
    """Plays one demonstration.

    Args:
        env: The simulator.
        instance: The instance.
        plan: Its plan, see :func:`abstract`.
        mix: ``a`` or ``b``.
        rng: Source of the noise; None for a clean run.

    Returns:
        The demonstration, or None if it misses the full score, the step limit, or an expert action is not understood.
    """
    goal, observation = env.reset(instance)
    rooms: dict[str, Listing] = {}
    room, score, done = parse(observation).room or "", 0.0, False
    rooms[room] = parse(observation)
    expert = script(plan, mix, room)[::-1]
    pending: list[tuple[Step, bool, bool]] = []  # step, cloned, noise; next one last
    steps: list[dict[str, Any]] = []
    home: str | None = None  # where a noise event began; None outside of one
    while not done and len(steps) < STEP_LIMIT and (pending or expert):
        if rng is not None and not pending and home is None and rng.random() < NOISE[mix]:
            event = noise_event(rng, rooms.get(room), room, expert[-1])
            if event and len(steps) + len(event) + 1 + len(expert) <= STEP_LIMIT:
                cloned = bool(rng.random() < CLONED_NOISE[mix])
                home, pending = room, [(step, cloned, True) for step in event[::-1]]
        if pending:
            step, clone, noise = pending.pop()
        else:
            step, clone, noise, home = expert.pop(), True, False, None
        slip = rng is not None and rng.random() < STYLE_SLIP
        action = render(step, ("b" if mix == "a" else "a") if slip else mix)
        answer, reward, done = env.step(action)
        steps.append({"observation": observation, "action": action, "clone": clone, "reward": reward})
        observation, score = answer, score + reward
        if observation == UNKNOWN_ACTION and not noise:
            return None
        if observation.startswith("Ambiguous request"):
            pending.append((("answer",), clone, noise))
        listing = parse(observation)
        room = listing.room or room
        if listing.complete:
            rooms[room] = listing
        if noise and not pending and room != home and home is not None:
            pending.append((("go", home), True, False))
    if score != 1.0:
        return None
    return {
        "instance": instance,
        "mix": mix,
        "goal": goal,
        "steps": steps,
        "final_observation": observation,
        "score": score,
    }


def solve(env: ScienceWorld, instance: str) -> dict[str, Any]:
    """Replays the gold path of an instance and abstracts it.

    Args:
        env: The simulator.
        instance: The instance.

    Returns:
        ``gold`` (the path), ``gold_length`` (steps to the full score, None if it is missed) and, for each mix, the plan
        that a clean run succeeded with (None if there is none).
    """
    gold = env.gold_path(instance)
    _, start = env.reset(instance)
    played: list[tuple[str, str]] = []
    score, done = 0.0, False
    for action in gold:
        if done:
            break
        answer, reward, done = env.step(action)
        score += reward
        played.append((action, answer))
    found: dict[str, Any] = {"gold": gold, "gold_length": len(played) if score == 1.0 else None, "a": None, "b": None}
    if score == 1.0:
        literal: list[Step] = [("verbatim", action) for action, _ in played]
        for mix, plans in (("a", (abstract(start, played), literal)), ("b", (abstract(start, played),))):
            found[mix] = next((p for p in plans if replay(env, instance, p, mix, None) is not None), None)
    return found


_worker: dict[str, ScienceWorld] = {}  # the simulator of a worker process


def _start_worker() -> None:
    _worker["env"] = ScienceWorld()


def _solve(instance: str) -> tuple[str, dict[str, Any]]:
    return instance, solve(_worker["env"], instance)


def _demonstrate(job: tuple[str, str, int, list[Step], int]) -> tuple[str, int, dict[str, Any] | None]:
    instance, mix, number, plan, seed = job
    task, _, variation = instance.partition("/")
    rng = np.random.default_rng((seed, "ab".index(mix), TASKS.index(task), int(variation), number))
    return instance, number, replay(_worker["env"], instance, [tuple(step) for step in plan], mix, rng)


def generate(out: Path, mix: str, workers: int, seed: int) -> None:
    """Writes ``gold.json`` and ``demos-<mix>.jsonl`` into a folder, going on where an earlier run stopped.

    Args:
        out: The folder.
        mix: ``a`` or ``b``.
        workers: Simulator processes.
        seed: Seed; each demonstration depends on it, the mix, the instance and the replay number only.
    """
    out.mkdir(parents=True, exist_ok=True)
    gold_file, demo_file = out / "gold.json", out / f"demos-{mix}.jsonl"
    with ScienceWorld() as env:
        train = {task: env.variations(task)["train"] for task in TASKS}
    instances = [f"{task}/{variation}" for task in TASKS for variation in train[task]]
    with multiprocessing.get_context("spawn").Pool(workers, _start_worker) as pool:
        gold: dict[str, Any] = json.loads(gold_file.read_text()) if gold_file.exists() else {}
        missing = [instance for instance in instances if instance not in gold]
        if missing:
            gold.update(tqdm(pool.imap(_solve, missing, 4), "gold paths", len(missing)))
            gold_file.write_text(json.dumps(gold))
        lines = demo_file.read_text().splitlines(keepends=True) if demo_file.exists() else []
        lines = [line for line in lines if line.endswith("\n")]  # a line cut short is made again
        demo_file.write_text("".join(lines))
        have = {(demo["instance"], demo["replay"]) for demo in map(json.loads, lines)}
        jobs = [
            (instance, mix, number, gold[instance][mix], seed)
            for instance in instances
            for number in range(REPLAYS[instance.partition("/")[0]])
            if gold[instance][mix] is not None and (instance, number) not in have
        ]
        kept, tried = Counter[str](), Counter[str]()
        with demo_file.open("a") as file:
            for instance, number, demo in tqdm(pool.imap(_demonstrate, jobs, 4), f"mix {mix}", len(jobs)):
                task = instance.partition("/")[0]
                tried[task] += 1
                if demo is not None:
                    kept[task] += 1
                    file.write(json.dumps({**demo, "replay": number}) + "\n")
    for task in TASKS:
        unsolved = sum(gold[f"{task}/{variation}"][mix] is None for variation in train[task])
        print(f"{task}: kept {kept[task]} of {tried[task]}; {unsolved} of {len(train[task])} variations have no plan")


def evaluation_instances(env: ScienceWorld) -> list[dict[str, Any]]:
    """Draws the fixed evaluation instances from the dev and test variations.

    Args:
        env: The simulator.

    Returns:
        For each instance ``id``, ``task``, ``split`` (``fit`` or ``transfer``) and ``gold_length``.

    Raises:
        RuntimeError: If a task has too few instances with a short gold path.
    """
    drawn: list[dict[str, Any]] = []
    for index, (task, (count, transfer)) in enumerate(EVALUATION.items()):
        rng = np.random.default_rng((EVALUATION_SEED, index))
        splits = env.variations(task)
        found: list[tuple[int, int]] = []
        for variation in rng.permutation(splits["dev"] + splits["test"]).tolist():
            length = solve(env, f"{task}/{variation}")["gold_length"]
            if length is not None and length <= EVALUATION_GOLD_STEPS:
                found.append((variation, length))
            if len(found) == count:
                break
        else:
            raise RuntimeError(f"{task}: only {len(found)} instances have a short gold path, {count} are needed.")
        for i, (variation, length) in enumerate(found):
            split = "transfer" if i < transfer else "fit"
            drawn.append({"id": f"{task}/{variation}", "task": task, "split": split, "gold_length": length})
    return drawn


def main() -> None:
    """Command line: ``python -m tasks.scienceworld.demos --out DIR --mix a --workers 2``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for gold.json and the demonstrations")
    parser.add_argument("--mix", choices=("a", "b"), default="a")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--instances", type=Path, help="write the evaluation instances to this file")
    arguments = parser.parse_args()
    if arguments.instances is not None:
        with ScienceWorld() as env:
            drawn = evaluation_instances(env)
        arguments.instances.write_text(json.dumps({"instances": drawn}, indent=1) + "\n")
    if arguments.out is not None:
        generate(arguments.out, arguments.mix, arguments.workers, arguments.seed)


if __name__ == "__main__":
    main()
