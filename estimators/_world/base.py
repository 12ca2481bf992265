"""What every estimator by simulation shares: a fitted world, rollouts, and a Monte-Carlo value."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from bench.data import LoggedDataset
from bench.errors import BenchError
from bench.estimator import Estimate, Estimator, mean_of_terms
from bench.policy import Policy
from estimators._world.rollout import Simulation, simulate
from estimators._world.world import LONGEST, World, answered, starts_of

if TYPE_CHECKING:
    from estimators._world.fits import FitConfig
    from estimators._world.training import Fit


SHORT_TRAINING = {
    "check_error_falls_as_the_log_grows": "a few seconds of training at test size end before convergence, on a large "
    "log as on a small one; at full size the error on that task's pooled log is at most a few hundredths",
}
"""Known failure of latent world models at the size of the conformance suite; see `Estimator.known_failures`."""


@dataclass
class SimulationEstimator(Estimator):
    """Plays the policy in a world learned from the log and averages the returns."""

    rollouts: int = 100
    """Simulated episodes per policy, every instance in turn."""

    version: ClassVar[int] = 2
    size_curve: ClassVar[bool] = False
    one_world: ClassVar[bool] = True
    """Whether all episodes are played in what `world` returns; False where it is one of several."""

    def check(self) -> None:
        """Looks at the parameters.

        Raises:
            BenchError: one that cannot be.
        """
        if self.rollouts < 1:
            raise BenchError(f"{self.name}: rollouts must be at least 1, not {self.rollouts}.")

    @abstractmethod
    def world(self, policy: Policy) -> World:
        """The fitted world in which `policy` is to be judged."""

    def simulate(self, policy: Policy, rng: np.random.Generator) -> Simulation:
        """`rollouts` episodes of the policy in the fitted world."""
        data = self.fitted_data()
        starts = starts_of(data, self.rollouts, rng)
        return simulate(self.world(policy), policy, starts, data.horizon, data.gamma, rng)

    def estimate(self, policy: Policy, rng: np.random.Generator) -> Estimate:
        """Monte-Carlo value. Resampling rollouts says nothing of the error of the model: the interval is labelled
        so."""
        played = self.simulate(policy, rng)
        diagnostics = {
            "simulated_length": float(played.lengths.mean()),
            "ended_share": float(played.ended.mean()),
            **self.facts(),
            **played.diagnostics,
        }
        note = "; ".join(filter(None, (self.label(), played.note)))
        terms = played.returns[:, None]
        return Estimate(terms, mean_of_terms, played.instances, diagnostics, interval="simulation only", note=note)

    def facts(self) -> dict[str, float]:
        """What is known of the fit."""
        return {}

    def label(self) -> str:
        """What a reader must know of the fit; empty if nothing."""
        return ""


@dataclass
class LearnedWorldEstimator(SimulationEstimator):
    """The estimators that live in the latent space of one trained world model."""

    size: Literal["cpu", "paper", "tiny"] = "cpu"
    """cpu: about 2.7 million parameters, minutes on one core. paper: about the 7.4 million that adwm reports. tiny: for
    tests."""
    updates: int = 1200
    """Updates of the dynamics on frozen latents, at most: training stops early when held-out losses stop falling."""
    encoder_updates: int = 400
    """Updates of everything end to end, text encoder included, before its latents are frozen."""
    goal_relation: bool = True
    """Mark the words of an observation that the goal names too."""
    knows_instance: bool = True
    """Tell the instances of a fixed list apart; 10 % of the training episodes are not told theirs."""
    frozen_encoder: bool = False
    """Never train the text encoder: latents are random projections of the text (an ablation)."""
    fit_seed: int = 0
    """Another training of the same configuration."""

    version: ClassVar[int] = 4
    tiny: ClassVar[dict[str, Any]] = {"size": "tiny", "rollouts": 50, "updates": 250, "encoder_updates": 50}

    def unsupported(self, data: LoggedDataset, policy: Policy) -> str | None:
        """See `Estimator`."""
        if data.horizon > LONGEST:
            return f"its history holds {LONGEST} steps, and the horizon of the log is {data.horizon}"
        return super().unsupported(data, policy)

    def check(self) -> None:
        """See `SimulationEstimator`."""
        super().check()
        if self.updates < 1 or self.encoder_updates < 0:
            raise BenchError(
                f"{self.name}: updates {self.updates} must be at least 1 and encoder_updates {self.encoder_updates} "
                "must not be negative."
            )
        if self.frozen_encoder and self.encoder_updates != type(self).encoder_updates:
            raise BenchError(
                f"{self.name}: frozen_encoder never trains the encoder, and encoder_updates {self.encoder_updates} "
                "would do nothing."
            )

    def fit(self, data: LoggedDataset, rng: np.random.Generator) -> Self:
        """Trains the world model, or finds it trained; see `estimators._world.fits` for why `rng` has no part in it."""
        self.check()
        self.data_ = answered(data)
        self.fit_ = self.train(self.data_)
        return self

    def config(self) -> FitConfig:
        """What decides the world model besides the log."""
        from estimators._world.fits import FitConfig
        from estimators._world.training import Training

        training = Training(self.updates, self.encoder_updates, frozen_encoder=self.frozen_encoder)
        return FitConfig(self.size, training, self.goal_relation, self.knows_instance, self.fit_seed)

    def train(self, data: LoggedDataset) -> Fit:
        """The world model of this configuration on a log."""
        from estimators._world.fits import fitted

        return fitted(data, self.config())

    def facts(self) -> dict[str, float]:
        """See `SimulationEstimator`."""
        return {f"fit_{name}": value for name, value in self.fit_.facts.items()}

    def label(self) -> str:
        """See `SimulationEstimator`."""
        gain = self.fit_.facts["gain"]
        return (
            ""
            if gain > 0
            else f"undertrained: knowing the action does not lower the held-out denoising loss ({gain:+.1%})"
        )
