"""Where does adwm's error come from: the model, what the agent is shown, or guidance? And what does diffusion add?

    python -m studies.decomposition

From stored cells; nothing is estimated here. On every board of the leaderboard, the learned kernel alone (omega = 1,
eta = 0, the agent reads text) carries the error of the model and of its way back to text, and nothing else. From there
to `adwm` are two steps, both also taken after the brief training of what reads latents that was the default before
version 6; `run --profile published` does not run it by itself: ask for BRIEF and BRIEF_SOFT below. Beside it stand
models that differ from it in one thing each, and `calibrated_wm` beside itself without its correction. Every step is
the difference of two errors on the same cells, with a 95 % interval (paired bootstrap over policies, seeds and true
values). Some are compared with the best classical estimator of the board, too, which is picked in hindsight, on the
cells of the kernel. A difference counts as clear only if its p-value is below 5 % once adjusted for the number of
boards of the step (Holm): the intervals are pointwise, and of few policies.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.board import Board, Replicates, Row, boards
from bench.cells import Cell, Record
from bench.comparisons import CLASSICAL, best_classical, compare_pair, holm
from bench.errors import BenchError
from bench.inference import Draws, draw, measure
from bench.plots.style import save
from bench.registry import make_estimator, spec_of
from bench.scoring import DRAWS, main_boards
from bench.store import Store
from bench.tables import DASH, PARTIAL, number, table
from studies.answers import RESULTS, figure_folder, keep_answer, start
from studies.decomposition_figure import LEVEL, decomposition_figure

NAME = "decomposition"
KERNEL = "adwm[omega=1,eta=0,reads=text]"
SOFT = "adwm[omega=1,eta=0]"
BRIEF = "adwm[adapter=short,heads=logged]"
BRIEF_SOFT = "adwm[adapter=short,heads=logged,omega=1,eta=0]"
CORRECTED = "calibrated_wm"
UNCORRECTED = "calibrated_wm without its correction"
"""No spec: what `CORRECTED` would have said of the same simulated episodes, from its diagnostics. It is `KERNEL` on the
same training, which the stored cells of `KERNEL` need not be."""
CHANGE = "new_action_change"


@dataclass(frozen=True)
class Step:
    """One difference of errors.

    Attributes:
        name: what changes from `before` to `after`. meaning: what the difference is the price of.
        before, after: specs.
        soft: it is about agents that read soft tokens; those that are tables read text under either spec.
    """

    name: str
    before: str
    after: str
    meaning: str
    soft: bool = False


STEPS = (
    Step("soft tokens", KERNEL, SOFT, "the agent reads soft tokens in place of text: policy-sampling error", True),
    Step("guidance", SOFT, "adwm", "the declared omega and eta in place of 1 and 0: guidance error", True),
    Step(
        "tuned scales", "adwm", "adwm[tuned=true]", "omega and eta chosen on other tasks in place of the declared", True
    ),
    Step("soft tokens, brief", KERNEL, BRIEF_SOFT, "the first step, after the brief training", True),
    Step("guidance, brief", BRIEF_SOFT, BRIEF, "the second step, after the brief training", True),
    Step(
        "longer training",
        BRIEF_SOFT,
        SOFT,
        "up to 2,400 updates of the adapter, heads that saw generated latents",
        True,
    ),
    Step("diffusion", "gaussian_wm", KERNEL, "diffusion in place of one Gaussian step, on the same fit"),
    Step("learning", "retrieval_wm", KERNEL, "a learned kernel in place of the nearest logged transition"),
    Step("latents", "autoregressive_wm", KERNEL, "latents in place of words that are written one by one"),
    Step("one step at a time", "joint_diffusion", KERNEL, "transitions in place of windows of episodes"),
    Step("ensemble", KERNEL, "diffusion_wm", "three trainings in place of one"),
    Step("new actions", UNCORRECTED, CORRECTED, "rewards lowered of actions that the model was not trained on"),
)


RIVALS = {
    "kernel, text": KERNEL,
    "adwm": "adwm",
    "adwm, brief": BRIEF,
    "gaussian_wm": "gaussian_wm",
    "diffusion_wm": "diffusion_wm",
    "calibrated_wm": CORRECTED,
}
"""What is compared with the best classical estimator: name to spec."""


def canonical(spec: str) -> str:
    """The spec under which cells are stored."""
    return spec if spec == UNCORRECTED else spec_of(make_estimator(spec))


def with_uncorrected(records: Iterable[Record], replicates: Replicates) -> tuple[list[Record], Replicates]:
    """The records, and for each of `CORRECTED` one of `UNCORRECTED`; and the replicates of both.

    Those of `UNCORRECTED` are the others less the change of the value: that the change would have been another in other
    simulated episodes is left out, and an interval of their difference speaks of policies, blocks and true values.
    """
    records, source = list(records), {}
    for record in [r for r in records if r.spec == CORRECTED and CHANGE in r.diagnostics]:
        cell = Cell(**record.cell.model_dump() | {"params": record.cell.params | {"corrected": False}})
        value = record.value - record.diagnostics[CHANGE]
        changes = {"cell": cell, "spec": UNCORRECTED, "value": value, "ci_low": None, "ci_high": None, "note": ""}
        source[cell.key] = record
        records.append(record.model_copy(update=changes))

    def of_both(record: Record) -> np.ndarray:
        mine = source.get(record.cell.key)
        return replicates(record) if mine is None else replicates(mine) - mine.diagnostics[CHANGE]

    return records, of_both


def board_answer(board: Board, n_draws: int) -> dict[str, Any] | None:
    """Everything about one board; None where the kernel has not run. Errors are shares of the range of true values."""
    kernel = board.rows.get(canonical(KERNEL))
    if kernel is None or not kernel.done.any() or board.span == 0:
        return None
    draws = draw(board, n_draws)
    mae = measure(board, kernel, draws)["mae"]
    seeds = int(kernel.done.any(axis=1).sum())
    return {
        "task": board.task,
        "log": board.log,
        "n": board.n,
        "exact": board.exact,
        "cells": int(kernel.done.sum()),
        "expected": board.n_expected,
        "seeds": seeds,
        "kernel": {name: getattr(mae, name) / board.span for name in ("value", "low", "high")},
        "steps": [_step_answer(board, step, draws) for step in STEPS],
        "rivals": _rivals(board, kernel.done, draws),
    }


def _rivals(board: Board, cells: np.ndarray, draws: Draws) -> dict[str, Any]:
    """The best classical estimator on the (S, P) cells of the kernel, and what `RIVALS` err more than it."""
    board = replace(board, rows={spec: row.restricted(cells) for spec, row in board.rows.items()})
    classical = {spec: row for spec, row in board.rows.items() if row.family in CLASSICAL and row.done.any()}
    table = {spec: measure(board, row, None) for spec, row in classical.items()}
    best = best_classical(board, table)
    if best is None:
        return {"best": None}
    steps = [Step(name, best, spec, "") for name, spec in RIVALS.items()]
    value = table[best]["mae"].value
    return {"best": best, "value": value / board.span, "minus": [_step_answer(board, step, draws) for step in steps]}


def _step_answer(board: Board, step: Step, draws: Draws) -> dict[str, Any]:
    before, after = (board.rows.get(canonical(spec)) for spec in (step.before, step.after))
    same = step.soft and board.exact
    found = None if before is None or after is None or same else compare_pair(board, after, before, step.before, draws)
    if found is None:
        return {"step": step.name, "cells": 0}
    one = found["mae"]
    values = {name: getattr(one, name) / board.span for name in ("difference", "low", "high")}
    return {
        "step": step.name,
        "cells": one.n_cells,
        "p": one.p_value,
        **values,
        "blocks": _blocks(board, before, after),
    }


def _blocks(board: Board, before: Row, after: Row) -> dict[str, float]:
    """The same difference block by block, by seed, on the cells that both have there."""
    more = np.abs(after.value - board.truth) - np.abs(before.value - board.truth)
    both = before.done & after.done
    found = zip(board.seeds, more, both, strict=True)
    return {str(seed): float(row[there].mean()) / board.span for seed, row, there in found if there.any()}


def with_adjusted(answers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The answers, each difference with its p-value adjusted for the boards of its step ("p_holm")."""

    def adjusted(columns: Sequence[Sequence[dict[str, Any]]]) -> None:
        for column in zip(*columns, strict=True):
            there = [step for step in column if step["cells"]]
            for step, p in zip(there, holm([step["p"] for step in there]), strict=True):
                step["p_holm"] = p

    found = copy.deepcopy(list(answers))
    adjusted([a["steps"] for a in found])
    adjusted([a["rivals"]["minus"] for a in found if a["rivals"]["best"]])
    return found


