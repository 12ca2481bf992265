"""What a perfect estimator would score: the truths are measured, so not even they agree with themselves measured again.

Parametric bootstrap: the measured truths are taken for the true values, each is measured again as N(truth, stderr), and
the true values are scored against the new measurements with the metrics of the leaderboard. The mean over redraws is
the ceiling (for errors the floor), the central 95 % of them its band. Measured truths spread a little more than true
values do, so the ceiling is slightly high; where it matters the cell is unrankable anyway.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.board import Board
from bench.inference import METRICS, score_arrays
from bench.rng import rng_for
from bench.stats import percentile_interval


@dataclass(frozen=True)
class Ceiling:
    """Best attainable score: mean over redrawn truths, and their central 95 %."""

    value: float
    low: float
    high: float


def ceilings(board: Board, redraws: int = 2000) -> dict[str, Ceiling | None]:
    """The ceiling of every metric of a board; None where the metric is undefined even for the true values."""
    rng = rng_for("ceiling", board.task, board.policies)
    measured_again = board.truth + board.stderr * rng.standard_normal((redraws, len(board.policies)))  # (D, P)
    perfect = np.broadcast_to(board.truth, measured_again.shape)
    scores = score_arrays(perfect, measured_again, board.stderr, board.span, board.sweep)
    found: dict[str, Ceiling | None] = {}
    for name in METRICS:
        values = scores[name][~np.isnan(scores[name])]
        found[name] = Ceiling(float(values.mean()), *percentile_interval(values)) if len(values) else None
    return found
