"""Resampling and intervals: the uncertainty of every estimate is computed here, the same way for all.

Two schemes, because there are two estimands. Where episodes visit a fixed list of instances and the estimand is the
mean over that list, instances are strata: episodes are redrawn within each of them ("episodes"). Where instances are
themselves a sample of a wider population, whole instances are redrawn ("instances"). Redrawing whole instances for a
fixed list counts the spread between instances as if it were noise and gives intervals that are far too wide.

Of m units, m - 1 are redrawn and counted m / (m - 1) times each (Rao & Wu 1988, "Resampling inference with complex
survey data"). Redrawing all m shrinks the variance by (m - 1) / m, which is a lot where instances have few episodes:
with two on each of 50 instances, 95 % intervals would cover 80 %.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from bench.estimator import Estimate

Scheme = Literal["episodes", "instances"]
LARGEST_COUNTS = 20_000_000
"""Numbers of counts held at a time; bounds memory at 160 MB."""


def resampling_scheme(clusters: np.ndarray, fixed_instances: bool) -> tuple[Scheme, str]:
    """Chooses what to redraw; returns the scheme and a note, empty where the choice needs no announcement."""
    if not fixed_instances:
        return "instances", ""
    _, size = np.unique(clusters, return_counts=True)
    if (size < 2).mean() > 0.1:
        note = "many instances have one episode: whole instances were resampled, intervals are conservative"
        return "instances", note
    return "episodes", ""


def resample_counts(clusters: np.ndarray, replicates: int, rng: np.random.Generator, scheme: Scheme) -> np.ndarray:
    """How often each unit occurs in each bootstrap resample.

    Args:
        clusters: (n,) instance of each unit.

    Returns:
        (replicates, n) counts, not all of them whole numbers; each instance keeps its total ("episodes"), or all of
        them together do ("instances"). Equal clusters and generator state give equal counts, so that estimators which
        use the same episodes are resampled together and their comparison is paired.
    """
    _, code, size = np.unique(clusters, return_inverse=True, return_counts=True)
    if scheme == "instances":
        return _redrawn(len(size), replicates, rng)[:, code]
    counts = np.zeros((replicates, len(code)))
    for k, m in enumerate(size):
        counts[:, code == k] = _redrawn(m, replicates, rng)
    return counts


def _redrawn(m: int, replicates: int, rng: np.random.Generator) -> np.ndarray:
    """(replicates, m) counts that sum to m; a single unit cannot be redrawn and counts once."""
    if m == 1:
        return np.ones((replicates, 1))
    return rng.multinomial(m - 1, np.full(m, 1 / m), size=replicates) * (m / (m - 1))


def bootstrap(
    estimate: Estimate, rng: np.random.Generator, *, fixed_instances: bool = True, replicates: int = 400
) -> tuple[np.ndarray, str]:
    """Re-estimates on resampled units; the estimator's own normalization is redone inside each resample.

    Returns:
        (replicates,) values and a note on the scheme (empty where nothing needs saying).
    """
    scheme, note = resampling_scheme(estimate.clusters, fixed_instances)
    n = len(estimate.clusters)
    chunk = max(1, min(replicates, LARGEST_COUNTS // max(n, 1)))
    values = [
        estimate.combine(
            estimate.terms, resample_counts(estimate.clusters, min(chunk, replicates - start), rng, scheme)
        )
        for start in range(0, replicates, chunk)
    ]
    return np.concatenate(values), note


def percentile_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Central percentile interval of bootstrap values."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
