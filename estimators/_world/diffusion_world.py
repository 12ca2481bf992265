"""Each transition an independent reverse diffusion: prior, action, and the continuation of the agent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.data import LoggedDataset
from bench.policy import PolicySession
from estimators._world.adapter import AdapterFit
from estimators._world.guidance import Continuation
from estimators._world.latent_world import LatentWorld, Transition
from estimators._world.sampler import ArcSampler
from estimators._world.training import Fit


@dataclass(frozen=True)
class Guidance:
    """The scales of the three-factor product (adwm, Theorem 1).

    Attributes:
        omega: exponent of the action posterior: prior score + omega (conditional - prior). 1 is the learned kernel, 0
            forgets the action.
        eta: largest scale of the continuation gradient; grows as noise falls.
        behavior: scale, relative to the agent's, of a subtracted gradient of the log's own behavior (as in STITCH-OPE).
    """

    omega: float
    eta: float
    behavior: float = 0.0


class DiffusionWorld(LatentWorld):
    """Samples next latents with the denoiser of a fit, under guidance.

    Args:
        adapter: how the agent reads latents; None: it reads retrieved text, and eta must be 0.
        note: see `World`.
    """

    def __init__(
        self,
        fit: Fit,
        data: LoggedDataset,
        guidance: Guidance,
        sampler: ArcSampler,
        adapter: AdapterFit | None,
        note: str = "",
    ):
        super().__init__(fit, data, adapter)
        self.guidance, self.sampler, self.note = guidance, sampler, note
        self.session: PolicySession | None = None

    def meet(self, session: PolicySession) -> None:
        """See `World`."""
        self.session = session

    def draw(self, now: Transition, generator: torch.Generator) -> Tensor:
        """See `LatentWorld`."""
        noise = torch.randn(now.live.z.shape, generator=generator)
        if self.guidance.eta == 0:
            return self.sampler.sample(lambda z, sigma: self._denoise(now, z, sigma), noise)
        with self.session.lookahead() as ahead:
            guide = Continuation(now, ahead, self.adapter.model, self.guidance.behavior, self.read_actions)
            return self.sampler.sample(lambda z, sigma: self._guided(now, guide, z, sigma), noise)

    def _guided(self, now: Transition, guide: Continuation, z: Tensor, sigma: float) -> Tensor:
        """Adds eta_k sigma^2 times the gradient: a score is (expected clean latent - noisy latent) / sigma^2."""
        clean = self._denoise(now, z, sigma)
        if not guide.active(sigma):
            return clean
        eta = self.guidance.eta * self.sampler.progress(sigma) ** 2
        return clean + eta * sigma**2 * guide.gradient(clean, sigma)

    def _denoise(self, now: Transition, z: Tensor, sigma: float) -> Tensor:
        """(B, d) expected clean latents under prior times action posterior^omega."""
        n, omega = len(z), self.guidance.omega
        level = torch.full((n,), sigma)
        if omega in (0, 1):
            return self._predict(now, z, level, torch.full((n,), omega == 0))
        free, given = self._predict(now, z, level, torch.arange(2 * n) < n).chunk(2)
        return free + omega * (given - free)

    def _predict(self, now: Transition, z: Tensor, level: Tensor, dropped: Tensor) -> Tensor:
        """Expected clean latents, once or twice per row: as often as `dropped` is longer than the batch."""
        times = len(dropped) // len(z)
        given = (z, level, now.live.past, now.done, now.action)
        z, level, past, done, action = (x.repeat(times, *[1] * (x.ndim - 1)) for x in given)
        return now.model.denoiser(z, level, past, done, action, dropped)
