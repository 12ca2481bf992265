"""How often a random order would do as well: permutation tests of rank correlations over few policies."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from bench.metrics import rank_correlations
from bench.rng import rng_for

LARGEST_ENUMERATED = 7
SAMPLED = 20_000
"""Random orders of more policies than can be enumerated."""


def orders(n: int) -> np.ndarray:
    """(K, n) all orders of n things, or a sample of them."""
    if n <= LARGEST_ENUMERATED:
        return np.array(list(permutations(range(n))))
    return np.argsort(rng_for("random orders", n).random((SAMPLED, n)), axis=1)


def mean_correlation(estimates: np.ndarray, truths: np.ndarray) -> np.ndarray:
    """Spearman's rho averaged over seeds; where one seed has none (constant estimates) it counts as 0.

    Args:
        estimates: (S, P).
        truths: (..., P).

    Returns:
        (...) array; NaN where no seed has one.
    """
    rho, _ = rank_correlations(estimates, truths[..., None, :])  # (..., S)
    return np.where(np.isnan(rho).all(axis=-1), np.nan, np.nan_to_num(rho).mean(axis=-1))


def as_good_by_chance(estimates: np.ndarray, truths: np.ndarray) -> float | None:
    """Share of orders of the true values that agree with the estimates as well as the real order does, or better.

    One order for all seeds: they are not independent trials, since the estimates of all of them are about the same few
    policies. One-sided: the order that was there counts too, so the smallest share for n policies is 1 / n!.

    Args:
        estimates: (S, P).
        truths: (P,).

    Returns:
        The share; None where the correlation is undefined.
    """
    observed = mean_correlation(estimates, truths)
    if np.isnan(observed):
        return None
    shuffled = mean_correlation(estimates, truths[orders(len(truths))])
    return float((shuffled >= observed - 1e-9).mean())


def chance_of(rho: float, n: int) -> float:
    """How often a random order of n policies reaches a correlation that was published with two decimals.

    Five different values can only give multiples of .1; what lies between comes from two true values that are equal.
    """
    truths = np.arange(n, dtype=float)
    if n == 5 and abs(10 * rho - round(10 * rho)) > 0.01:
        truths[1] = truths[0]
    reached, _ = rank_correlations(orders(n).astype(float), truths)
    return float((reached >= rho - 0.006).mean())
