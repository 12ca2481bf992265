"""Demonstrations for behavior cloning, played in the environment on train questions.

Two mixes of experts answer the same questions in different words and habits (see `experts.py`). The noise of mix `a` is
never cloned; mix `b` is noisier and half of its noise is cloned. Every demonstration kept ends with the exact answer.
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
from tasks.hotpotqa.environment import STEP_LIMIT, WikipediaEnvironment
from tasks.hotpotqa.experts import Act, Mix, after_miss, noise_event, plan, render
from tasks.hotpotqa.generator import generate as generate_questions
from tasks.hotpotqa.questions import Question

ENCYCLOPEDIAS = 6
"""Worlds behind the demonstrations: copying names is learned from many different ones."""
QUESTIONS = 4_000
"""Train questions that are demonstrated, per encyclopedia."""
REPLAYS = 2
"""Demonstrations tried per question."""
NOISE = {"a": 0.15, "b": 0.25}
"""Chance of a noise event before each expert action."""
CLONED_NOISE = {"a": 0.0, "b": 0.5}
"""Share of the noise events that are cloned."""
STYLE_SLIP = 0.1
"""Chance that an action is worded as in the other mix, so that the two overlap a little."""


def replay(
    env: WikipediaEnvironment, question: Question, mix: Mix, seed: int, number: int, noisy: bool = True
) -> dict[str, Any] | None:
    """Plays one demonstration; randomness depends on mix, question, seed and number only.

    Args:
        env: holds the question.
        question: the question.
        mix: whose habits.
        seed, number: of the randomness.
        noisy: False plays the expert without noise and style slips.

    Returns:
        The demonstration (instance, mix, goal, steps of observation, action, clone and reward, final_observation,
        score), or None if it misses the exact answer or the step limit.
    """
    rng = rng_for("hotpotqa", "demonstration", mix, question.id, seed, number)
    goal, observation = env.reset(question.id)
    expert, seen, steps = plan(question, mix)[::-1], [observation], []
    missed: Act | None = None
    last: Act | None = None
    reward, done = 0.0, False
    while expert and not done and len(steps) < STEP_LIMIT:
        act, clone = missed or expert[-1], True
        room = STEP_LIMIT - len(steps) - len(expert) - (missed is not None)
        settled = missed is None and act[0] != "lookup"  # noise would break up a search and what belongs to it
        if noisy and settled and room > 0 and rng.random() < NOISE[mix]:
            act, clone = noise_event(rng, goal, seen, expert[-1], last), bool(rng.random() < CLONED_NOISE[mix])
        elif missed is None:
            expert.pop()
        slip = noisy and rng.random() < STYLE_SLIP
        action = render(act, ("b" if mix == "a" else "a") if slip else mix)
        answer, reward, done = env.step(action)
        steps.append({"observation": observation, "action": action, "clone": clone, "reward": reward})
        missed, last, observation = after_miss(act, answer, question) if clone else None, act, answer
        seen.append(observation)
    if not done or reward != 1.0:
        return None
    return {
        "instance": question.id,
        "mix": mix,
        "goal": goal,
        "steps": steps,
        "final_observation": observation,
        "score": reward,
    }


def generate(out: Path, mix: Mix, seed: int = 0, questions: Sequence[Question] | None = None) -> Path:
    """Writes `demos-<mix>.jsonl` into a folder, whole or not at all.

    Args:
        out: the folder.
        mix: whose habits.
        seed: of questions and noise.
        questions: to demonstrate; by default `QUESTIONS` generated train questions from each of `ENCYCLOPEDIAS` worlds.

    Returns:
        The file.
    """
    asked = _train_questions(seed) if questions is None else questions
    env = WikipediaEnvironment(asked)
    target, kept = out / f"demos-{mix}.jsonl", 0
    with atomic(target) as part, part.open("w", encoding="utf-8") as file:
        for question in tqdm(asked, f"mix {mix}", mininterval=5):
            for number in range(REPLAYS):
                demo = replay(env, question, mix, seed, number)
                if demo is not None:
                    kept += 1
                    file.write(json.dumps({**demo, "replay": number}, ensure_ascii=False) + "\n")
    print(f"mix {mix}: kept {kept} of {len(asked) * REPLAYS} demonstrations")
    return target


def _train_questions(seed: int) -> tuple[Question, ...]:
    """The default questions; different seeds share no encyclopedia."""
    worlds = range(seed * ENCYCLOPEDIAS, (seed + 1) * ENCYCLOPEDIAS)
    return tuple(question for world in worlds for question in generate_questions("train", QUESTIONS, world))


def main() -> None:
    """Command line: `python -m tasks.hotpotqa.demos --out DIR --mix a`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the demonstrations")
    parser.add_argument("--mix", choices=("a", "b"), default="a")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    generate(arguments.out, arguments.mix, arguments.seed)


if __name__ == "__main__":
    main()
