"""The leaderboard as flat rows: one per (task, log, size, estimator), and one per overall average; written as csv."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Mapping

import numpy as np

from bench.comparisons import Comparison
from bench.inference import METRICS, RANGES, WITHOUT_SWEEP, constant_seeds
from bench.metrics import ERROR_METRICS
from bench.overall import IN_UNITS_OF_RETURN, Overall
from bench.scoring import Scores, Standing, median_of

Value = str | int | float | bool | None
OVERALL = "overall"
"""What the column `task` says in rows of averages."""


def board_rows(standing: Standing) -> list[dict[str, Value]]:
    """One flat row per estimator of a board, best first.

    Suffixes: `_low`, `_high` 95 % interval; `_seed_sd` standard deviation over seeds; `_normalized` divided by the
    range of true values; `_ceiling` what a perfect estimator would score; `_without_sweep` without the epsilon sweep.
    """
    return [_identity(standing, spec) | _metrics(standing, spec) | _the_rest(standing, spec) for spec in standing.order]


def _identity(standing: Standing, spec: str) -> dict[str, Value]:
    board, row = standing.board, standing.board.rows[spec]
    return {
        "task": board.task,
        "estimator": spec,
        "log": board.log,
        "n_trajectories": board.n,
        "family": row.family,
        "shown": standing.main,
        "policies": len(board.policies),
        "seeds": len(board.seeds),
        "cells": standing.count(spec),
        "n_expected": board.n_expected,
        "complete": standing.complete(spec),
    }


def _metrics(standing: Standing, spec: str) -> dict[str, Value]:
    found: dict[str, Value] = {}
    span = standing.board.span
    for name in METRICS:
        measured, ceiling = standing.table[spec][name], standing.ceilings[name]
        found[name] = measured.value
        if name in RANGES:
            found |= {f"{name}_low": measured.low, f"{name}_high": measured.high, f"{name}_seed_sd": measured.seed_sd}
        if name in IN_UNITS_OF_RETURN:
            for suffix in ("", "_low", "_high"):
                value = found[name + suffix]
                found[f"{name}_normalized{suffix}"] = value / span if value is not None and span > 0 else None
        found[f"{name}_ceiling"] = ceiling.value if ceiling else None
    return found


def _the_rest(standing: Standing, spec: str) -> dict[str, Value]:
    board, row, intervals = standing.board, standing.board.rows[spec], standing.coverage[spec]

    def over_span(value: float | None) -> float | None:
        return value / board.span if value is not None and board.span > 0 else None

    return {
        "constant_seeds": constant_seeds(row),
        "coverage": intervals.share,
        "coverage_low": intervals.low,
        "coverage_high": intervals.high,
        "coverage_allowing_truth_noise": intervals.share_noisy,
        "interval_cells": intervals.cells,
        "cells_without_interval": intervals.without,
        "simulation_only": row.simulation_only,
        "width": intervals.width,
        "width_normalized": over_span(intervals.width),
        "interval_score": intervals.score,
        "interval_score_normalized": over_span(intervals.score),
        "spread_ratio": intervals.spread,
        "unsupported_share": standing.count(spec, "unsupported") / board.n_expected,
        "failed": standing.count(spec, "failed"),
        "missing": standing.count(spec, "missing"),
        "fit_seconds": median_of(row.fit_seconds),
        "fit_on_gpu": bool(row.on_gpu.any()),
        "prepare_seconds": median_of(row.prepare_seconds),
        "estimate_seconds": median_of(row.estimate_seconds),
        "peak_memory_mb": float(np.nanmax(row.memory_mb)) if (~np.isnan(row.memory_mb)).any() else None,
        "ess": median_of(row.ess),
        "real_episodes_worth": standing.real_episodes_worth(spec),
        "truth_range": board.span,
        "truth_stderr": float(board.stderr.max()),
        "unrankable": board.unrankable,
    }


def overall_row(row: Overall) -> dict[str, Value]:
    """A flat row of averages; boards on which a rank correlation is undefined count as 0 in it."""
    found: dict[str, Value] = {
        "task": OVERALL,
        "estimator": row.spec,
        "log": row.log,
        "family": row.family,
        "shown": True,
        "cells": row.cells,
        "n_expected": row.n_expected,
        "complete": row.complete,
        "boards": row.boards,
        "n_boards": row.n_boards,
        "coverage": row.coverage,
        "unsupported_share": row.unsupported,
        "gain_over_baseline": row.gain,
        "gain_over_baseline_low": row.gain_low,
        "gain_over_baseline_high": row.gain_high,
    }
    for name, average in row.averages.items():
        column = f"{name}_normalized" if name in IN_UNITS_OF_RETURN else name
        found |= {column: average.value, f"{column}_low": average.low, f"{column}_high": average.high}
        if name not in ERROR_METRICS:
            found[f"{name}_undefined"] = average.undefined
    return found


def leaderboard_csv(scores: Scores, averages: Iterable[Overall]) -> str:
    """All boards, those of the size curve included, then the averages; empty fields where there is no number."""
    rows = [row for standing in scores.standings for row in board_rows(standing)]
    return _csv([*rows, *map(overall_row, averages)])


def comparisons_csv(scores: Scores) -> str:
    """Every paired comparison of every board of the leaderboard (columns: `bench.comparisons.Comparison`)."""
    columns = [field.name for field in dataclasses.fields(Comparison)]
    return _csv([dataclasses.asdict(c) for s in scores.standings for c in s.comparisons], columns)


def _csv(rows: Iterable[Mapping[str, Value]], columns: Iterable[str] = ()) -> str:
    rows = list(rows)
    header = list(dict.fromkeys([*columns, *(name for row in rows for name in row)]))
    out = io.StringIO()
    writer = csv.DictWriter(out, header, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _field(value) for name, value in row.items()} for row in rows)
    return out.getvalue()


def _field(value: Value) -> Value:
    """Six significant digits are more than any interval here supports, and they do not differ between machines."""
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value


def without_sweep(name: str) -> str:
    """Name of a ranking metric without the epsilon sweep."""
    return name + WITHOUT_SWEEP
