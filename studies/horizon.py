"""How far ahead can a world model see? Open loop under logged actions, at depth 1 to H, all models alike.

    python -m studies.horizon --tasks toy_chain scienceworld

Each model is fitted to a block of the log and led, from the first observations of episodes outside that block (same
task instances, other episodes), along the actions logged there, reading nothing but its own earlier answers. At each
depth its answer is compared with the real episode, as long as that goes on: see `studies._open_loop.measure` for what
counts when.

- observation: token F1 (bag of words, as SQuAD has it) and exact matches, through each model's own way to text;
  distance in one frozen encoder (cosine of hashed counts of words and pairs of words)
- action: share of generated (o, o') from which one classifier, trained on the real pairs of the block, does not
  recover the logged action; the most frequent actions only. It means something beside the same on the real pairs of
  the held-out episodes: actions with one and the same effect (go to the hallway, walk to the hallway) cannot be told
  apart by anybody
- absolute error of the step's reward, of the reward so far, and whether one is over while the other goes on. Models
  answer with expected rewards: the error of a step is not 0 for a perfect model where chance decides
- a model that has ended an episode too early has no more text: it counts as the worst there is
- joint diffusion generates actions too: its action block is held at the logged actions by replacement at every noise
  level (`estimators/_joint/clamped.py`), once told all actions of a window, as it generates windows, and once the
  present one alone, as the others are told. Later actions tell something of the observations they were chosen after

Written after every model: a run that was stopped goes on where it was; `--again` begins these tasks anew.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bench.data import LoggedDataset, Trajectory
from bench.errors import UnsupportedError
from bench.plots.style import save
from bench.registry import estimator_class, parse_spec
from bench.registry import task as task_named
from bench.rng import rng_for
from bench.tables import DASH, percent, table
from studies._comparison import InverseDynamics
from studies._horizon_figure import FEWEST, horizon_figure
from studies._open_loop import MEASURES, Point, curve, measure, reality
from studies._worlds import Driver, drive, drivers, held_out
from studies.answers import (
    RESULTS,
    figure_folder,
    keep_answer,
    kept_answer,
    made_now,
    refuse_other_settings,
    start,
)

NAME = "horizon"
VERSION = 2
"""Of what is measured: bump when numbers change for other reasons than the models."""
MODELS = (
    "adwm[eta=0.0,omega=1.0,reads=text]",
    "autoregressive_wm",
    "gaussian_wm",
    "joint_diffusion",
    "retrieval_wm",
)


def study_task(
    found: dict[str, Any], task: str, log: str, n: int, seed: int, episodes: int, specs: Sequence[str], bar: tqdm
):
    """Adds one task to what is known, model by model; yields after each so that it can be kept."""
    data = task_named(task).log(log)
    block, outside = data.subset(n, seed), held_out(data, n, seed, episodes)
    settings = {"log": log, "n": n, "seed": seed, "episodes": episodes}
    known = found.get(task, {"models": {}})
    inverse = InverseDynamics(block, rng_for("inverse dynamics", task, log, n, seed))
    real = reality(outside, data.horizon, inverse)
    found[task] = (
        known
        | settings
        | {
            "horizon": data.horizon,
            "known_actions": len(inverse.actions),
            "known_action_share": inverse.share,
            "real_action_error": _points(real, outside, data, seed),
        }
    )
    for driver in drivers(specs, task):
        bar.set_postfix_str(f"{task}: {driver.label}")
        identity = {"spec": driver.spec, "version": _version(driver.spec), "study": VERSION}
        entry = known["models"].get(driver.label, {})
        if {name: entry.get(name) for name in identity} != identity:
            found_now = _follow(driver, block, outside, inverse, seed)
            known["models"][driver.label] = identity | {"made": made_now()} | found_now
        bar.update()
        yield


def _follow(
    driver: Driver, block: LoggedDataset, outside: Sequence[Trajectory], inverse: InverseDynamics, seed: int
) -> dict[str, Any]:
    """The curves of one model, or why it has none."""
    begun = time.perf_counter()
    try:
        answers, note = drive(driver, block, outside, seed)
    except UnsupportedError as declined:
        return {"declined": str(declined)}
    values = measure(outside, answers, block.horizon, inverse)
    curves = {name: _points(values[name], outside, block, seed) for name in MEASURES}
    return {"note": note, "seconds": round(time.perf_counter() - begun, 1), "curves": curves}


def _points(values, outside: Sequence[Trajectory], data: LoggedDataset, seed: int) -> list[dict[str, float]]:
    rng = rng_for("horizon", data.task, seed)  # the same for all: whatever is compared is resampled together
    return [asdict(p) for p in curve(values, [t.instance for t in outside], data.fixed_instances, rng)]


def _version(spec: str) -> int:
    return estimator_class(parse_spec(spec)[0]).version if spec else 1


def as_table(found: dict[str, Any]) -> str:
    """Each model at the first, a middle and the last depth that enough episodes reach, 95 % intervals in brackets.

    Below it, on how many actions the action errors are.
    """
    header = [
        "task",
        "model",
        "depth",
        "token F1",
        "exact",
        "distance",
        "action error",
        "real",
        "reward error",
        "error so far",
        "termination error",
        "compared",
        "episodes",
    ]
    rows = []
    for task, entry in found.items():
        for name, model in entry["models"].items():
            if "declined" in model:
                rows.append([task, f"`{name}`", DASH, model["declined"], *[DASH] * (len(header) - 4)])
                continue
            reached = [p["depth"] for p in model["curves"]["return_error"] if p["episodes"] >= FEWEST]
            for d in sorted({reached[0], reached[(len(reached) - 1) // 2], reached[-1]} if reached else ()):
                real = _cell(entry["real_action_error"], d)
                cells = {measure: _cell(model["curves"][measure], d) for measure in MEASURES}
                cells = [*list(cells.values())[:4], real, *list(cells.values())[4:]]
                alive = next(p["episodes"] for p in model["curves"]["return_error"] if p["depth"] == d)
                rows.append([task, f"`{name}`", str(d), *cells, str(alive)])
    told = [
        f"- {task}: {entry['known_actions']} actions are told apart, those of {percent(entry['known_action_share'])} "
        f"of the logged steps; {DASH} where fewer than {FEWEST} episodes have one at this depth"
        for task, entry in found.items()
    ]
    return "\n\n".join([table(header, rows), "*action error*:", "\n".join(told)])


def _cell(points: Sequence[dict[str, float]], depth: int) -> str:
    point = next((Point(**p) for p in points if p["depth"] == depth and p["episodes"] >= FEWEST), None)
    return DASH if point is None else f"{point.mean:.2f} [{point.low:.2f}, {point.high:.2f}]"


def main(
    tasks: tuple[str, ...] = ("toy_chain", "scienceworld"),
    models: tuple[str, ...] = MODELS,
    log: str = "pooled",
    n: int = 1000,
    seed: int = 0,
    episodes: int = 100,
    results: Path = RESULTS,
    again: bool = False,
) -> None:
    """Leads world models along logged actions and writes how far they stay with reality.

    Args:
        tasks: tasks to study.
        models: specs of world models.
        log: log of the tasks.
        n: episodes the models are fitted to.
        seed: which block of the log that is.
        episodes: episodes outside the block to be led along.
        results: folder of results; writes studies/horizon.json and figures.
        again: forget what an earlier run has found on these tasks.

    Raises:
        BenchError: an earlier run had other settings on one of these tasks.
    """
    kept = kept_answer(results, NAME) or {}
    found = {task: entry for task, entry in kept.get("tasks", {}).items() if not (again and task in tasks)}
    settings = {"log": log, "n": n, "seed": seed, "episodes": episodes}
    for task in tasks:
        refuse_other_settings(
            NAME, task, {k: found[task].get(k) for k in settings} if task in found else None, settings
        )
    total = sum(len(drivers(models, task)) for task in tasks)
    with tqdm(total=total, unit="model", dynamic_ncols=True) as bar:
        for task in tasks:
            for _ in study_task(found, task, log, n, seed, episodes, models, bar):
                keep_answer(results, NAME, {"tasks": found}, as_table(found))
    for task in tasks:
        figure = horizon_figure(task, found[task])
        if figure is not None:
            save(figure, figure_folder(results), f"{NAME}_{task}")
    print(as_table(found))


if __name__ == "__main__":
    sys.exit(start(main))
