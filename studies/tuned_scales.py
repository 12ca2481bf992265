"""Scales of guidance for a task, chosen on all other tasks: what `adwm[tuned=true]` uses.

Written by `python -m studies.ablation table` to `<results>/studies/tuned_scales.json`. For a task, it is the pair
(omega, eta) with the least mean of MAE / range over the other tasks of the grid, each task weighing the same. True
values of the task itself, let alone of the policy under evaluation, have no part in it. Tasks whose values are exact
are instruments for testing estimators: they count among the others only where there is nothing else. Pairs are
compared on the blocks of a log that all of them were run on. A pair is eligible if every other task has all its cells;
where one lacks some, it is left out and said to be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from bench.board import Board, Row
from bench.cells import Record
from bench.inference import measure
from bench.tables import DASH, number, table

NAME = "tuned_scales"
Pair = tuple[float, float]
Grid = Mapping[Pair, str]
"""(omega, eta) to canonical spec."""


def normalized_error(board: Board, row: Row | None) -> float | None:
    """MAE / range, mean over seeds and policies, of a row with all its cells; None otherwise."""
    if row is None or not row.done.all() or board.span == 0:
        return None
    return measure(board, row, None)["mae"].value / board.span


def on_whole_blocks(board: Board, grid: Grid) -> Board:
    """The board on the blocks that have every pair which has cells at all; all of its blocks where none has them."""
    rows = [board.rows[spec] for spec in grid.values() if spec in board.rows and board.rows[spec].done.any()]
    whole = [seed for k, seed in enumerate(board.seeds) if all(row.done[k].all() for row in rows)]
    return board.on_blocks(whole) if whole else board


def with_grid(boards: Sequence[Board], grid: Grid) -> list[Board]:
    """The boards on which more than half of the pairs were tried, on their whole blocks; the others have some of them
    from elsewhere, and say nothing of scales."""
    tried = [board for board in boards if 2 * sum(spec in board.rows for spec in grid.values()) > len(grid)]
    return [on_whole_blocks(board, grid) for board in tried]


def grids(boards: Sequence[Board], grid: Grid, omegas: Sequence[float], etas: Sequence[float]) -> dict[str, np.ndarray]:
    """Title of a board to its (len(omegas), len(etas)) normalized errors; NaN where cells are missing or declined."""
    found = {}
    for board in with_grid(boards, grid):
        errors = {pair: normalized_error(board, board.rows.get(spec)) for pair, spec in grid.items()}
        values = [[np.nan if errors[w, e] is None else errors[w, e] for e in etas] for w in omegas]
        found[f"{board.task} ({board.log})"] = np.array(values, dtype=float)
    return found


def choose_all(boards: Sequence[Board], grid: Grid, estimator: str) -> dict[str, Any]:
    """The whole file: per task its grid and the pair chosen on the others; `elsewhere` for a task outside the grid.

    Args:
        estimator: whose scales the grid varies.
    """
    boards = with_grid(boards, grid)
    errors = {b.task: {pair: normalized_error(b, b.rows.get(spec)) for pair, spec in grid.items()} for b in boards}
    exact = {b.task for b in boards if b.exact}
    tasks = {}
    for board in boards:
        cells = [
            {
                "omega": pair[0],
                "eta": pair[1],
                "mae_over_range": errors[board.task][pair],
                "cells": int(board.rows[spec].done.sum()) if spec in board.rows else 0,
                "expected": board.n_expected,
            }
            for pair, spec in grid.items()
        ]
        others = others_of(board.task, list(errors), exact)
        tasks[board.task] = {
            "log": board.log,
            "n": board.n,
            "seeds": list(board.seeds),
            "exact": board.exact,
            "grid": cells,
            **_choices(others, errors),
        }
    return {
        "criterion": "least mean over the other tasks of MAE / range",
        "estimator": estimator,
        "tasks": tasks,
        "elsewhere": _choices(others_of(None, list(errors), exact), errors),
    }


def others_of(task: str | None, tasks: Sequence[str], exact: set[str]) -> list[str]:
    """Tasks to choose on: all but this one, without instruments as long as there is anything else."""
    rest = [name for name in tasks if name != task]
    return [name for name in rest if name not in exact] or rest


def _choices(others: Sequence[str], errors: Mapping[str, Mapping[Pair, float | None]]) -> dict[str, Any]:
    pairs = list(next(iter(errors.values()), {}))
    usable = [pair for pair in pairs if others and all(errors[name][pair] is not None for name in others)]
    means = {pair: float(np.mean([errors[name][pair] for name in others])) for pair in usable}
    return {
        "others": list(others),
        "left_out": [list(pair) for pair in pairs if pair not in means],
        "chosen": _best(means),
        "chosen_without_gradient": _best({pair: mean for pair, mean in means.items() if pair[1] == 0}),
    }


def _best(means: Mapping[Pair, float]) -> dict[str, float] | None:
    """The pair with the least mean, of equals the one nearest to the kernel (1, 0); None without any."""
    if not means:
        return None
    omega, eta = min(means, key=lambda pair: (means[pair], abs(pair[0] - 1) + abs(pair[1]), pair))
    return {"omega": omega, "eta": eta, "mean_mae_over_range": means[omega, eta]}


def outdated(records: Iterable[Record], content: Mapping[str, Any]) -> list[str]:
    """Stored cells of `tuned=true` that were made with scales other than those chosen now: their specs do not tell."""
    found: Counter[tuple[str, str, float, float]] = Counter()
    for record in records:
        pair = tuple(record.diagnostics.get(f"tuned_{name}") for name in ("omega", "eta"))
        chosen = content["tasks"].get(record.cell.task, content["elsewhere"])
        now = [chosen[key] for key in ("chosen", "chosen_without_gradient") if chosen[key]]
        if None not in pair and pair not in [(x["omega"], x["eta"]) for x in now]:
            found[record.cell.task, record.spec, *pair] += 1
    return [
        f"{task}: {count} cells of {spec} were made with omega {omega:g} and eta {eta:g}, which is not chosen any "
        f"more; compute them anew with `run_bench.py run --task {task} --redo '{spec}'`"
        for (task, spec, omega, eta), count in sorted(found.items())
    ]


def as_markdown(content: Mapping[str, Any]) -> str:
    """Which scales every task gets, and from where."""
    rows = []
    for name, found in [*content["tasks"].items(), ("any other task", content["elsewhere"])]:
        chosen = [_pair(found[key]) for key in ("chosen", "chosen_without_gradient")]
        rows.append([name, *chosen, ", ".join(found["others"]) or DASH, str(len(found["left_out"]))])
    header = ["task", "scales [MAE / range on the others]", "agent without gradients", "chosen on", "pairs left out"]
    how = f"chosen on the other tasks, by the errors of `{content['estimator']}` with these scales"
    return f"**Scales of `adwm[tuned=true]`**, {how}.\n\n" + table(header, rows)


def _pair(found: Mapping[str, float] | None) -> str:
    if found is None:
        return DASH
    return f"omega = {found['omega']:g}, eta = {found['eta']:g} [{number(found['mean_mae_over_range'])}]"
