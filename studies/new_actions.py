"""What is foretold of actions that the log does not show? On episodes that the model has not seen, against what came.

    python -m studies.new_actions --tasks hotpotqa scienceworld
    python -m studies.new_actions --tasks hotpotqa --log far --seed 0

No agent under evaluation and no true value has a part in this. At every logged step of episodes outside the block (same
task instances) the kernel generates the next observation from the real past and action, retrieves a text for it, and
its heads foretell reward and ending. Steps are told apart by whether the model was trained on their action in their
instance. `calibrated_wm` corrects the heads for those where it was not, on the block's own held-out episodes: what it
foretells is beside, so that the correction is tested where it was not fitted.

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
from bench.stats import resample_counts, resampling_scheme
from bench.tables import DASH, number, table
from estimators._joint.windows import Reader
from estimators._world.bank import as_generator
from estimators._world.latent_world import LatentWorld, Transition
from studies._by_log import Entries, study_logs
from studies._heads import logged_steps
from studies._worlds import NOBODY, held_out
from studies.answers import RESULTS, start

NAME = "new_actions"
SPEC = "calibrated_wm"
REPLICATES = 1000
KINDS = ("known", "new")
SAID = ("real", "kernel", "corrected")


@torch.no_grad()
def foretold(world: LatentWorld, episodes: Sequence[Trajectory], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """(S,) real, foretold and corrected rewards and endings at the steps of episodes, and which actions are `new`.

    Args:
        world: with a correction.
    """
    model, reader, generator = world.model, Reader(world.model, world.material), as_generator(rng)
    parts: list[dict[str, torch.Tensor]] = []
    for t in tqdm(episodes, leave=False):
        steps, instances, actions = logged_steps(reader, t), [t.instance] * len(t), [s.action for s in t.steps]
        drawn = world.draw(Transition(model, steps.live, steps.done, steps.action), generator)
        texts = world.bank.nearest(drawn, instances, actions)
        after = reader.observations([(t.goal, text) for text in texts])
        logits, ending = model.events(steps.z, steps.action, after, steps.live.past, steps.done)
        reward = model.expected_reward(logits)
        better, sooner = world.new_actions.corrected(instances, actions, reward, ending)
        parts.append(
            {
                "new": world.new_actions.known.new(instances, actions),
                "reward_real": steps.reward,
                "reward_kernel": reward,
                "reward_corrected": better,
                "ending_real": steps.ended,
                "ending_kernel": ending.sigmoid(),
                "ending_corrected": sooner.sigmoid(),
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
    code = np.unique([t.instance for t in outside], return_inverse=True)[1]
    scheme, _ = resampling_scheme(code, True)
    counts = resample_counts(code, REPLICATES, rng_for(NAME, "bootstrap", seed), scheme)
    first = np.cumsum([0, *map(len, outside)])[:-1]
    correction = estimator.new_actions_
    return {
        "reward_factor": correction.reward_factor,
        "ending_shift": correction.ending_shift,
        "correction_steps": correction.steps,
        "kinds": {
            kind: _sums({k: v * (found["new"] == (kind == "new")) for k, v in found.items()}, counts, first)
            | {"steps": int((found["new"] == (kind == "new")).sum())}
            for kind in KINDS
        },
    }


def _sums(found: Mapping[str, np.ndarray], counts: np.ndarray, first: np.ndarray) -> dict[str, Any]:
    """Sums over steps, and foretold over real with an interval over episodes; None where nothing real is certain to be
    drawn."""
    answer: dict[str, Any] = {}
    for what in ("reward", "ending"):
        drawn = {name: counts @ np.add.reduceat(found[f"{what}_{name}"], first) for name in SAID}
        answer[what] = {name: float(found[f"{what}_{name}"].sum()) for name in SAID}
        for name in SAID[1:]:
            ratio = None
            if (drawn["real"] > 0).mean() > 0.975:
                ratios = np.divide(
                    drawn[name], drawn["real"], out=np.full(len(counts), np.inf), where=drawn["real"] > 0
                )
                low, high = np.quantile(ratios, [0.025, 0.975])
                ratio = {
                    "value": answer[what][name] / answer[what]["real"],
                    "low": float(low),
                    "high": float(high) if np.isfinite(high) else None,
                }
            answer[what][f"{name}_over_real"] = ratio
    return answer


def as_markdown(boards: Entries) -> str:
    """One row per log and kind of action."""
    rows = []
    for board, found in boards.items():
        for kind in KINDS:
            one = found["kinds"][kind]
            cells = []
            for what in ("reward", "ending"):
                cells += [number(one[what]["real"]), *(_cell(one[what], name) for name in SAID[1:])]
            rows.append([board, kind, f"{one['steps']:,}", *cells])
    header = ["log", "action", "steps", "paid", "foretold", "corrected", "ended", "foretold", "corrected"]
    about = "; ".join(
        f"{board}: block {found['seed']} of {found['n']:,}, {found['episodes']} episodes outside it, factor of rewards "
        f"{number(found['reward_factor'])} and shift of endings {number(found['ending_shift'], sign=True)} from "
        f"{found['correction_steps']} held-out steps of the block"
        for board, found in boards.items()
    )
    legend = (
        "Sums over steps: rewards paid and what the kernel's heads foretold, then endings; in parentheses foretold "
        f"over real [95 % over episodes], which would be 1; {DASH}: too little of it is real."
    )
    return "\n\n".join([legend, table(header, rows), f"{about}."])


def _cell(found: Mapping[str, Any], name: str) -> str:
    ratio = found[f"{name}_over_real"]
    high = number(ratio["high"]) if ratio and ratio["high"] is not None else "inf"
    inside = f"{number(ratio['value'])} [{number(ratio['low'])}, {high}]" if ratio else DASH
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
