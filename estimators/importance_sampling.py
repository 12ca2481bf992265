"""Importance sampling of whole episodes or single decisions: IS, WIS, PDIS, CWPDIS, clipped, shrunk, multi-logger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from scipy.special import logsumexp

from bench.data import LoggedDataset
from bench.errors import BenchError
from bench.estimator import Estimate, Estimator, Family, mean_of_terms
from bench.policy import Policy
from estimators._weights import (
    WeightedEpisodes,
    lacks_logger_logps,
    linear,
    sum_of_normalized_means,
    weigh,
    weight_diagnostics,
)


@dataclass
class ImportanceSampling(Estimator):
    """Reweights logged episodes by how much likelier the policy makes them.

    With w_t the product of the ratios up to turn t, carried forward after the end of an episode, and G the return:

    - default, IS: (1/n) sum_i w_T G (Precup, Sutton & Singh 2000, section 3); unbiased.
    - `self_normalized`, WIS: sum_i w_T G / sum_i w_T (ibid.); consistent, within the range of logged returns.
    - `per_decision`, PDIS: (1/n) sum_i sum_t gamma^t w_t r_t (ibid., section 4); unbiased.
    - both, CWPDIS: sum_t gamma^t (sum_i w_t r_t / sum_i w_t), sums over all n episodes (Thomas 2015,
      "Safe reinforcement learning", chapter 3); consistent.
    """

    self_normalized: bool = False
    """Divide by the sum of the weights instead of n: a little bias for far less variance."""
    per_decision: bool = False
    """Weigh each reward by the ratios up to its own turn only."""
    clip: float | None = None
    """Cap on every cumulative weight (Ionides 2008); biased, toward 0 unless self-normalized."""
    shrink: float | None = None
    """Lambda of the optimistic shrinkage w -> lambda w / (w^2 + lambda) (Su et al. 2020, arXiv 1907.09623, DRos);
    biased, toward 0 unless self-normalized."""
    balanced: bool = False
    """Divide by the mixture of all loggers over the prefix instead of the one that generated the episode."""

    family: ClassVar[Family] = "importance weighting"
    variants: ClassVar[tuple[str, ...]] = (
        "",
        "self_normalized=true",
        "per_decision=true",
        "self_normalized=true,per_decision=true",
        "self_normalized=true,clip=10",
        "self_normalized=true,shrink=10",
        "balanced=true",
        "self_normalized=true,per_decision=true,balanced=true",
    )
    needs_propensities: ClassVar[bool] = True

    def unsupported(self, data: LoggedDataset, policy: Policy) -> str | None:
        reason = super().unsupported(data, policy)
        return reason or (lacks_logger_logps(data) if self.balanced else None)

    def fit(self, data: LoggedDataset, rng: np.random.Generator) -> Self:
        if self.clip is not None and self.shrink is not None:
            raise BenchError("importance_sampling: choose clip or shrink, not both.")
        for name, value in (("clip", self.clip), ("shrink", self.shrink)):
            if value is not None and not value > 0:
                raise BenchError(f"importance_sampling: {name} must be above 0, not {value}.")
        self.data_ = data
        return self

    def estimate(self, policy: Policy, rng: np.random.Generator) -> Estimate:
        return self.from_weights(weigh(self.fitted_data(), policy, self.balanced))

    def from_weights(self, episodes: WeightedEpisodes) -> Estimate:
        """The estimate from weights that are already known."""
        diagnostics = weight_diagnostics(episodes)
        log_weight, values = episodes.log_weight, episodes.rewards
        if not self.per_decision:
            log_weight, values = log_weight[:, -1:], episodes.returns[:, None]  # (n, 1)
        log_weight, note = self._tamed(log_weight, diagnostics)
        if self.self_normalized:
            terms, combine = np.hstack([log_weight, values]), sum_of_normalized_means
        else:
            terms, combine = (linear(log_weight) * values).sum(axis=1, keepdims=True), mean_of_terms
        return Estimate(terms, combine, episodes.instance, diagnostics, note=note)

    def _tamed(self, log_weight: np.ndarray, diagnostics: dict[str, float]) -> tuple[np.ndarray, str]:
        """Clipped or shrunk log weights (n, L); adds what was taken away to the diagnostics."""
        if self.clip is not None:
            tamed = np.minimum(log_weight, np.log(self.clip))
            note = f"weights clipped at {self.clip:g}"
        elif self.shrink is not None:
            log_lambda = np.log(self.shrink)
            tamed = log_weight + log_lambda - np.logaddexp(2 * log_weight, log_lambda)
            note = f"weights shrunk with lambda {self.shrink:g}"
        else:
            return log_weight, ""
        before, after = log_weight[:, -1], tamed[:, -1]
        diagnostics["clipped_mass"] = float(-np.expm1(logsumexp(after) - logsumexp(before)))
        diagnostics["clipped_share"] = float((after < before).mean())
        return tamed, note
