"""Importance sampling with a regression control variate: corrects for weights that do not average 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from bench.data import LoggedDataset
from bench.estimator import Estimate, Estimator, Family
from bench.policy import Policy
from estimators._weights import WeightedEpisodes, linear, weigh, weight_diagnostics


def regression_estimate(terms: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sum over turns of mean(w x) - beta (mean(w) - 1), beta = Cov(wx, w) / Var(w), beta anew in each resample.

    Args:
        terms: (n, 2L): weighted values w x, then weights w.
        counts: (B, n).

    Returns:
        (B,) values. Where all weights of a turn are the same, beta is 0.
    """
    product, weight = np.split(terms, 2, axis=1)
    total = counts.sum(axis=1, keepdims=True)
    center_product, center_weight = product.mean(axis=0), weight.mean(axis=0)  # for precision; cancels exactly
    dp, dw = product - center_product, weight - center_weight
    mean_p, mean_w = counts @ dp / total, counts @ dw / total  # (B, L)
    covariance = counts @ (dp * dw) / total - mean_p * mean_w
    variance = counts @ dw**2 / total - mean_w**2
    informative = variance > 1e-12 * np.maximum(center_weight**2, np.finfo(float).tiny)
    beta = np.divide(covariance, variance, out=np.zeros_like(variance), where=informative)
    return (center_product + mean_p - beta * (center_weight + mean_w - 1)).sum(axis=1)


@dataclass
class ControlVariate(Estimator):
    """Regresses the weighted return on the weight, whose mean is 1 (Kallus & Uehara 2019, arXiv 1906.03735, 3.1, REG).

    Adding a constant to all returns adds it to the estimate; WIS is its first-order cousin.
    """

    per_decision: bool = False
    """One regression per turn, of gamma^t w_t r_t on w_t, instead of one of w_T G on w_T."""

    family: ClassVar[Family] = "importance weighting"
    variants: ClassVar[tuple[str, ...]] = ("", "per_decision=true")
    needs_propensities: ClassVar[bool] = True

    def fit(self, data: LoggedDataset, rng: np.random.Generator) -> Self:
        self.data_ = data
        return self

    def estimate(self, policy: Policy, rng: np.random.Generator) -> Estimate:
        return self.from_weights(weigh(self.fitted_data(), policy))

    def from_weights(self, episodes: WeightedEpisodes) -> Estimate:
        """The estimate from weights that are already known."""
        if self.per_decision:
            weight, values = linear(episodes.log_weight), episodes.rewards
        else:
            weight, values = linear(episodes.log_weight[:, -1:]), episodes.returns[:, None]
        terms = np.hstack([weight * values, weight])
        return Estimate(terms, regression_estimate, episodes.instance, weight_diagnostics(episodes))