def summary_markdown(answers: Sequence[Mapping[str, Any]]) -> str:
    """What the steps are and what they come to."""
    rows = [
        [f"*{s.name}*", f"`{s.after}` minus `{s.before}`", s.meaning, *_sum(answers, k)] for k, s in enumerate(STEPS)
    ]
    legend = (
        "*mean*: of the difference of mean absolute errors, as a share of the range of true values, over recorded "
        "tasks, each board alike; below 0 is better. *lower*, *higher*: boards with a difference below or above 0, in "
        "brackets those told apart from 0 at 5 % after adjustment for the boards (Holm)."
    )
    return f"{table(['step', 'difference', 'of what', 'mean', 'boards', 'lower', 'higher'], rows)}\n\n{legend}"


def as_markdown(answers: Sequence[Mapping[str, Any]]) -> str:
    """Board by board what the steps come to; then the best classical estimators."""
    header = ["board", "kernel, text", *(s.name for s in STEPS)]
    rows = [[_board(a), _kernel(a), *map(_cell(a), a["steps"])] for a in answers]
    rivals = [a for a in answers if a["rivals"]["best"]]
    others = [
        [_board(a), f"`{a['rivals']['best']}`", number(a["rivals"]["value"]), *map(_cell(a), a["rivals"]["minus"])]
        for a in rivals
    ]
    legend = (
        "Unit: mean absolute error / range of true values, below 0 is better; intervals are pointwise 95 %. **Bold**: "
        "p < 5 % after adjustment for the boards of the column (Holm). "
        f"{PARTIAL}: over fewer cells than the board has, or than the kernel has. The best classical estimator is "
        f"picked in hindsight, on the cells of the kernel.{_one_seed(answers)}"
    )
    against = ["board", "best classical estimator", "its error", *(f"{name} minus it" for name in RIVALS)]
    return "\n\n".join([table(header, rows), table(against, others), legend])


