"""The paper's protocol beside ours: rank correlation over the epsilon sweep alone, over all targets, without the sweep.

    python -m studies.paper_protocol

The paper scores estimators by Spearman's rho over five mixtures of one agent with random actions, epsilon in
{0, .25, .5, .75, 1}. The same five are among our targets; epsilon = 0 is the same checkpoint at the same temperature.
From stored cells; nothing is estimated here. Intervals are those of the leaderboard (`bench.inference`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench import registry
from bench.board import Board, Row
from bench.ceiling import ceilings
from bench.errors import BenchError
from bench.inference import Measured, draw, measure
from bench.metrics import rank_correlations
from bench.plan import chosen_estimators
from bench.scoring import DRAWS, score
from bench.tables import CONSTANT, DASH, PARTIAL, number, table, with_interval
from bench.task import PolicyCard
from studies.answers import RESULTS, keep_answer, known, start
from studies.chance import as_good_by_chance, chance_of
from studies.pools import among

NAME = "paper_protocol"
METHODS = ("ADWM", "FQE", "DR", "DM", "IS", "WIS")
PUBLISHED = {
    "HotpotQA-DPO": (5, (0.90, -0.10, -0.90, 0.00, -0.90, 0.90)),
    "ScienceWorld-ETO": (5, (0.82, -0.21, 0.21, 0.00, 0.21, 0.97)),
    "ALFWorld-iter1": (5, (0.67, 0.82, 0.21, 0.00, -0.82, 0.00)),
    "ALFWorld-iter3": (5, (0.80, 0.00, 0.40, 0.00, -0.70, 0.00)),
    "WebShop-iter1": (5, (0.90, 0.00, -0.20, 0.00, -0.90, 0.90)),
    "HotpotQA-cross": (10, (0.81, 0.12, -0.64, -0.45, -0.52, 0.13)),
}
"""Spearman over the sweep as published (arXiv 2606.05558, main table): configuration to points and `METHODS`."""
THRESHOLDS = (1.0, 0.9, 0.8, 0.7)
POOLS = ("sweep", "all", "without_sweep")
GOOD = 0.9
"""A correlation as good as the best that were published."""
SUBJECT = "adwm"
"""The row that the summary of the boards shows."""


@dataclass(frozen=True)
class Sweep:
    """Mixtures of one checkpoint with random actions, by rising epsilon, from the checkpoint itself (0) on."""

    policies: tuple[str, ...]
    epsilons: tuple[float, ...]


def sweep_of(cards: Iterable[PolicyCard]) -> Sweep | None:
    """The epsilon sweep among a task's targets, with the same checkpoint at the same temperature as epsilon 0.

    Raises:
        BenchError: the sweep mixes several checkpoints or temperatures.
    """
    cards = list(cards)
    agents = {(card.checkpoint, card.temperature) for card in cards if card.epsilon_sweep}
    if not agents:
        return None
    if len(agents) > 1:
        raise BenchError(f"the epsilon sweep is of one agent, this one is of {len(agents)}: {sorted(agents)}.")
    members = [
        card
        for card in cards
        if card.epsilon_sweep or (card.epsilon == 0 and (card.checkpoint, card.temperature) in agents)
    ]
    members.sort(key=lambda card: card.epsilon)
    return Sweep(tuple(card.name for card in members), tuple(card.epsilon for card in members))


def sweeps_of(tasks: Iterable[str]) -> dict[str, Sweep]:
    """Sweeps of the tasks that have one."""
    found = {name: sweep_of(registry.task(name).targets()) for name in tasks}
    return {name: sweep for name, sweep in found.items() if sweep is not None}


def board_answer(board: Board, sweep: Sweep, expected: Sequence[str], n_draws: int) -> dict[str, Any]:
    """Everything about one board.

    Args:
        expected: specs that should be there; those without a row are named as missing.
    """
    variants = {name for name, epsilon in zip(sweep.policies, sweep.epsilons, strict=True) if epsilon > 0}
    pools = {
        "sweep": among(board, sweep.policies),
        "all": board,
        "without_sweep": among(board, set(board.policies) - variants),
    }
    draws = {pool: draw(part, n_draws) for pool, part in pools.items()}
    rows = []
    for spec, row in board.rows.items():
        scores = {p: measure(part, part.rows[spec], draws[p])["spearman"] for p, part in pools.items()}
        rows.append(_row_answer(row, pools["sweep"], scores))
    rows.sort(key=_place)
    epsilon = dict(zip(sweep.policies, sweep.epsilons, strict=True))
    by_name = [-epsilon[name] for name in pools["sweep"].policies]
    perfect = {pool: ceilings(part)["spearman"] for pool, part in pools.items()}
    return {
        "task": board.task,
        "log": board.log,
        "n": board.n,
        "epsilons": {name: epsilon[name] for name in sweep.policies if name in board.policies},
        "truths": dict(zip(board.policies, board.truth.tolist(), strict=True)),
        "policies": {pool: len(part.policies) for pool, part in pools.items()},
        "rows": rows,
        "epsilon_alone": known(float(rank_correlations(np.array(by_name), pools["sweep"].truth)[0])),
        "perfect": {pool: ceiling.value if ceiling else None for pool, ceiling in perfect.items()},
        "missing": [spec for spec in expected if spec not in board.rows],
    }


def _place(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Complete rows first, as in the leaderboard: others rank fewer policies."""
    value = row["all"]["value"]
    return not _complete(row), value is None, -(value or 0.0), row["estimator"]


