"""Length-normalized surrogate weights: the geometric mean of the ratios instead of their product."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import numpy as np

from bench.data import LoggedDataset
from bench.errors import UnsupportedError
from bench.estimator import Estimate, Estimator, Family
from bench.policy import Policy
from estimators._weights import sum_of_normalized_means, weigh, weight_diagnostics


@dataclass
class TurnLevel(Estimator):
    """sum_i s_i G_i / sum_i s_i with s_i = exp of the mean log ratio of episode i.

    The normalization is the sequence-level ratio of GSPO (Zheng et al. 2025, arXiv 2507.18071, section 4.1), carried
    over from one response to a whole episode. It never degenerates, but what it converges to is the value of no policy:
    somewhere between the logger's and the target's. Read it as a ranking score.
    """

    unit: Literal["turn", "token"] = "turn"
    """What the log ratio is averaged over: the turns of an episode, or all tokens of its actions."""

    family: ClassVar[Family] = "importance weighting"
    known_failures: ClassVar[dict[str, str]] = {
        "check_episodes_that_end_early": "changes the estimand: between the logger's value and the target's",
        "check_error_falls_as_the_log_grows": "changes the estimand: its error has a limit that is not 0",
    }
    needs_propensities: ClassVar[bool] = True

    def unsupported(self, data: LoggedDataset, policy: Policy) -> str | None:
        if reason := super().unsupported(data, policy):
            return reason
        if self.unit == "token" and any(s.action_tokens is None for t in data.trajectories for s in t.steps):
            return "the log does not record the tokens of every action, which unit=token averages over"
        return None

    def fit(self, data: LoggedDataset, rng: np.random.Generator) -> Self:
        self.data_ = data
        return self

    def estimate(self, policy: Policy, rng: np.random.Generator) -> Estimate:
        data = self.fitted_data()
        if reason := self.unsupported(data, policy):
            raise UnsupportedError(reason)
        episodes = weigh(data, policy)
        units = episodes.lengths
        if self.unit == "token":
            units = np.array([sum(len(s.action_tokens or ()) for s in t.steps) for t in data.trajectories])
        surrogate = episodes.final_log_weight / np.maximum(units, 1)
        diagnostics = weight_diagnostics(episodes)
        own = weight_diagnostics(replace(episodes, log_weight=surrogate[:, None]))
        diagnostics |= {"surrogate_ess": own["ess"], "surrogate_max_weight_share": own["max_weight_share"]}
        terms = np.stack([surrogate, episodes.returns], axis=1)
        note = f"surrogate weights (mean log ratio per {self.unit}): changes the estimand"
        return Estimate(terms, sum_of_normalized_means, episodes.instance, diagnostics, note=note)
