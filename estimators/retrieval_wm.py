"""The log as its own simulator: the nearest logged transition answers, nothing is learned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from bench.data import LoggedDataset
from bench.errors import BenchError
from bench.estimator import Family
from bench.policy import Policy
from estimators._world.base import SimulationEstimator
from estimators._world.world import World, answered


@dataclass
class RetrievalWorldModel(SimulationEstimator):
    """Monte-Carlo value in a world that answers with what the log shows for the most similar (instance, observation,
    action): the non-parametric model-based estimator (Mannor et al. 2007; Gottesman et al. 2019, arXiv 1905.05787) on
    text.

    A step with no logged transition within `abstain` ends the episode there, and the share of such episodes is
    reported.
    """

    action_weight: float = 2.0
    """Weight of the action's similarity, relative to the observation's."""
    abstain: float = 0.6
    """Largest distance (1 - similarity, in [0, 1]) at which a logged transition may answer."""

    family: ClassVar[Family] = "world model"
    tiny: ClassVar[dict[str, Any]] = {"rollouts": 100}

    def fit(self, data: LoggedDataset, rng: np.random.Generator) -> Self:
        if self.action_weight < 0 or not 0 <= self.abstain <= 1:
            raise BenchError(
                f"{self.name}: action_weight {self.action_weight} must not be negative and abstain {self.abstain} must "
                "lie in [0, 1]."
            )
        self.check()
        self.data_ = answered(data)
        return self

    def world(self, policy: Policy) -> World:
        """See `SimulationEstimator`."""
        from estimators._world.logged_world import LoggedWorld

        return LoggedWorld(self.fitted_data(), self.action_weight, self.abstain)
