"""Each transition an independent reverse diffusion: prior, action, and the continuation of the agent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.data import LoggedDataset
from estimators._world.latent_world import LatentWorld, Transition
from estimators._world.sampler import ArcSampler
from estimators._world.training import Fit

Guide = Callable[[Transition, Tensor, float], Tensor]
"""(transition, (B, d) expected clean latents, sigma) -> (B, d) gradient of the agent's log-probability."""


@dataclass(frozen=True)
class Guidance:
    """The scales of the three-factor product (adwm, Theorem 1).

    Attributes:
        omega: exponent of the action posterior: prior score + omega (conditional - prior). 1 is the learned kernel, 0
            forgets the action.
        eta: largest scale of the continuation gradient; grows as noise falls.
    """

    omega: float
    eta: float


class DiffusionWorld(LatentWorld):
    """Samples next latents with the denoiser of a fit."""

    def __init__(self, fit: Fit, data: LoggedDataset, guidance: Guidance, sampler: ArcSampler, guide: Guide | None = None):
        super().__init__(fit, data)
        self.guidance, self.sampler, self.guide = guidance, sampler, guide

    def draw(self, now: Transition, generator: torch.Generator) -> Tensor:
        """See `LatentWorld`."""
        noise = torch.randn(now.z.shape, generator=generator)
        return self.sampler.sample(lambda z, sigma: self._denoise(now, z, sigma), noise)

    def _denoise(self, now: Transition, z: Tensor, sigma: float) -> Tensor:
        """(B, d) expected clean latents under the product; scores and clean latents differ by sigma^2 and a shift."""
        n, omega = len(z), self.guidance.omega
        level = torch.full((n,), sigma)
        if omega == 1:
            clean = self._predict(now, z, level, False)
        elif omega == 0:
            clean = self._predict(now, z, level, True)
        else:
            both = now.model.denoiser(
                z.repeat(2, 1), level.repeat(2), now.past.repeat(2, 1), now.done.repeat(2, 1), now.action.repeat(2, 1),
                torch.arange(2 * n) < n,
            )
            free, given = both.chunk(2)
            clean = free + omega * (given - free)
        if self.guide is not None and self.guidance.eta > 0:
            clean = clean + self.guidance.eta * self.guide(now, clean, sigma)
        return clean

    def _predict(self, now: Transition, z: Tensor, level: Tensor, dropped: bool) -> Tensor:
        return now.model.denoiser(z, level, now.past, now.done, now.action, torch.full((len(z),), dropped))
