"""Direct method by plain regression: the policy's actions are valued where the logger went, one deviation at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np

from bench.data import LoggedDataset
from bench.estimator import Estimate, Family, mean_of_terms
from bench.policy import Policy
from estimators._averagers import returns_to_go, sample_target_actions
from estimators._fqe import QValues, TextRegression, leaf_means, regression_diagnostics


@dataclass
class RewardRegression(TextRegression):
    """The direct method of contextual bandits (Dudik, Langford & Li 2011, arXiv 1103.4601, eq. 1), carried to episodes.

    - `outcome=return`: (1/n) sum_i E_{a ~ pi} G(h_i0, a), G a regression of the logged return-to-go: the policy takes
      the first action, the logger all others.
    - `outcome=reward`: (1/n) sum_i sum_t gamma^t E_{a ~ pi} r(h_it, a), r a regression of the reward: the policy takes
      every action, but always where the logger is.

    Both ignore that the policy's own actions lead elsewhere; `fitted_q` is the estimator that does not.
    """

    outcome: Literal["return", "reward"] = "return"
    """What is regressed on history and action."""

    family: ClassVar[Family] = "direct"
    variants: ClassVar[tuple[str, ...]] = ("", "outcome=reward")
    known_failures: ClassVar[dict[str, str]] = {
        "check_episodes_that_end_early": "only the first action is the policy's, the logger continues",
        "check_error_falls_as_the_log_grows": "biased however large the log: the logger continues",
    }
    tiny: ClassVar[dict[str, Any]] = {"dimensions": 8, "trees": 5}

    def fit(self, data: LoggedDataset, rng: np.random.Generator) -> Self:
        self.data_ = data
        self.texts_ = self.log_texts(data)
        self.averager_ = self.averager(self.texts_)
        self.mean_ = leaf_means(self.averager_.fit(data, np.arange(len(data)), rng))  # (leaves, S)
        return self

    def estimate(self, policy: Policy, rng: np.random.Generator) -> Estimate:
        data = self.fitted_data()
        columns = data.columns
        actions = sample_target_actions(policy, data, self.n_actions, rng)
        candidates = self.texts_.candidates(actions.step, actions.actions)
        value = actions.mixture @ self.averager_.query(candidates)  # (S, leaves)
        outcome = returns_to_go(data) if self.outcome == "return" else columns.rewards
        leaf = self.mean_ @ outcome
        counted = columns.turn == 0 if self.outcome == "return" else data.gamma**columns.turn  # (S,) weight of steps
        weight = value.T @ counted  # (leaves,) of each leaf in the sum over episodes
        influence = (self.mean_.T @ weight) * outcome - self.mean_.T @ (weight * leaf)  # (S,), see Evaluation.influence
        terms = np.bincount(columns.episode, weights=counted * (value @ leaf) + influence)
        values = QValues(self.averager_.logged() @ leaf, value @ leaf, outcome)
        diagnostics = {
            f"outcome_{key.removeprefix('bellman_')}" if key.startswith("bellman") else key: number
            for key, number in regression_diagnostics(values, self.texts_, actions).items()
        }
        return Estimate(terms[:, None], mean_of_terms, columns.instance, diagnostics)
