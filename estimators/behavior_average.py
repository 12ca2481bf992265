"""Mean logged return, whatever the policy: the reference point every estimator has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from bench.data import LoggedDataset
from bench.estimator import Estimate, Estimator, Family, ratio_of_sums
from bench.policy import Policy


@dataclass
class BehaviorAverage(Estimator):
    """Mean return of the log, (1/n) sum_i G_i ("NAIVE" in Voloshin et al. 2021, arXiv 1911.06854, section 3)."""

    matched: bool = False
    """Average within each task instance first, then over instances, so that often-visited instances weigh no more."""

    family: ClassVar[Family] = "reference"
    known_failures: ClassVar[dict[str, str]] = {
        "check_episodes_that_end_early": "ignores the policy by design",
        "check_error_falls_as_the_log_grows": "ignores the policy by design",
    }
    variants: ClassVar[tuple[str, ...]] = ("", "matched=true")

    def fit(self, data: LoggedDataset, rng: np.random.Generator) -> Self:
        self.data_ = data
        return self

    def estimate(self, policy: Policy, rng: np.random.Generator) -> Estimate:
        data = self.fitted_data()
        columns = data.columns
        size = np.bincount(columns.instance)[columns.instance]
        unit = 1.0 / size if self.matched else np.ones(len(data))  # (n,)
        terms = np.stack([unit * columns.returns(data.gamma), unit], axis=1)
        return Estimate(terms, ratio_of_sums, columns.instance, note="ignores the policy by design")
