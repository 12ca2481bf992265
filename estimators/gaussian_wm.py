"""World model whose next latent is one Gaussian: the same encoder, history and heads as adwm, without diffusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench.estimator import Family
from bench.policy import Policy
from estimators._world.base import SHORT_TRAINING, LearnedWorldEstimator
from estimators._world.world import World


@dataclass
class GaussianWorldModel(LearnedWorldEstimator):
    """Monte-Carlo value in a one-step Gaussian latent model (as in Ha & Schmidhuber 2018, arXiv 1803.10122, with one
    component). What diffusion adds to adwm is the difference to this row: everything else is the same fit
    (whose training stops early by the losses of denoiser and heads).

    The agent reads text: the logged answer nearest to the drawn latent.
    """

    known_failures: ClassVar[dict[str, str]] = SHORT_TRAINING
    family: ClassVar[Family] = "world model"

    def world(self, policy: Policy) -> World:
        """See `SimulationEstimator`."""
        from estimators._world.gaussian_world import GaussianWorld

        return GaussianWorld(self.fit_, self.fitted_data())
