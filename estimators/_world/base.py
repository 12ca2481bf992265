"""What every estimator by simulation shares: a fitted world, rollouts, and a Monte-Carlo value."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np

from bench.data import LoggedDataset
from bench.estimator import Estimate, Estimator, mean_of_terms
from bench.policy import Policy
from estimators._world.fits import FitConfig, fitted
from estimators._world.rollout import Simulation, simulate
from estimators._world.training import Fit, Training
from estimators._world.world import World, starts_of


@dataclass
class SimulationEstimator(Estimator):
    """Plays the policy in a world learned from the log and averages the returns."""

    rollouts: int = 100
    """Simulated episodes per policy, every instance in turn."""

    size_curve: ClassVar[bool] = False

    @abstractmethod
    def world(self, policy: Policy) -> World:
        """The fitted world in which `policy` is to be judged."""

    def simulate(self, policy: Policy, rng: np.random.Generator) -> Simulation:
        """`rollouts` episodes of the policy in the fitted world."""
        data = self.fitted_data()
        starts = starts_of(data, self.rollouts, rng)
        return simulate(self.world(policy), policy, starts, data.horizon, data.gamma, rng)

    def estimate(self, policy: Policy, rng: np.random.Generator) -> Estimate:
        """Monte-Carlo value. Resampling rollouts says nothing of the error of the model: the interval is labelled so."""
        played = self.simulate(policy, rng)
        diagnostics = {
            "simulated_length": float(played.lengths.mean()),
            "ended_share": float(played.ended.mean()),
            **played.diagnostics,
            **self.facts(),
        }
        return Estimate(
            played.returns[:, None], mean_of_terms, played.instances, diagnostics, interval="simulation only", note=self.label()
        )

    def facts(self) -> dict[str, float]:
        """What is known of the fit."""
        return {}

    def label(self) -> str:
        """What a reader must know of the fit; empty if nothing."""
        return ""


@dataclass
class LearnedWorldEstimator(SimulationEstimator):
    """The estimators that live in the latent space of one trained world model."""

    size: Literal["cpu", "paper"] = "cpu"
    """cpu: about 2.5 million parameters, minutes on one core. paper: adwm's reported size."""
    epochs: int = 12
    """Passes over the log, at most; training stops early when held-out losses stop falling."""
    goal_relation: bool = True
    """Mark the words of an observation that the goal names too."""
    frozen_encoder: bool = False
    """Never train the text encoder (an ablation)."""
    fit_seed: int = 0
    """Another training of the same configuration."""

    tiny: ClassVar[dict[str, Any]] = {"rollouts": 10, "epochs": 1}

    def fit(self, data: LoggedDataset, rng: np.random.Generator) -> Self:
        """Trains the world model, or finds it trained; see `estimators._world.fits` for why `rng` has no part in it."""
        training = Training(epochs=self.epochs, frozen_encoder=self.frozen_encoder)
        self.data_ = data
        self.fit_: Fit = fitted(data, FitConfig(self.size, training, self.goal_relation, self.fit_seed))
        return self

    def facts(self) -> dict[str, float]:
        """See `SimulationEstimator`."""
        return {f"fit_{name}": value for name, value in self.fit_.facts.items()}

    def label(self) -> str:
        """See `SimulationEstimator`."""
        gain = self.fit_.facts["gain"]
        return "" if gain > 0 else f"undertrained: knowing the action does not lower the held-out denoising loss ({gain:+.1%})"
