"""Latent diffusion world model without guidance: adwm's learned kernel alone, averaged over several trainings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from bench.data import LoggedDataset
from bench.errors import BenchError
from bench.estimator import Estimate, Family
from bench.policy import Policy
from estimators._world.base import SHORT_TRAINING, LearnedWorldEstimator
from estimators._world.rollout import Simulation, simulate
from estimators._world.world import World, answered, starts_of

if TYPE_CHECKING:
    from estimators._world.training import Fit


@dataclass
class DiffusionWorldModel(LearnedWorldEstimator):
    """Monte-Carlo value in an ensemble of latent diffusion models of the next observation (diffusion as in Alonso et
    al. 2024, arXiv 2405.12399; every episode keeps to one member, as in TS-infinity of Chua et al. 2018, arXiv
    1805.12114).

    Ours, beyond the adwm paper: what is left of its method where guidance and soft tokens do harm. omega = 1, eta = 0,
    the agent reads text. One training says little on a log that shares few actions with the policy: `fits` of them play
    an equal share of the episodes each, and `between_fits_sd` tells how far they disagree, the noise of so few episodes
    included.
    """

    fits: int = 3
    """Trainings that differ in nothing but their seed; another `fit_seed` shares none of them."""
    sampler_steps: int = 8
    """As for adwm."""

    quick: ClassVar[bool] = False
    one_world: ClassVar[bool] = False
    family: ClassVar[Family] = "diffusion world model"
    known_failures: ClassVar[dict[str, str]] = SHORT_TRAINING
    tiny: ClassVar[dict[str, Any]] = LearnedWorldEstimator.tiny | {"fits": 2, "rollouts": 100, "sampler_steps": 3}

    def fit(self, data: LoggedDataset, rng: np.random.Generator) -> Self:
        """Trains every member, or finds it trained.

        Raises:
            BenchError: a number of members or steps that cannot be.
        """
        self.check()
        if not 1 <= self.fits <= self.rollouts or self.sampler_steps < 2:
            raise BenchError(
                f"{self.name}: fits {self.fits} must be between 1 and rollouts ({self.rollouts}), and sampler_steps "
                f"{self.sampler_steps} at least 2."
            )
        from estimators._world.fits import fitted

        self.data_ = answered(data)
        configs = [replace(self.config(), fit_seed=self.fits * self.fit_seed + k) for k in range(self.fits)]
        self.fits_: list[Fit] = [fitted(self.data_, config) for config in configs]
        self.fit_ = min(self.fits_, key=lambda fit: fit.facts["gain"])  # whose facts and label are shown
        return self

    def world(self, policy: Policy) -> World:
        """The first member."""
        return self._world(self.fits_[0])

    def simulate(self, policy: Policy, rng: np.random.Generator) -> Simulation:
        """`rollouts` episodes, dealt out to the members in turn."""
        return _together(self._play(policy, rng))

    def estimate(self, policy: Policy, rng: np.random.Generator) -> Estimate:
        """See `SimulationEstimator`."""
        found = super().estimate(policy, rng)
        if self.fits == 1:
            return found
        member = np.arange(self.rollouts) % self.fits
        means = [found.terms[member == k].mean() for k in range(self.fits)]
        apart = {"between_fits_sd": float(np.std(means, ddof=1))}
        return replace(found, diagnostics={**found.diagnostics, **self.facts(), **apart})  # not the members' mean facts

    def _play(self, policy: Policy, rng: np.random.Generator) -> list[Simulation]:
        data = self.fitted_data()
        starts = starts_of(data, self.rollouts, rng)
        return [
            simulate(self._world(fit), policy, starts[k :: self.fits], data.horizon, data.gamma, rng)
            for k, fit in enumerate(self.fits_)
        ]

    def _world(self, fit: Fit) -> World:
        from estimators._world.diffusion_world import DiffusionWorld, Guidance

        return DiffusionWorld(fit, self.fitted_data(), Guidance(omega=1.0, eta=0.0), self.sampler_steps, None)


def _together(parts: list[Simulation]) -> Simulation:
    """One simulation of the episodes that were dealt out in turn, in the order of the deal."""
    sizes = np.array([len(part.starts) for part in parts])
    deal = [(part, i) for i in range(sizes[0]) for part, size in zip(parts, sizes, strict=True) if i < size]

    def dealt(name: str) -> list[Any]:
        return [getattr(part, name)[i] for part, i in deal]

    starts = dealt("starts")
    return Simulation(
        instances=np.unique([s.instance for s in starts], return_inverse=True)[1],
        returns=np.array(dealt("returns")),
        lengths=np.array(dealt("lengths")),
        ended=np.array(dealt("ended")),
        starts=starts,
        episodes=dealt("episodes"),
        diagnostics={
            name: float(np.average([p.diagnostics[name] for p in parts], weights=sizes))
            for name in parts[0].diagnostics
        },
        note=parts[0].note,
    )
