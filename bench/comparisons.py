"""Is one estimator better than another: paired differences with intervals, and what is left of them after Holm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import t as student

from bench.board import Board, Row
from bench.inference import Draws, Measured, measure
from bench.stats import percentile_interval

BASELINE = "reference"
"""Family of the yardstick: who loses to it has no value."""
CLASSICAL = ("importance weighting", "direct", "doubly robust")
COMPARED = {"mae": -1.0, "spearman": 1.0}
"""Compared metrics, and the sign of a difference that is an improvement."""

Table = Mapping[str, Mapping[str, Measured]]


@dataclass(frozen=True)
class Comparison:
    """One estimator minus one reference, on the cells that both have.

    Attributes:
        against: "baseline" or "best classical"; `reference` is the spec that was.
        difference, low, high: of the metric, estimator minus reference, with its 95 % interval.
        p_better: share of (centered) bootstrap draws in which the estimator is better; ties count one half.
        p_value: two-sided, of the difference over its bootstrap standard error on P - 1 degrees of freedom.
        p_holm: the same adjusted (Holm, 1979) for all estimators compared on this board with this reference and metric.
        n_cells: cells that both have; n_expected: cells of the board.
    """

    task: str
    log: str
    n: int
    estimator: str
    against: str
    reference: str
    metric: str
    difference: float
    low: float
    high: float
    p_better: float
    p_value: float
    p_holm: float
    n_cells: int
    n_expected: int


def baseline(board: Board) -> str | None:
    """The spec of the yardstick, or None where it has no estimate."""
    specs = [spec for spec, row in board.rows.items() if row.family == BASELINE and row.done.any()]
    return min(specs, key=len, default=None)  # the plain spec, before its variants


def best_classical(board: Board, table: Table) -> str | None:
    """The classical estimator with the smallest error among those that did the most cells, or None.

    It is picked in hindsight, which favors it a little: beating it is harder than beating one named beforehand.
    """
    rows = [row for row in board.rows.values() if row.family in CLASSICAL and row.done.any()]
    most = max((row.done.sum() for row in rows), default=0)
    able = [row.spec for row in rows if row.done.sum() == most]
    return min(able, key=lambda spec: (table[spec]["mae"].value, spec), default=None)


def compare(board: Board, table: Table, draws: Draws) -> list[Comparison]:
    """Every estimator against the baseline and against the best classical one.

    Args:
        table: what `measure` found for each row.
        draws: the draws it used, so that the same estimators on fewer common cells stay paired.
    """
    found = []
    for against, reference in {"baseline": baseline(board), "best classical": best_classical(board, table)}.items():
        if reference is None:
            continue
        rivals = [row for spec, row in board.rows.items() if spec != reference]
        pairs = [compare_pair(board, row, board.rows[reference], against, draws, table) for row in rivals]
        for metric in COMPARED:
            found += with_holm([pair[metric] for pair in pairs if pair])
    return found


def compare_pair(
    board: Board, ours: Row, theirs: Row, against: str, draws: Draws, table: Table | None = None
) -> dict[str, Comparison] | None:
    """One comparison for each of `COMPARED`; None where they share no cell or one of them has no usable replicate.

    Args:
        against: what to call the second row. table: metrics known already, by spec.
    """
    common = ours.done & theirs.done
    if not common.any():
        return None
    a, b = (_on_cells(board, row, common, table or {}, draws) for row in (ours, theirs))
    if len(a["mae"].draws) != len(b["mae"].draws) or not len(a["mae"].draws):
        return None
    found = {}
    for metric, improvement in COMPARED.items():
        difference = a[metric].counted - b[metric].counted
        resampled = a[metric].centered - b[metric].centered
        policies = int(common.any(axis=0).sum())
        low, high, p_better, p_value = difference_test(difference, resampled, improvement, policies)
        found[metric] = Comparison(
            task=board.task,
            log=board.log,
            n=board.n,
            estimator=ours.spec,
            against=against,
            reference=theirs.spec,
            metric=metric,
            difference=difference,
            low=low,
            high=high,
            p_better=p_better,
            p_value=p_value,
            p_holm=p_value,
            n_cells=int(common.sum()),
            n_expected=board.n_expected,
        )
    return found


def _on_cells(board: Board, row: Row, cells: np.ndarray, table: Table, draws: Draws) -> Mapping[str, Measured]:
    """The metrics of a row on some of its cells; what is measured already is not measured again."""
    restricted = row.restricted(cells)
    known = row.spec in table and restricted is row
    return table[row.spec] if known else measure(board, restricted, draws)


def difference_test(
    difference: float, resampled: np.ndarray, improvement: float, n_policies: int
) -> tuple[float, float, float, float]:
    """Interval of a difference, share of draws in which it is an improvement, and a two-sided p-value.

    Args:
        resampled: (D,) centered bootstrap differences.
        improvement: sign of a difference that is an improvement.

    Returns:
        low, high, P(better), p. Two estimators that never differ give (0, 0, 0.5, 1).
    """
    low, high = percentile_interval(resampled)
    gain = np.sign(np.round(improvement * resampled, 12))
    spread = float(resampled.std(ddof=1))
    if spread < 1e-12 or n_policies < 2:
        return low, high, float((1 + gain.mean()) / 2), 1.0
    # policies are the units, and few: the bootstrap of a mean is short of its variance by (P - 1) / P
    statistic = abs(difference) / (spread * np.sqrt(n_policies / (n_policies - 1)))
    return low, high, float((1 + gain.mean()) / 2), float(2 * student.sf(statistic, df=n_policies - 1))


def with_holm(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Fills `p_holm`: p-values adjusted step by step for the number of comparisons (Holm, 1979)."""
    adjusted = holm([c.p_value for c in comparisons])
    return [replace(c, p_holm=p) for c, p in zip(comparisons, adjusted, strict=True)]


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number, in their order (Holm, 1979)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [1.0] * len(order), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted
