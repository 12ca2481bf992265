"""The ablation as numbers and as markdown: every variant on one board, and its difference to the kernel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bench.board import Board, Row
from bench.comparisons import Comparison, compare_pair, with_holm
from bench.inference import Draws, Measured, draw, measure
from bench.scoring import median_of
from bench.tables import CONSTANT, DASH, PARTIAL, number, seconds, table, training, with_interval
from studies.answers import known
from studies.tuned_scales import on_whole_blocks

METRICS = ("mae", "bias", "spearman")
REFERENCES = {"minus_kernel": "kernel", "minus_whole": "whole"}
"""What every row is compared with, by the key of the difference, and what tables call it."""


@dataclass(frozen=True)
class Reference:
    """What a row is compared with, as canonical specs: what it is a variant of, and the control (omega = 1, eta = 0),
    both of its own training."""

    whole: str
    kernel: str

    def spec(self, key: str) -> str:
        """That of a key of `REFERENCES`."""
        return self.kernel if key == "minus_kernel" else self.whole


def board_answer(
    board: Board,
    variants: Mapping[str, str],
    grids: Mapping[str, Mapping[tuple[float, float], str]],
    references: Mapping[str, Reference],
    n_draws: int,
) -> dict[str, Any]:
    """Everything about one board.

    Args:
        variants: name to canonical spec.
        grids: name of a training to its grid, (omega, eta) to canonical spec.
        references: canonical spec to what it is compared with.
    """
    rows = _rows(board, variants.values(), references, n_draws)
    of = {spec: asdict(reference) for spec, reference in references.items()}
    return {
        "task": board.task,
        "log": board.log,
        "n": board.n,
        "seeds": list(board.seeds),
        "range": board.span,
        "policies": list(board.policies),
        "variants": [
            {"variant": name, "estimator": spec, "compared_with": of[spec], **rows[spec]}
            for name, spec in variants.items()
        ],
        "grids": [{"training": name, **_grid_answer(board, grid, references, n_draws)} for name, grid in grids.items()],
    }


def _grid_answer(
    board: Board, grid: Mapping[tuple[float, float], str], references: Mapping[str, Reference], n_draws: int
) -> dict[str, Any]:
    """The grid on the blocks that have all of it."""
    whole = on_whole_blocks(board, grid)
    cells = _rows(whole, grid.values(), references, n_draws)
    return {
        "seeds": list(whole.seeds),
        "pairs": [{"omega": w, "eta": e, "estimator": spec, **cells[spec]} for (w, e), spec in grid.items()],
    }


def _rows(
    board: Board, specs: Iterable[str], references: Mapping[str, Reference], n_draws: int
) -> dict[str, dict[str, Any]]:
    """Each row and its differences to its references; P values are adjusted for these rows."""
    draws = draw(board, n_draws)
    wanted = list(dict.fromkeys(specs))
    rows = {spec: _row_answer(board, board.rows.get(spec), draws) for spec in wanted}
    for key in REFERENCES:
        pairs = [(spec, references[spec].spec(key)) for spec in wanted]
        for comparison in with_holm(list(_against(board, pairs, draws))):
            rows[comparison.estimator][key] = asdict(comparison)
    return rows


def _row_answer(board: Board, row: Row | None, draws: Draws) -> dict[str, Any]:
    if row is None:
        return {"cells": 0, "expected": board.n_expected, "status": {}, "reasons": [], "family": "other"}
    found: dict[str, Any] = {
        "cells": int(row.done.sum()),
        "expected": board.n_expected,
        "status": dict(Counter(map(str, row.status.ravel()))),
        "reasons": [{"status": status, "reason": _last_line(text), "cells": n} for status, text, n in row.reasons],
        "family": row.family,
    }
    if not row.done.any():
        return found
    measured = measure(board, row, draws)
    for name in METRICS:
        m = measured[name]
        found[name] = {"value": m.value, "low": m.low, "high": m.high, "seed_sd": m.seed_sd}
    found["mae_over_range"] = found["mae"]["value"] / board.span if board.span > 0 else None
    found["bias_by_policy"] = _bias_by_policy(board, row)
    for name in ("fit_seconds", "prepare_seconds", "estimate_seconds"):
        found[name] = median_of(getattr(row, name))
    found["fit_on_gpu"] = bool(row.on_gpu.any())
    return found


def _last_line(reason: str) -> str:
    return (reason.strip().splitlines() or [""])[-1]


def _bias_by_policy(board: Board, row: Row) -> dict[str, dict[str, float | None]]:
    """Mean and standard deviation over seeds of estimate minus true value."""
    found = {}
    for name, errors in zip(board.policies, (row.value - board.truth).T, strict=True):
        errors = errors[~np.isnan(errors)]
        found[name] = {
            "mean": float(errors.mean()) if len(errors) else None,
            "seed_sd": float(errors.std(ddof=1)) if len(errors) > 1 else None,
        }
    return found


def _against(board: Board, pairs: Iterable[tuple[str, str]], draws: Draws) -> Iterator[Comparison]:
    """Error of each row minus that of its reference on the cells both have, draw by draw."""
    for spec, reference in pairs:
        ours, theirs = board.rows.get(spec), board.rows.get(reference)
        if spec != reference and ours is not None and theirs is not None:
            if found := compare_pair(board, ours, theirs, reference, draws):
                yield found["mae"]


def as_markdown(answers: Sequence[Mapping[str, Any]]) -> str:
    """Per board: what was compared, the table of variants, the verdict, and the bias of every policy."""
    return "\n\n".join(part for answer in answers for part in _board_parts(answer))


def _board_parts(answer: Mapping[str, Any]) -> Iterator[str]:
    rows = answer["variants"]
    yield (
        f"**{answer['task']}, {answer['log']} log, n = {answer['n']:,}, "
        f"seeds {', '.join(map(str, answer['seeds']))}.** "
        "Intervals are 95 % bootstrap intervals over policies, seeds and true values jointly. "
        f"*brief*: the training before version 6; *whole* and *kernel* are those of the training of the row. "
        f"{PARTIAL}: over fewer cells than the board has."
    )
    header = ["variant", "MAE [95 %]", "MAE / range", "bias [95 %]", "Spearman [95 %]"]
    header += [f"MAE minus {name} [95 %]" for name in REFERENCES.values()]
    tried = [row for row in rows if row["status"]]
    yield table([*header, "fit s", "prepare s", "estimate s", "cells"], map(_table_row, tried))
    if len(tried) < len(rows):
        absent = ", ".join(row["variant"] for row in rows if not row["status"])
        yield f"Without cells of the training that this table is about (the leaderboard may have others): {absent}."
    yield _verdict(answer)
    reasons = {(r["variant"], x["status"], x["reason"], x["cells"]) for r in rows for x in r["reasons"]}
    if reasons:
        yield "\n".join(f"- {v}: {n} cells {status}: {reason}" for v, status, reason, n in sorted(reasons))
    done = [row for row in rows if row["cells"]]
    if done:
        yield "Bias by policy (mean over seeds):"
        body = [[_name(r), *(_bias(r, p) for p in answer["policies"])] for r in done]
        yield table(["variant", *answer["policies"]], body)


def _name(row: Mapping[str, Any]) -> str:
    mark = f" {PARTIAL}" if 0 < row["cells"] < row["expected"] else ""
    return f"{row['variant']}: `{row['estimator']}`{mark}"


def _table_row(row: Mapping[str, Any]) -> list[str]:
    cells = f"{row['cells']} of {row['expected']}"
    if not row["cells"]:
        return [_name(row), why_empty(row), *[DASH] * 8, cells]
    mae, bias = (_interval(row[name], sign=name == "bias") for name in ("mae", "bias"))
    rank = f"{DASH} {CONSTANT}" if row["spearman"]["value"] is None else _interval(row["spearman"])
    each = map(seconds, (row["prepare_seconds"], row["estimate_seconds"]))
    times = training(row["fit_seconds"], row["fit_on_gpu"]), *each
    differences = [_difference(row.get(key)) for key in REFERENCES]
    return [_name(row), mae, number(row["mae_over_range"]), bias, rank, *differences, *times, cells]


def why_empty(row: Mapping[str, Any]) -> str:
    """What to say of a row without a number."""
    return "failed" if "failed" in row["status"] else "declined" if "unsupported" in row["status"] else "no cells"


def _difference(found: Mapping[str, Any] | None) -> str:
    """With a mark where it is over fewer cells than the board has."""
    if found is None:
        return DASH
    mark = "" if found["n_cells"] == found["n_expected"] else f" {PARTIAL}"
    return _interval({**found, "value": found["difference"]}, sign=True) + mark


def _interval(found: Mapping[str, Any], sign: bool = False) -> str:
    return with_interval(Measured(found["value"], found["low"], found["high"]), sign)


def _bias(row: Mapping[str, Any], policy: str) -> str:
    return number(row["bias_by_policy"][policy]["mean"], sign=True)


def _verdict(answer: Mapping[str, Any]) -> str:
    """Who differs from the kernel of its training once the number of comparisons is allowed for."""
    verdicts = [_verdict_on(answer["variants"], "Variants")]
    of_grids = (_verdict_on(grid["pairs"], f"Pairs of the grid{_training(grid)}") for grid in tried_grids(answer))
    return " ".join([*verdicts, *of_grids])


def tried_grids(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Those of which more than half of the pairs of scales were tried on the board."""
    tried = [(grid, [bool(pair["status"]) for pair in grid["pairs"]]) for grid in answer["grids"]]
    return [grid for grid, pairs in tried if 2 * sum(pairs) > len(pairs)]


