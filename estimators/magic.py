"""MAGIC: blends weighted doubly robust estimates that trust the weights up to turn J and the fitted Q from then on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from scipy.optimize import nnls

from bench.errors import BenchError
from bench.estimator import Estimate
from bench.policy import Policy
from bench.stats import resample_counts, resampling_scheme
from estimators._doubly_robust import (
    Corrections,
    CrossFitted,
    corrections,
    self_normalized_doubly_robust,
    self_normalized_terms,
)
from estimators._weights import WeightedEpisodes, weigh, weight_diagnostics

REPLICATES = 200
RIDGE = 1e-5


@dataclass
class Magic(CrossFitted):
    """Thomas & Brunskill 2016 (arXiv 1604.00923), section 6 and appendix G.3.

    g_J = sum_{t <= J} of the WDR terms + sum_i gamma^{J+1} w_J V(h_{J+1}), J = -1 (only V) ... L-1 (WDR itself). The
    blend x on the simplex minimizes x' (Omega + b b') x: Omega estimates the covariance of g, b_J is the distance of
    g_J to a 1 - delta bootstrap interval of WDR, widened to contain WDR.
    """

    covariance: Literal["full", "published"] = "full"
    """`full`: n times the sample covariance of the episodes' contributions, as their sum has. `published`: without the
    factor n, which the published experiments lacked and which asks for delta = 0.1."""
    delta: float = 0.5
    """One minus the level of the interval of WDR; larger trusts WDR's point more."""

    variants: ClassVar[tuple[str, ...]] = ("", "covariance=published,delta=0.1")

    def estimate(self, policy: Policy, rng: np.random.Generator) -> Estimate:
        if not 0 < self.delta < 1:
            raise BenchError(f"magic: delta must be between 0 and 1, not {self.delta}.")
        data = self.fitted_data()
        episodes = weigh(data, policy)
        values, diagnostics = self.held_out_q(policy, rng)
        parts = corrections(data, episodes, values.q, values.v)
        scheme, _ = resampling_scheme(episodes.instance, data.fixed_instances)
        counts = resample_counts(episodes.instance, REPLICATES, rng, scheme)
        blend = self.blend(episodes, parts, counts)
        reach = np.cumsum(blend[::-1])[::-1]  # (L+1,) how much of the blend still uses weights at turn t
        blended = Corrections(parts.residual * reach[1:], parts.value * reach[:-1])
        diagnostics |= {"weight_on_direct": float(blend[0]), "weight_on_wdr": float(blend[-1])}
        diagnostics["mean_weighted_turns"] = float(blend @ np.arange(len(blend)))
        return Estimate(
            self_normalized_terms(episodes, blended),
            self_normalized_doubly_robust,
            episodes.instance,
            weight_diagnostics(episodes) | diagnostics,
            note="the interval holds the blend fixed",
        )

    def blend(self, episodes: WeightedEpisodes, parts: Corrections, counts: np.ndarray) -> np.ndarray:
        """(L+1,) shares of g_-1 ... g_{L-1}; (B, n) counts are the resamples of the interval of WDR."""
        contributions = partial_contributions(episodes, parts)  # (n, L+1)
        partial = contributions.sum(axis=0)
        factor = len(contributions) if self.covariance == "full" else 1.0
        omega = factor * np.atleast_2d(np.cov(contributions, rowvar=False))
        replicates = self_normalized_doubly_robust(self_normalized_terms(episodes, parts), counts)
        replicates = replicates[np.isfinite(replicates)]
        low, high = np.quantile(np.append(replicates, partial[-1]), [self.delta / 2, 1 - self.delta / 2])
        low, high = min(low, partial[-1]), max(high, partial[-1])
        bias = np.maximum(partial - high, 0.0) - np.maximum(low - partial, 0.0)
        return simplex_minimum(omega + np.outer(bias, bias))


def partial_contributions(episodes: WeightedEpisodes, parts: Corrections) -> np.ndarray:
    """(n, L+1) what each episode contributes to g_-1 ... g_{L-1}; columns sum to the estimates."""
    now, before = _shares(episodes.log_weight), _shares(episodes.previous_log_weight)
    ahead = before * parts.value  # (n, L) the value that stands in for everything from turn t on
    settled = np.cumsum(now * parts.residual + ahead, axis=1)
    n = len(ahead)
    return np.hstack([np.zeros((n, 1)), settled]) + np.hstack([ahead, np.zeros((n, 1))])


def _shares(log_weight: np.ndarray) -> np.ndarray:
    """(n, L) weights divided by their sum over episodes."""
    top = log_weight.max(axis=0)
    weight = np.exp(log_weight - top)
    return weight / weight.sum(axis=0)


def simplex_minimum(matrix: np.ndarray) -> np.ndarray:
    """argmin x' (M + ridge I) x over x >= 0, sum x = 1, for positive semidefinite M (k, k).

    The minimizer y >= 0 of y' M y + (1 - sum y)^2, a nonnegative least-squares problem, has the same direction. The
    ridge is relative to the mean diagonal, so that the unit of the rewards does not matter; where M is 0, all mass
    goes last.
    """
    size = np.trace(matrix) / len(matrix)
    if not size > 0:
        return np.eye(len(matrix))[-1]
    eigenvalues, vectors = np.linalg.eigh(matrix / size)
    root = vectors.T * np.sqrt(np.maximum(eigenvalues, 0.0) + RIDGE)[:, None]
    y, _ = nnls(np.vstack([root, np.ones(len(matrix))]), np.append(np.zeros(len(matrix)), 1.0))
    return y / y.sum()
