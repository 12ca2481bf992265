"""Demonstrations for behavior cloning, played in the live engine in households of the train split.

Two mixes of experts solve the same households with different habits (see `experts.py`). The noise of mix `a` is never
cloned; mix `b` is noisier and half of its noise is cloned. Every demonstration kept solves its task within the limit.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bench.rng import rng_for
from tasks.alfworld.belief import Belief, parse_goal
from tasks.alfworld.experts import Mix, next_action, noise_event
from tasks.alfworld.households import TASK_TYPES, household
from tasks.alfworld.live import NOTHING, STEP_LIMIT, ALFWorld
from tasks.alfworld.oracle import solve

HOUSEHOLDS = 150
"""Train households per task type."""
REPLAYS = 2
"""Demonstrations tried per household, each with noise of its own; loading a game costs more than playing it."""
NOISE = {"a": 0.15, "b": 0.25}
"""Chance of a noise event before each expert action."""
CLONED_NOISE = {"a": 0.0, "b": 0.5}
"""Share of the noise events that are cloned."""
STYLE_SLIP = 0.1
"""Chance that an action follows the habits of the other mix, so that the two overlap a little."""
EVALUATION = dict(zip(TASK_TYPES, ((9, 3), (8, 2), (8, 2), (8, 2), (8, 3), (9, 3)), strict=True))
"""Evaluation instances per task type, and how many of them are for transfer."""


def replay(env: ALFWorld, instance: str, mix: Mix, seed: int, noisy: bool = True) -> dict[str, Any] | None:
    """Plays one demonstration; randomness depends on mix, instance and seed only.

    Args:
        env: the engine.
        instance: the household.
        mix: whose habits.
        seed: of the noise.
        noisy: False plays the expert without noise and style slips.

    Returns:
        The demonstration (instance, mix, seed, goal, steps of observation, action, clone and reward, final_observation,
        score), or None if it misses the step limit or an expert's action does nothing.
    """
    rng = rng_for("alfworld", "demonstration", mix, instance, seed)
    goal, observation = env.reset(instance)
    task, belief = parse_goal(goal), Belief()
    belief.see(observation)
    steps: list[dict[str, Any]] = []
    last, done, disturbed = None, False, False
    while not done and len(steps) < min(STEP_LIMIT, env.step_limit):
        habits: Mix = ("b" if mix == "a" else "a") if noisy and rng.random() < STYLE_SLIP else mix
        action, clone = next_action(belief, task, habits, last), True
        event = noise_event(rng, belief, action) if noisy and not disturbed and rng.random() < NOISE[mix] else None
        disturbed = event is not None  # two mistakes in a row would hardly be undone
        if event is None:
            last = action
        else:
            action, clone = event, bool(rng.random() < CLONED_NOISE[mix])
        answer, reward, done = env.step(action)
        steps.append({"observation": observation, "action": action, "clone": clone, "reward": reward})
        belief.see(observation := answer)
        if observation == NOTHING and not disturbed:
            return None
    if not done:
        return None
    told = {"instance": instance, "mix": mix, "seed": seed, "goal": goal, "steps": steps}
    return {**told, "final_observation": observation, "score": steps[-1]["reward"]}


_worker: dict[str, ALFWorld] = {}  # the engine of a worker process


def _start_worker() -> None:
    _worker["env"] = ALFWorld()


@contextmanager
def _mapper(workers: int) -> Iterator[Callable[..., Iterable[dict[str, Any] | None]]]:
    """An ordered map over engine processes; one worker plays in this process."""
    if workers == 1:
        _start_worker()
        with _worker["env"]:
            yield map
        return
    with multiprocessing.get_context("spawn").Pool(workers, _start_worker) as pool:
        yield partial(pool.imap, chunksize=4)


def _demonstrate(job: tuple[str, Mix, int]) -> dict[str, Any] | None:
    return replay(_worker["env"], *job)


def generate(out: Path, mix: Mix, workers: int, seed: int = 0, households: int = HOUSEHOLDS) -> Path:
    """Writes `demos-<mix>.jsonl` into a folder, going on where an earlier run stopped.

    Args:
        out: the folder.
        mix: whose habits.
        workers: engine processes.
        seed: of the noise of the first replay of a household; the next one has the next seed.
        households: per task type.

    Returns:
        The file.
    """
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"demos-{mix}.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.exists() else []
    lines = [line for line in lines if line.endswith("\n")]  # a line cut short is made again
    file.write_text("".join(lines), encoding="utf-8")
    have = {(demo["instance"], demo["seed"]) for demo in map(json.loads, lines)}
    instances = [f"train/{task}/{number}" for number in range(households) for task in TASK_TYPES]
    wanted = [(instance, seed + k) for instance in instances for k in range(REPLAYS)]
    jobs = [(instance, mix, noise) for instance, noise in wanted if (instance, noise) not in have]
    kept = Counter(instance.split("/")[1] for instance, _ in have)
    with _mapper(workers) as played, file.open("a", encoding="utf-8") as output:
        for demo in tqdm(played(_demonstrate, jobs), f"mix {mix}", len(jobs), mininterval=5):
            if demo is not None:
                kept[demo["instance"].split("/")[1]] += 1
                output.write(json.dumps(demo) + "\n")
    for task in TASK_TYPES:
        print(f"{task}: kept {kept[task]} of {households * REPLAYS}")
    return file


def gold_length(env: ALFWorld, instance: str) -> int:
    """Steps of the shortest known solution, played to the end.

    Raises:
        RuntimeError: the engine does not accept it: the household is not what it was built to be.
    """
    env.reset(instance)
    problem, names = env.facts()
    plan = solve(problem, names, env.game_wording())
    outcomes = [env.step(action)[2] for action in plan]
    if not outcomes[-1] or any(outcomes[:-1]):
        raise RuntimeError(f"{instance}: the solution {plan} does not solve it.")
    return len(plan)


def evaluation_instances(env: ALFWorld, counts: Mapping[str, tuple[int, int]] = EVALUATION) -> list[dict[str, Any]]:
    """The fixed evaluation instances: the first of the eval split that both experts solve, no two alike.

    Args:
        env: the engine.
        counts: by task type, how many, and how many of them are for transfer.

    Returns:
        For each instance `id`, `task`, `split` (`fit` or `transfer`), `gold_length` and `receptacles`.
    """
    drawn: list[dict[str, Any]] = []
    for task, (count, transfer) in counts.items():
        seen, number = set[tuple[str, str]](), 0
        while len(seen) < count:
            instance, number = f"eval/{task}/{number}", number + 1
            opening = env.reset(instance)
            if opening in seen or any(replay(env, instance, mix, 0, noisy=False) is None for mix in ("a", "b")):
                continue
            drawn.append(
                {
                    "id": instance,
                    "task": task,
                    "split": "transfer" if len(seen) < transfer else "fit",
                    "gold_length": gold_length(env, instance),
                    "receptacles": len(household(instance).receptacles),
                }
            )
            seen.add(opening)
    return drawn


def main() -> None:
    """Command line: `python -m tasks.alfworld.demos --out DIR --mix a --workers 2`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for the demonstrations")
    parser.add_argument("--mix", choices=("a", "b"), default="a")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--instances", type=Path, help="write the evaluation instances to this file")
    arguments = parser.parse_args()
    if arguments.instances is not None:
        with ALFWorld() as env:
            drawn = evaluation_instances(env)
        arguments.instances.write_text(json.dumps({"instances": drawn}, indent=1) + "\n")
    if arguments.out is not None:
        generate(arguments.out, arguments.mix, arguments.workers, arguments.seed)


if __name__ == "__main__":
    main()
