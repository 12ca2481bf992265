"""Fitted Q evaluation: learns the target policy's action values from logged texts, averages them over first steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from bench.data import LoggedDataset
from bench.estimator import Estimate, Family, mean_of_terms
from bench.policy import Policy
from estimators._averagers import sample_target_actions
from estimators._fqe import FittedQ, TextRegression, regression_diagnostics


@dataclass
class FittedQEvaluation(TextRegression):
    """(1/n) sum_i V(h_i0), V by fitted Q evaluation (Le, Voloshin & Yue 2019, arXiv 1903.08738, algorithm 3).

    Needs no propensities. Biased where the features do not tell histories apart or the policy does what was not logged.
    """

    family: ClassVar[Family] = "direct"
    variants: ClassVar[tuple[str, ...]] = ("", "representation=table")
    tiny: ClassVar[dict[str, Any]] = {"dimensions": 8, "trees": 5}

    def fit(self, data: LoggedDataset, rng: np.random.Generator) -> Self:
        self.data_ = data
        self.texts_ = self.log_texts(data)
        self.q_ = FittedQ(self.averager(self.texts_)).fit(data, np.arange(len(data)), rng)
        return self

    def estimate(self, policy: Policy, rng: np.random.Generator) -> Estimate:
        data = self.fitted_data()
        actions = sample_target_actions(policy, data, self.n_actions, rng)
        evaluation = self.q_.evaluate(actions, self.texts_.candidates(actions.step, actions.actions))
        columns, values = data.columns, evaluation.values
        terms = values.v[columns.offsets[:-1]] + len(data) * evaluation.influence()
        diagnostics = regression_diagnostics(values, self.texts_, actions)
        return Estimate(terms[:, None], mean_of_terms, columns.instance, diagnostics)
