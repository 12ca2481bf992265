"""Demonstrations for behavior cloning, played on our sites on train tasks.

Two mixes of experts do the same tasks in different ways (see `experts.py`). The noise of mix `a` is never cloned; mix
`b` is noisier and half of its noise is cloned. Going back after a mistake always is. Every demonstration kept scores 1.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bench.formats.files import atomic
from bench.rng import rng_for
from tasks.webarena.canonical import NO_ELEMENT, canonical_webarena
from tasks.webarena.configs import WebTask
from tasks.webarena.environment import STEP_LIMIT, WebEnvironment
from tasks.webarena.experts import Mix, noise_event, plan, render
from tasks.webarena.generator import generate as generate_tasks

TASKS = 6_000
"""Train tasks that are demonstrated."""
REPLAYS = 1
"""Demonstrations tried per task."""
NOISE = {"a": 0.12, "b": 0.2}
"""Chance of a noise event before each expert action."""
CLONED_NOISE = {"a": 0.0, "b": 0.5}
"""Share of the noise events that are cloned."""


def replay(task: WebTask, mix: Mix, seed: int, number: int, noisy: bool = True) -> dict[str, Any] | None:
    """Plays one demonstration; randomness, the ids of elements included, depends on the arguments only.

    Args:
        task: one of the generator's.
        mix: whose habits.
        seed, number: of the randomness.
        noisy: False plays the expert without noise.

    Returns:
        The demonstration (instance, mix, goal, steps of observation, action by name and raw, clone and reward,
        final_observation, score), or None if it misses the score or the step limit.
    """
    rng = rng_for("webarena", "demonstration", mix, task.instance, seed, number)
    env = WebEnvironment([task], rng)
    goal, observation = env.reset(task.instance)
    expert, steps = plan(task, mix)[::-1], []
    pending: list[tuple[str, bool]] = []  # what undoes a mistake
    settled, reward, done = True, 0.0, False
    while (expert or pending) and not done and len(steps) < STEP_LIMIT:
        room = STEP_LIMIT - len(steps) - len(expert) - 1
        if pending:
            action, clone = pending.pop()
        elif noisy and settled and room > 0 and rng.random() < NOISE[mix]:
            first, *undo = noise_event(rng, observation, expert[-1])
            action, clone = first, bool(rng.random() < CLONED_NOISE[mix])
            pending = [(one, True) for one in undo]
        else:
            act = expert.pop()
            action, clone = render(act, observation), True
            settled = act.verb != "type" or act.enter  # a mistake now would lose what was typed
        if action is None:
            break
        answer, reward, done = env.step(action)
        named = canonical_webarena(action, observation)
        clone &= NO_ELEMENT not in named  # nobody can name what is not there
        steps.append({"observation": observation, "action": named, "raw": action, "clone": clone, "reward": reward})
        observation = answer
    env.close()
    found = {"instance": task.instance, "mix": mix, "goal": goal, "steps": steps}
    return {**found, "final_observation": observation, "score": reward} if done and reward == 1.0 else None


def generate(out: Path, mix: Mix, seed: int = 0, tasks: Sequence[WebTask] | None = None) -> Path:
    """Writes `demos-<mix>.jsonl` into a folder, whole or not at all.

    Args:
        out: the folder.
        mix: whose habits.
        seed: of tasks and noise.
        tasks: to demonstrate; by default `TASKS` generated train tasks.

    Returns:
        The file.
    """
    asked = generate_tasks("train", TASKS, seed) if tasks is None else tasks
    target, kept = out / f"demos-{mix}.jsonl", 0
    with atomic(target) as part, part.open("w", encoding="utf-8") as file:
        for task in tqdm(asked, f"mix {mix}", mininterval=5):
            for number in range(REPLAYS):
                demo = replay(task, mix, seed, number)
                if demo is not None:
                    kept += 1
                    file.write(json.dumps({**demo, "replay": number}, ensure_ascii=False) + "\n")
    print(f"mix {mix}: kept {kept} of {len(asked) * REPLAYS} demonstrations")
    return target


def main() -> None:
    """Command line: `python -m tasks.webarena.demos --out DIR --mix a`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the demonstrations")
    parser.add_argument("--mix", choices=("a", "b"), default="a")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    generate(arguments.out, arguments.mix, arguments.seed)


if __name__ == "__main__":
    main()
