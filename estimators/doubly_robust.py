"""Doubly robust: importance weights correct a fitted Q that was learned from other episodes (DR, WDR)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bench.estimator import Estimate, mean_of_terms
from bench.policy import Policy
from estimators._doubly_robust import (
    CrossFitted,
    corrections,
    doubly_robust_terms,
    self_normalized_doubly_robust,
    self_normalized_terms,
)
from estimators._weights import weigh, weight_diagnostics


@dataclass
class DoublyRobust(CrossFitted):
    """Adds the weighted errors of Q along logged episodes to its values.

    - default, DR: (1/n) sum_i sum_t gamma^t [w_t (r_t - Q) + w_{t-1} V] (Jiang & Li 2016, arXiv 1511.03722, eq. 10);
      unbiased whatever Q is, because Q never saw the episode it is used on.
    - `self_normalized`, WDR: weights divided by their sum at every turn (Thomas & Brunskill 2016, arXiv 1604.00923,
      section 5); consistent.
    """

    self_normalized: bool = False
    """Divide by the sum of the weights of each turn instead of n: a little bias for far less variance."""

    variants: ClassVar[tuple[str, ...]] = ("", "self_normalized=true")

    def estimate(self, policy: Policy, rng: np.random.Generator) -> Estimate:
        data = self.fitted_data()
        episodes = weigh(data, policy)
        values, diagnostics = self.held_out_q(policy, rng)
        parts = corrections(data, episodes, values.q, values.v)
        if self.self_normalized:
            terms, combine = self_normalized_terms(episodes, parts), self_normalized_doubly_robust
        else:
            terms, combine = doubly_robust_terms(episodes, parts), mean_of_terms
        return Estimate(terms, combine, episodes.instance, weight_diagnostics(episodes) | diagnostics)
