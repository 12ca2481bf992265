"""Each transition an independent reverse diffusion: prior, action, and the continuation of the agent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.data import LoggedDataset
from bench.policy import PolicySession
from estimators._world.adapter import AdapterFit
from estimators._world.denoiser import LARGEST_NOISE
from estimators._world.guidance import Continuation, Pools
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
        below: noise level under which the continuation acts.
    """

    omega: float
    eta: float
    behavior: float = 0.0
    below: float = 1.0


class DiffusionWorld(LatentWorld):
    """Samples next latents with the denoiser of a fit, under guidance.

    Args:
        steps: of the sampler.
        adapter: how the agent reads latents; None: it reads retrieved text, and eta must be 0.
        note: see `World`.
    """

    def __init__(
        self,
        fit: Fit,
        data: LoggedDataset,
        guidance: Guidance,
        steps: int,
        adapter: AdapterFit | None,
        note: str = "",
    ):
        super().__init__(fit, data, adapter)
        self.guidance, self.sampler, self.note = guidance, ArcSampler(LARGEST_NOISE, steps), note
        self.session: PolicySession | None = None
        self.moved = [0.0, 0]  # by guidance: sum of lengths, and how many
        self._pools = Pools(data) if guidance.behavior > 0 else None

    def meet(self, session: PolicySession) -> None:
        """See `World`."""
        self.session = session

    def draw(self, now: Transition, generator: torch.Generator) -> Tensor:
        """See `LatentWorld`."""
        noise = torch.randn(now.live.z.shape, generator=generator)
        if self.guidance.eta == 0:
            return self.sampler.sample(lambda z, sigma: self._denoise(now, z, sigma), noise)
        below, behavior = self.guidance.below, self.guidance.behavior
        with self.session.lookahead() as ahead:
            guide = Continuation(now, ahead, self.adapter.model, below, behavior, self._logged_actions)
            return self.sampler.sample(lambda z, sigma: self._guided(now, guide, z, sigma), noise)

    def _guided(self, now: Transition, guide: Continuation, z: Tensor, sigma: float) -> Tensor:
        """Adds eta_k sigma^2 times the gradient: a score is (expected clean latent - noisy latent) / sigma^2.

        The gradient is taken at the expected clean latent, not at the noisy one. The derivative between the two is left
        out where there is little noise; for data of unit scale it is 1 / (1 + sigma^2), which would keep the scale
        below 1 however much noise there is: above sigma = 1 the scale is therefore held at 1.
        """
        clean = self._denoise(now, z, sigma)
        if not guide.active(sigma):
            return clean
        shift = (
            self.guidance.eta * self.sampler.progress(sigma) ** 2 * min(sigma, 1.0) ** 2 * guide.gradient(clean, sigma)
        )
        self.moved[0] += float(shift.norm(dim=-1).sum())
        self.moved[1] += len(shift)
        return clean + shift

    def _logged_actions(self, tried: Sequence[str]) -> list[Tensor]:
        """For each live episode (1 + K, action) vectors of the action tried and of the others logged in its
        instance."""
        starts = [self.starts[row] for row in self.live.rows]
        pools = [self._pools.with_first(s.instance, text) for s, text in zip(starts, tried, strict=True)]
        read = self.reader.actions([(s.goal, text) for s, pool in zip(starts, pools, strict=True) for text in pool])
        return list(read.split([len(pool) for pool in pools]))

    def diagnostics(self) -> dict[str, float]:
        """See `World`; `guidance_shift`: how far one guided noise level moves the expected clean latent, as a share of
        a latent's length."""
        length = math.sqrt(self.model.size.latent)
        moved = {"guidance_shift": self.moved[0] / self.moved[1] / length} if self.moved[1] else {}
        return super().diagnostics() | moved

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