def _sum(answers: Sequence[Mapping[str, Any]], k: int) -> list[str]:
    """Mean difference of a step over recorded tasks, how many boards that is, and on how many it helps or harms."""
    steps = [a["steps"][k] for a in answers if not a["exact"] and a["steps"][k]["cells"]]
    if not steps:
        return [DASH, "0", DASH, DASH]
    sides = [[s for s in steps if sign * s["difference"] > 0] for sign in (-1, 1)]
    counts = [f"{len(side)} ({sum(map(clear, side))})" for side in sides]
    return [number(np.mean([s["difference"] for s in steps]), sign=True), str(len(steps)), *counts]


def clear(step: Mapping[str, Any]) -> bool:
    """Whether a difference is told apart from 0 once the number of boards is allowed for."""
    return bool(step["cells"]) and step["p_holm"] < LEVEL


def _one_seed(answers: Sequence[Mapping[str, Any]]) -> str:
    """What the intervals of boards with a single training do not speak of."""
    single = [f"{a['task']}, {a['log']}" for a in answers if a["seeds"] == 1]
    if not single:
        return ""
    return f" Nothing in an interval speaks of another log or another training on {'; '.join(single)}: one seed."


def _board(answer: Mapping[str, Any]) -> str:
    mark = "" if answer["cells"] == answer["expected"] else f" {PARTIAL}"
    return f"{answer['task']}, {answer['log']}{mark}"


def _kernel(answer: Mapping[str, Any]) -> str:
    value = answer["kernel"]
    return f"{number(value['value'])} [{number(value['low'])}, {number(value['high'])}]"


def _cell(answer: Mapping[str, Any]):
    def text(step: Mapping[str, Any]) -> str:
        if not step["cells"]:
            return DASH
        value = number(step["difference"], sign=True)
        shown = f"**{value}**" if clear(step) else value
        mark = "" if step["cells"] == answer["cells"] else f" {PARTIAL}"
        return f"{shown} [{number(step['low'], sign=True)}, {number(step['high'], sign=True)}]{mark}"

    return text


def main(results: Path = RESULTS, n_draws: int = DRAWS) -> None:
    """Takes adwm's error apart, on every board of the leaderboard.

    Args:
        results: folder of the results; writes studies/decomposition.json and a figure.
        n_draws: bootstrap draws behind the intervals.
    """
    store = Store(results)
    found, notes = boards(*with_uncorrected(store.records(), store.replicates))
    answers = with_adjusted([a for a in (board_answer(board, n_draws) for board in main_boards(found)) if a])
    if not answers:
        raise BenchError(f"{store.cells} holds no cells of {KERNEL}. Run `python run_bench.py run --estimator adwm`.")
    text = as_markdown(answers)
    summary = summary_markdown(answers)
    content = {"steps": [asdict(s) for s in STEPS], "boards": answers, "notes": notes, "summary": summary}
    path = keep_answer(results, NAME, content, text)
    save(decomposition_figure(answers, [s.name for s in STEPS]), figure_folder(results), NAME)
    print(f"{summary}\n\n{text}\n\n{path}")


if __name__ == "__main__":
    sys.exit(start(main))
