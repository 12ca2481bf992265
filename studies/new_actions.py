"""What is foretold of actions that the log does not show? On episodes that the model has not seen, against what came.

    python -m studies.new_actions --tasks hotpotqa scienceworld
    python -m studies.new_actions --tasks hotpotqa --log far --seed 0

No agent under evaluation and no true value has a part in this. At every logged step of episodes outside the block (same
task instances) the kernel generates the next observation from the real past and action, retrieves a text for it, and
its heads foretell the reward. Steps are told apart by whether the model was trained on their action in their instance.
`calibrated_wm` corrects the heads for those where it was not, by the block itself: what it foretells is beside, so that
the correction is tested where it was not fitted.

Ratios come with 95 % intervals over episodes; the training is one.
Written after every log: a run that was stopped goes on where it was; `--again` begins these logs anew.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from bench.data import Trajectory
from bench.registry import make_estimator
from bench.registry import task as task_named
from bench.rng import rng_for
from bench.tables import DASH, number, table
from estimators._world.bank import as_generator
from estimators._world.latent_world import LatentWorld, Transition
from studies._by_log import Entries, redrawn, study_logs
from studies._heads import logged_steps
from studies._worlds import NOBODY, held_out
from studies.answers import RESULTS, start

NAME = "new_actions"
SPEC = "calibrated_wm"
KINDS = ("known", "new")
SAID = ("real", "kernel", "corrected")


@torch.no_grad()
def foretold(world: LatentWorld, episodes: Sequence[Trajectory], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """(S,) real, foretold and corrected rewards at the steps of episodes, and which actions are `new`.

    Args:
        world: with a correction.
    """
    model, reader, generator = world.model, world.reader, as_generator(rng)
    parts: list[dict[str, torch.Tensor]] = []
    for t in tqdm(episodes, leave=False):
        steps, instances, actions = logged_steps(reader, t), [t.instance] * len(t), [s.action for s in t.steps]
        drawn = world.draw(Transition(model, steps.live, steps.done, steps.action), generator)
        texts = world.bank.nearest(drawn, instances, actions)
        after = reader.observations([(t.goal, text) for text in texts])
        logits, _ = model.events(steps.z, steps.action, after, steps.live.past, steps.done)
        reward = model.expected_reward(logits)
        parts.append(
            {
                "new": world.new_actions.known.new(instances, actions),
                "real": steps.reward,
                "kernel": reward,
                "corrected": world.new_actions.corrected(instances, actions, reward),
            }
        )
    return {name: torch.cat([part[name] for part in parts]).double().numpy() for name in parts[0]}


def study_board(task: str, log: str, n: int, seed: int, episodes: int) -> dict[str, Any]:
    """Everything about one log."""
    data = task_named(task).log(log)
    block, outside = data.subset(n, seed), held_out(data, n, seed, episodes)
    estimator = make_estimator(SPEC)
    estimator.fit(block, rng_for("fit", task, SPEC, seed))
    found = foretold(estimator.world(NOBODY), outside, rng_for(NAME, task, log, n, seed))
    counts, first = redrawn(NAME, outside, seed)
    correction = estimator.new_actions_
    return {
        "factor": correction.factor,
        "once": correction.once,
        "held_out": correction.held_out,
        "kinds": {
            kind: _sums({k: v * (found["new"] == (kind == "new")) for k, v in found.items()}, counts, first)
            | {"steps": int((found["new"] == (kind == "new")).sum())}
            for kind in KINDS
        },
    }


def _sums(found: Mapping[str, np.ndarray], counts: np.ndarray, first: np.ndarray) -> dict[str, Any]:
    """Sums over steps, and foretold over real with an interval over episodes; None where real is 0 in many a draw."""
    drawn = {name: counts @ np.add.reduceat(found[name], first) for name in SAID}
    answer: dict[str, Any] = {name: float(found[name].sum()) for name in SAID}
    for name in SAID[1:]:
        ratio = None
        if (drawn["real"] > 0).mean() > 0.99:
            low, high = np.quantile(drawn[name] / np.maximum(drawn["real"], 1e-12), [0.025, 0.975])
            ratio = {"value": answer[name] / answer["real"], "low": float(low), "high": float(high)}
        answer[f"{name}_over_real"] = ratio
    return answer


def as_markdown(boards: Entries) -> str:
    """One row per log and kind of action."""
    rows = []
    for board, found in boards.items():
        for kind in KINDS:
            one = found["kinds"][kind]
            rows.append([board, kind, f"{one['steps']:,}", number(one["real"]), *(_cell(one, x) for x in SAID[1:])])
    about = "; ".join(
        f"{board}: block {found['seed']} of {found['n']:,}, {found['episodes']} episodes outside it, factor "
        f"{number(found['factor'])} from {found['once']} steps taken once and {found['held_out']} held-out ones"
        for board, found in boards.items()
    )
    legend = (
        "Sums over steps: rewards paid and what was foretold; in parentheses foretold over paid [95 % over episodes], "
        f"which would be 1; {DASH}: too little was paid."
    )
    header = ["log", "action", "steps", "paid", "foretold by the kernel", "corrected"]
    return "\n\n".join([legend, table(header, rows), f"{about}."])


def _cell(found: Mapping[str, Any], name: str) -> str:
    ratio = found[f"{name}_over_real"]
    inside = f"{number(ratio['value'])} [{number(ratio['low'])}, {number(ratio['high'])}]" if ratio else DASH
    return f"{number(found[name])} ({inside})"


def main(
    tasks: Sequence[str] = ("alfworld", "hotpotqa", "scienceworld", "webarena"),
    log: str = "pooled",
    n: int = 1000,
    seed: int = 1,
    episodes: int = 200,
    results: Path = RESULTS,
    again: bool = False,
) -> None:
    """What is foretold of actions that the log does not show?

    Args:
        tasks: which tasks.
        log: whose episodes.
        n: episodes in the block that the model is fitted to.
        seed: which block.
        episodes: outside the block, to be foretold.
        results: folder of the results; writes studies/new_actions.json.
        again: begin these logs anew.
    """
    torch.set_num_threads(1)
    settings = {"log": log, "n": n, "seed": seed, "episodes": episodes}
    print(study_logs(NAME, SPEC, tasks, settings, study_board, as_markdown, results, again))


if __name__ == "__main__":
    sys.exit(start(main))