def _training(grid: Mapping[str, Any]) -> str:
    """Which training a grid is of, where it is not today's."""
    return f", {grid['training']} training" if grid["training"] == "brief" else ""


def _verdict_on(rows: Sequence[Mapping[str, Any]], what: str) -> str:
    found = {row["estimator"]: row["minus_kernel"] for row in rows if "minus_kernel" in row}
    if not found:
        return f"{what}: nothing to compare, no kernel has cells in common with other rows."
    sure = {spec: c["difference"] for spec, c in found.items() if c["p_holm"] < 0.05}
    better = [f"`{spec}` ({number(d, sign=True)})" for spec, d in sorted(sure.items()) if d < 0]
    worse = [f"`{spec}` ({number(d, sign=True)})" for spec, d in sorted(sure.items()) if d > 0]
    return (
        f"{what} against the kernel of their training (Holm-adjusted, 5 %): "
        f"better: {', '.join(better) or 'none'}; worse: {', '.join(worse) or 'none'}; "
        f"not told apart: {len(found) - len(sure)} of {len(found)}."
    )


def grid_markdown(answers: Sequence[Mapping[str, Any]], omegas: Sequence[float], etas: Sequence[float]) -> str:
    """MAE / range and Spearman over each grid, one table per board on which most pairs were tried."""
    parts = []
    for answer in answers:
        for grid in tried_grids(answer):
            cells = {(pair["omega"], pair["eta"]): pair for pair in grid["pairs"]}
            body = [[f"omega = {w:g}", *(_grid_cell(cells[w, e]) for e in etas)] for w in omegas]
            seeds = ", ".join(map(str, grid["seeds"]))
            where = f"{answer['task']}, {answer['log']} log, n = {answer['n']:,}, seeds {seeds}{_training(grid)}"
            parts += [f"**{where}**: MAE / range (Spearman).", table(["", *(f"eta = {e:g}" for e in etas)], body)]
    return "\n\n".join(parts)


def _grid_cell(cell: Mapping[str, Any]) -> str:
    if not cell["cells"]:
        return why_empty(cell)
    mark = f" {PARTIAL}" if cell["cells"] < cell["expected"] else ""
    return f"{number(known(cell['mae_over_range']))} ({number(cell['spearman']['value'])}){mark}"