def _complete(row: Mapping[str, Any]) -> bool:
    return row["cells"] == row["expected"]


def _row_answer(row: Row, sweep: Board, scores: Mapping[str, Measured]) -> dict[str, Any]:
    alone = sweep.rows[row.spec].value
    found = {
        "estimator": row.spec,
        "family": row.family,
        "cells": int(row.done.sum()),
        "expected": row.done.size,
        **{pool: {"value": m.value, "low": m.low, "high": m.high} for pool, m in scores.items()},
    }
    found["sweep"]["seeds"] = [known(float(rho)) for rho in rank_correlations(alone, sweep.truth)[0]]
    found["sweep"]["chance"] = as_good_by_chance(alone, sweep.truth)
    return found


def published_rows() -> list[dict[str, Any]]:
    """The published numbers, and how often a random order would reach that of ADWM."""
    return [
        {
            "configuration": name,
            "points": n,
            **dict(zip(METHODS, values, strict=True)),
            "chance": chance_of(values[0], n),
        }
        for name, (n, values) in PUBLISHED.items()
    ]


def answer(results: Path, sweeps: Mapping[str, Sweep], expected: Sequence[str], n_draws: int = DRAWS) -> dict[str, Any]:
    """All boards of the leaderboard whose task has a sweep.

    Raises:
        BenchError: no such board is stored.
    """
    scores = score(results, n_draws=0)
    boards = [s.board for s in scores.main if s.board.task in sweeps]
    if not boards:
        raise BenchError(f"{results}: no stored cells of a task with an epsilon sweep ({', '.join(sweeps) or 'none'}).")
    without = sorted(set(sweeps) - {board.task for board in boards})
    return {
        "published": published_rows(),
        "chance_of_five": {f"{rho:g}": chance_of(rho, 5) for rho in THRESHOLDS},
        "boards": [board_answer(board, sweeps[board.task], expected, n_draws) for board in boards],
        "tasks_without_cells": without,
        "notes": list(scores.notes),
    }


def markdown(content: Mapping[str, Any]) -> str:
    """Published numbers, then one table per board."""
    chances = ", ".join(f"{rho} or more in {100 * share:.1f} %" for rho, share in content["chance_of_five"].items())
    parts = [
        "**Published** (arXiv 2606.05558): Spearman over the epsilon sweep. *chance*: how often a random order would "
        "do as well as ADWM (one-sided).",
        _published_table(content["published"]),
        f"A random order of five policies reaches a correlation of {chances} of cases.",
    ]
    parts += [
        "**Ours** (Spearman, mean over seeds): how many of the estimators that have all cells and rank the sweep at "
        f"all reach {GOOD:g} on the sweep, over all targets, and without the sweep; and what `{SUBJECT}` reaches.",
        _in_short(content["boards"]),
    ]
    for board in content["boards"]:
        parts += _board_parts(board)
    parts.append(
        f"{PARTIAL} cells are missing or declined: such a row ranks fewer policies or fewer seeds, and stands last."
    )
    if content["tasks_without_cells"]:
        parts.append(f"No stored cells: {', '.join(content['tasks_without_cells'])}.")
    return "\n\n".join(parts)


