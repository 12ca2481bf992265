"""How sure the leaderboard is of its own numbers: one joint bootstrap for all estimators on a board.

Each draw (1) takes, for every seed, one bootstrap replicate of the log, the same for all estimators and policies,
(2) redraws the policies with replacement, (3) redraws every true value from N(measured, stderr). Estimators whose
replicates describe their simulation alone know nothing of another log or another fit; for them (4) the seeds that they
have cells of are redrawn too: with a single one, nothing in their intervals speaks of another log or fit. Every
quantity is therefore paired: two estimators are compared on the same episodes, policies and truths.

The number reported is always the plug-in value, never the mean of the draws: redrawing adds noise to estimates that
already carry it, which raises every error and shrinks every correlation. For the same reason intervals are percentile
intervals of the draws shifted so that their mean falls on the plug-in value (for regret: widened to hold it).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bench.board import Board, Row
from bench.metrics import ERROR_METRICS, RANKING_METRICS, SMALLEST_RANKING, errors, ranking
from bench.rng import rng_for
from bench.stats import percentile_interval

WITHOUT_SWEEP = "_without_sweep"
RANGES = {
    "mae": (0.0, np.inf),
    "rmse": (0.0, np.inf),
    "bias": (-np.inf, np.inf),
    "spearman": (-1.0, 1.0),
    "kendall": (-1.0, 1.0),
    "regret@1": (0.0, 1.0),
    "regret@3": (0.0, 1.0),
    "scope_regret@3": (0.0, np.inf),
    "pairwise_accuracy": (0.0, 1.0),
}
"""Every metric of a row and the values it can take."""
METRICS = (*RANGES, *(name + WITHOUT_SWEEP for name in RANKING_METRICS))
"""The same, and ranking without the epsilon sweep (plug-in values alone, no interval)."""


@dataclass(frozen=True)
class Draws:
    """What each of D bootstrap draws picks.

    Attributes:
        policy: (D, P) index of policies, with replacement.
        truth: (D, P) true values of those policies, redrawn.
        replicate: (D, S) which replicate of the log of each seed.
        seed: (D, S) uniform numbers in [0, 1) that pick seeds with replacement; used where replicates describe a
            simulation alone.
    """

    policy: np.ndarray
    truth: np.ndarray
    replicate: np.ndarray
    seed: np.ndarray


def draw(board: Board, n_draws: int) -> Draws:
    """Bootstrap draws of a board, determined by names alone.

    Boards of one task with the same policies draw the same policies and truths, as they share them, so that averages
    over logs can be formed draw by draw.
    """
    n_policies, n_seeds = len(board.policies), len(board.seeds)
    shared = rng_for("scoring", board.task, *board.policies)
    policy = shared.integers(n_policies, size=(n_draws, n_policies))
    truth = board.truth + board.stderr * shared.standard_normal((n_draws, n_policies))
    rng = rng_for("scoring", board.task, board.log, board.n)
    return Draws(
        policy=policy,
        truth=np.take_along_axis(truth, policy, axis=1),
        replicate=rng.integers(board.n_replicates, size=(n_draws, n_seeds)),
        seed=rng.random((n_draws, n_seeds)),
    )


@dataclass(frozen=True)
class Measured:
    """One metric of one row: plug-in value, interval, spread over seeds, and the draws behind the interval.

    `value` is None where the metric is undefined (a constant estimator has no rank correlation); it and its draws then
    count as 0, so that comparisons and averages can be formed.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    seed_sd: float | None = None
    draws: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def counted(self) -> float:
        """What enters an average: 0 where undefined."""
        return 0.0 if self.value is None else self.value

    @property
    def centered(self) -> np.ndarray:
        """The draws, shifted so that their mean is the plug-in value."""
        return self.draws - self.draws.mean() + self.counted


