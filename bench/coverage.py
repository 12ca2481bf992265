"""Do the intervals of an estimator hold what they promise: coverage, width and interval score of one row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.board import Board, Row
from bench.metrics import covers_noisy_truth, interval_score, wilson_interval


@dataclass(frozen=True)
class Coverage:
    """The 95 % intervals of one row against the true values.

    Attributes:
        cells: done cells whose interval describes the error of the estimate and exists.
        without: done cells left out, since their interval describes simulation noise alone or is undefined.
        share: of `cells` whose interval holds the measured true value; low, high: its Wilson interval, which takes
            cells for independent; those of one seed share a log, so it is somewhat too narrow.
        share_noisy: the same allowing for the standard error of the measured value.
        width: mean width; score: mean interval score; both in units of the return.
        spread: how much the estimates differ between disjoint parts of the log, over what the intervals say they do
            (standard deviations, pooled over policies). Near 1 the intervals are as wide as chance demands, and what
            they miss is bias; above 1 they are too narrow. None with a single seed.
    """

    cells: int
    without: int
    share: float | None = None
    low: float | None = None
    high: float | None = None
    share_noisy: float | None = None
    width: float | None = None
    score: float | None = None
    spread: float | None = None


def coverage(board: Board, row: Row) -> Coverage:
    """Scores the intervals of a row; world models that resample their simulation alone are left out, and counted."""
    known = row.done & row.sampling & ~np.isnan(row.low) & ~np.isnan(row.high)
    cells = int(known.sum())
    without = int(row.done.sum()) - cells
    if cells == 0:
        return Coverage(0, without)
    truth, stderr = (np.broadcast_to(x, known.shape)[known] for x in (board.truth, board.stderr))
    value, low, high = (x[known] for x in (row.value, row.low, row.high))
    hits = (low <= truth + 1e-12) & (truth <= high + 1e-12)
    wilson = wilson_interval(int(hits.sum()), cells)
    return Coverage(
        cells=cells,
        without=without,
        share=float(hits.mean()),
        low=wilson[0],
        high=wilson[1],
        share_noisy=float(covers_noisy_truth(value, low, high, truth, stderr).mean()),
        width=float((high - low).mean()),
        score=float(interval_score(low, high, truth).mean()),
        spread=_spread(row, known),
    )


def _spread(row: Row, known: np.ndarray) -> float | None:
    """See `Coverage.spread`; `known` (S, P) are the cells that count."""
    several = known.sum(axis=0) >= 2
    if not several.any():
        return None
    value, replicates = row.value[:, several], row.replicates[:, several]
    known = known[:, several]
    between = np.nanvar(np.where(known, value, np.nan), axis=0, ddof=1).mean()
    within = np.nanvar(replicates[known], axis=-1).mean()
    return float(np.sqrt(between / within)) if within > 0 else None
