"""The next latent as one Gaussian: what diffusion adds is the difference to this."""

from __future__ import annotations

import torch
from torch import Tensor

from estimators._world.latent_world import LatentWorld, Transition


class GaussianWorld(LatentWorld):
    """Samples next latents from the one-step Gaussian of a fit."""

    def draw(self, now: Transition, generator: torch.Generator) -> Tensor:
        """See `LatentWorld`."""
        mean, log_variance = now.model.next_gaussian(now.live.past, now.done, now.action)
        return mean + (log_variance / 2).exp() * torch.randn(mean.shape, generator=generator)
