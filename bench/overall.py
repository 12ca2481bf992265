"""One line per estimator over several boards: plain means of normalized metrics, tasks weighing the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.comparisons import baseline
from bench.inference import RANGES, WITHOUT_SWEEP, constant_seeds
from bench.scoring import Scores, Standing
from bench.stats import percentile_interval

AVERAGED = (
    "mae",
    "rmse",
    "bias",
    "spearman",
    "kendall",
    "regret@1",
    "regret@3",
    "pairwise_accuracy",
    "spearman_without_sweep",
)
"""Averaged metrics; the first three are divided by each board's range of true values first."""
ALL = "all"
"""Stands for all logs in place of one."""
IN_UNITS_OF_RETURN = ("mae", "rmse", "bias")


@dataclass(frozen=True)
class Average:
    """Mean of one metric over boards; `undefined` counts those where all estimates are equal: it has no value there,
    and entered as 0. Boards with too few estimates for the metric do not enter."""

    value: float
    low: float | None
    high: float | None
    undefined: int


@dataclass(frozen=True)
class Overall:
    """What one estimator did over a group of boards.

    Attributes:
        log: the log of these boards, or `ALL`.
        boards: how many of them it has an estimate on; n_boards: how many there are.
        cells, n_expected: its estimates, and those of an estimator that supports everything.
        unsupported: share of expected cells it declined.
        averages: by metric, over the boards it has an estimate on: comparable only between complete rows.
        coverage: share of intervals that hold the truth, over all its cells with one; None without any.
        gain, gain_low, gain_high: error of the baseline minus its own, in shares of the range, over the same boards;
            None where a board lacks either.
    """

    spec: str
    family: str
    log: str
    boards: int
    n_boards: int
    cells: int
    n_expected: int
    unsupported: float
    averages: Mapping[str, Average]
    coverage: float | None
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None

    @property
    def complete(self) -> bool:
        """It has an estimate for every cell of every board."""
        return self.cells == self.n_expected


def ranked_boards(scores: Scores) -> list[Standing]:
    """The boards an overall average is formed over: those whose targets differ in value.

    Tasks whose true values are computed rather than measured are instruments for testing estimators, not agents; they
    are left out as soon as there is another task.
    """
    usable = [s for s in scores.main if s.board.span > 0]
    return [s for s in usable if not s.board.exact] or usable


def overall(scores: Scores) -> list[Overall]:
    """Every estimator over all boards, then over each log; best first within each, incomplete rows at the end."""
    standings = ranked_boards(scores)
    logs = sorted({s.board.log for s in standings}, key=lambda log: (-sum(s.board.log == log for s in standings), log))
    found = []
    for log in [ALL, *logs] if len(logs) > 1 else [ALL]:
        group = [s for s in standings if log in (ALL, s.board.log)]
        rows = [_row(spec, log, group) for spec in sorted({spec for s in group for spec in s.table})]
        found += sorted(rows, key=_place)
    return found


def _place(row: Overall) -> tuple[bool, bool, float, str]:
    error = row.averages["mae"].value if row.averages else 0.0
    return not row.averages, not row.complete, error, row.spec


def _row(spec: str, log: str, group: Sequence[Standing]) -> Overall:
    has = [s for s in group if spec in s.table and s.board.rows[spec].done.any()]
    known = [s for s in group if spec in s.table]
    expected = sum(s.board.n_expected for s in group)
    intervals = [s.coverage[spec] for s in has if s.coverage[spec].cells]
    hits = sum(c.share * c.cells for c in intervals)
    return Overall(
        spec=spec,
        family=known[0].board.rows[spec].family,
        log=log,
        boards=len(has),
        n_boards=len(group),
        cells=sum(s.count(spec) for s in has),
        n_expected=expected,
        unsupported=sum(s.count(spec, "unsupported") for s in known) / expected,
        averages={name: found for name in AVERAGED if (found := _average(spec, name, has))},
        coverage=hits / sum(c.cells for c in intervals) if intervals else None,
        **_gain(spec, group),
    )


def _weights(standings: Sequence[Standing]) -> np.ndarray:
    """(K,) weights of boards: tasks weigh the same, and so do the logs of a task."""
    tasks = [s.board.task for s in standings]
    return np.array([1 / (len(set(tasks)) * tasks.count(task)) for task in tasks])


def _average(spec: str, name: str, group: Sequence[Standing]) -> Average | None:
    """None where no board has this metric: too few policies or estimates, no separated pair."""
    group = [s for s in group if s.ceilings[name] is not None]
    group = [s for s in group if s.table[spec][name].value is not None or constant_seeds(s.board.rows[spec])]
    if not group:
        return None
    measured, weights = [s.table[spec][name] for s in group], _weights(group)
    if name in IN_UNITS_OF_RETURN:
        weights = weights / [s.board.span for s in group]
    value = float(sum(w * m.counted for w, m in zip(weights, measured, strict=True)))
    defined = [(w, m) for w, m in zip(weights, measured, strict=True) if m.value is not None]
    undefined = len(measured) - len(defined)
    if {len(m.draws) for _, m in defined} & {
        0
    } or not defined:  # a board without bootstrap draws: no interval here either
        return Average(value, None, None, undefined)
    low, high = percentile_interval(np.sum([w * m.centered for w, m in defined], axis=0))
    smallest, largest = RANGES.get(name.removesuffix(WITHOUT_SWEEP), (-np.inf, np.inf))
    return Average(value, max(min(low, value), smallest), min(max(high, value), largest), undefined)


def _gain(spec: str, group: Sequence[Standing]) -> dict[str, float | None]:
    """Error of the baseline minus the estimator's, where every board has all cells of both."""
    references = [baseline(s.board) for s in group]
    whole = all(
        spec in s.table and reference and s.complete(spec) and s.complete(reference)
        for s, reference in zip(group, references, strict=True)
    )
    if not whole or spec in references:
        return {}
    pairs = [(s.table[reference]["mae"], s.table[spec]["mae"]) for s, reference in zip(group, references, strict=True)]
    weights = _weights(group) / [s.board.span for s in group]
    gain = float(sum(w * (a.counted - b.counted) for w, (a, b) in zip(weights, pairs, strict=True)))
    if any(len(m.draws) == 0 for pair in pairs for m in pair):
        return {"gain": gain}
    low, high = percentile_interval(
        np.sum([w * (a.centered - b.centered) for w, (a, b) in zip(weights, pairs, strict=True)], axis=0)
    )
    return {"gain": gain, "gain_low": low, "gain_high": high}