def score_arrays(
    estimates: np.ndarray, truths: np.ndarray, stderrs: np.ndarray, span: float, sweep: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """All metrics of one seed: (..., P) arrays -> {metric: (...) array}; `sweep` (P,) adds ranking without those."""
    found = errors(estimates, truths) | ranking(estimates, truths, stderrs, span)
    found["enough"] = (~np.isnan(estimates - truths)).sum(axis=-1) >= SMALLEST_RANKING
    if sweep is not None:
        rest = ranking(np.where(sweep, np.nan, estimates), np.where(sweep, np.nan, truths), stderrs, span)
        found |= {name + WITHOUT_SWEEP: values for name, values in rest.items()}
    return found


def measure(board: Board, row: Row, draws: Draws | None) -> dict[str, Measured]:
    """Every metric of a row: per seed, then averaged over seeds, in the data and in each bootstrap draw (if any)."""
    plug_in = _over_seeds(
        [score_arrays(x, board.truth, board.stderr, board.span, board.sweep) for x in row.value], METRICS
    )
    resampled = _over_seeds(_resampled(board, row, draws), tuple(RANGES)) if draws and row.done.any() else {}
    return {name: _measured(name, *plug_in[name], resampled.get(name, (None,))[0]) for name in METRICS}


def _measured(name: str, value: np.ndarray, per_seed: np.ndarray, draws: np.ndarray | None) -> Measured:
    if np.isnan(value):
        return Measured(None, draws=np.zeros(0 if draws is None else len(draws)))
    spread = per_seed[~np.isnan(per_seed)]
    seed_sd = float(spread.std(ddof=1)) if len(spread) > 1 else None
    if draws is None or np.isnan(draws).all():  # no replicate is a number: a value without an interval
        return Measured(float(value), seed_sd=seed_sd)
    filled = np.where(np.isnan(draws), np.nanmean(draws), draws)
    low, high = np.clip(_interval(name, float(value), filled), *RANGES[name])
    return Measured(float(value), float(low), float(high), seed_sd, filled)


def _interval(name: str, value: float, values: np.ndarray) -> tuple[float, float]:
    if (
        "regret" in name
    ):  # mostly 0 with rare jumps: shifting would leave the range, so the percentiles are only widened
        low, high = percentile_interval(values)
        return min(low, value), max(high, value)
    return percentile_interval(values - values.mean() + value)


def _resampled(board: Board, row: Row, draws: Draws) -> list[dict[str, np.ndarray]]:
    per_seed = []
    known = np.flatnonzero(row.done.any(axis=1))
    for s in range(len(known) if row.simulation_only else len(board.seeds)):
        seed = known[(draws.seed[:, s, None] * len(known)).astype(int)] if row.simulation_only else s
        estimates = row.replicates[seed, draws.policy, draws.replicate[:, s, None]]  # (D, P)
        per_seed.append(score_arrays(estimates, draws.truth, board.stderr[draws.policy], board.span))
    return per_seed


def _over_seeds(
    per_seed: list[dict[str, np.ndarray]], names: tuple[str, ...]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mean over seeds and the values of the seeds, by metric.

    A correlation that is undefined for some seeds counts as 0 there: dropping those seeds would reward an estimator for
    being constant. It stays undefined where it is undefined for all. Seeds with too few cells are skipped.
    """
    found = {}
    enough = np.stack([scores["enough"] for scores in per_seed])
    for name in names:
        values = np.stack([scores[name] for scores in per_seed])  # (S, ...)
        undefined = np.isnan(values).all(axis=0)
        if name not in ERROR_METRICS:
            values = np.where(np.isnan(values) & enough & ~undefined, 0.0, values)
        count = (~np.isnan(values)).sum(axis=0)
        mean = np.nansum(values, axis=0) / np.maximum(count, 1)
        found[name] = (np.where(count > 0, mean, np.nan), values)
    return found


def constant_seeds(row: Row) -> int:
    """For how many seeds the estimates of at least three policies are all equal."""
    count = 0
    for values in row.value:
        known = np.round(values[~np.isnan(values)], 12)
        count += len(known) >= SMALLEST_RANKING and bool((known == known[0]).all())
    return count