def _published_table(rows: Sequence[Mapping[str, Any]]) -> str:
    body = [
        [r["configuration"], str(r["points"]), *(f"{r[m]:+.2f}" for m in METHODS), f"{r['chance']:.3f}"] for r in rows
    ]
    means = [f"{np.mean([r[m] for r in rows]):+.3f}" for m in METHODS]
    return table(["configuration", "points", *METHODS, "chance"], [*body, ["*mean*", "", *means, ""]])


def _board_parts(board: Mapping[str, Any]) -> list[str]:
    count, truths = board["policies"], board["truths"]
    curve = ", ".join(f"{number(truths[name])} at {epsilon:g}" for name, epsilon in board["epsilons"].items())
    head = [f"**{board['task']}, {board['log']} log, n = {board['n']:,}**. True values by epsilon: {curve}."]
    rows = [_board_row(row) for row in board["rows"]]
    rows.append(["*epsilon alone*", number(board["epsilon_alone"]), "", "", DASH, DASH, ""])
    perfect = board["perfect"]
    rows.append(
        [
            "*perfect estimator*",
            number(perfect["sweep"]),
            "",
            "",
            number(perfect["all"]),
            number(perfect["without_sweep"]),
            "",
        ]
    )
    header = ["estimator", f"sweep of {count['sweep']} [95 %]", "each seed", "chance"]
    header += [f"all {count['all']} [95 %]", f"the {count['without_sweep']} without sweep [95 %]", "cells"]
    missing = [f"`{spec}`" for spec in board["missing"]]
    tail = [f"Not in the store on this board: {', '.join(missing)}."] if missing else []
    return [*head, table(header, rows), *tail]


def _in_short(boards: Sequence[Mapping[str, Any]]) -> str:
    """How many estimators with all their cells the sweep alone finds good, and how many the other pools do."""
    rows = []
    for board in boards:
        ranked = [r for r in board["rows"] if _complete(r) and r["sweep"]["value"] is not None]
        good = [str(sum((r[pool]["value"] or 0.0) >= GOOD for r in ranked)) for pool in POOLS]
        subject = next((r for r in board["rows"] if r["estimator"] == SUBJECT and r["cells"]), None)
        own = [number(subject[pool]["value"]) if subject else DASH for pool in POOLS]
        rows.append([f"{board['task']}, {board['log']}", str(len(ranked)), *good, *own])
    header = ["board", "estimators", "sweep", "all", "without sweep"]
    return table([*header, *(f"`{SUBJECT}`, {name}" for name in header[2:])], rows)


def _board_row(row: Mapping[str, Any]) -> list[str]:
    mark = "" if _complete(row) else f" {PARTIAL}"
    seeds = " / ".join(DASH if rho is None else f"{rho:.2f}" for rho in row["sweep"]["seeds"])
    sweep, everything, rest = (_shown(row, pool) for pool in POOLS)
    cells = f"{row['cells']} of {row['expected']}"
    chance = row["sweep"]["chance"]
    luck = DASH if chance is None else f"{100 * chance:.1f} %"
    return [f"`{row['estimator']}`{mark}", sweep, seeds, luck, everything, rest, cells]


def _shown(row: Mapping[str, Any], pool: str) -> str:
    found = row[pool]
    if found["value"] is None:
        return f"{DASH} {CONSTANT}" if row["cells"] else DASH
    return with_interval(Measured(found["value"], found["low"], found["high"]))


def main(results: Path = RESULTS) -> None:
    """Rank correlation over the epsilon sweep, as published, beside all targets and those without the sweep.

    Args:
        results: folder of the results.
    """
    content = answer(results, sweeps_of(registry.task_names()), list(chosen_estimators(())))
    text = markdown(content)
    path = keep_answer(results, NAME, content, text)
    print(f"{text}\n\n{path}")


if __name__ == "__main__":
    sys.exit(start(main))
