"""Draws latents with a denoiser, in few steps that are accurate for data of unit scale.

The probability-flow ODE (Song et al. 2021, Eq. 13) on the arc z = cos(phi) clean + sin(phi) noise: dz/dphi is the
velocity v = cos(phi) noise - sin(phi) clean (Salimans & Ho 2022, Appendix D), whose expectation is 0 everywhere if the
data are standard normal. Steps in phi are then exact, where steps in sigma = tan(phi) shrink or inflate the spread by
tens of percent unless there are many (`tests/test_world_sampler.py` measures both).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

Denoise = Callable[[Tensor, float], Tensor]
"""(B, d) noisy latents clean + sigma noise, and sigma -> (B, d) expected clean latents, guidance included."""


@dataclass(frozen=True)
class ArcSampler:
    """Heun's method from noise to a sample; the noise at the start is its only randomness.

    Attributes:
        largest: noise level to start from. A denoiser must have been trained there: beyond, its answers are
            extrapolated, and one such slope at the start ends in another sample.
        steps: each but the last calls the denoiser twice; finding the start calls it once.
        power: 1 spaces the angles evenly, more puts steps where there is little noise.
    """

    largest: float
    steps: int = 8
    power: float = 1.5

    def angles(self) -> list[float]:
        """steps + 1 falling angles, from that of the largest noise level to 0 (clean)."""
        return [math.atan(self.largest) * (1 - i / self.steps) ** self.power for i in range(self.steps + 1)]

    def levels(self) -> list[float]:
        """Falling noise levels above 0 at which the denoiser is asked."""
        return [math.tan(angle) for angle in self.angles()[:-1]]

    def progress(self, sigma: float) -> float:
        """How far along the arc a noise level lies: 0 at pure noise, 1 at none."""
        return 1 - math.atan(sigma) / (math.pi / 2)

    def sample(self, denoise: Denoise, noise: Tensor) -> Tensor:
        """(B, d) samples from (B, d) standard normal noise."""
        angles = self.angles()
        # pure noise lacks the little that is known there of the clean value: its mean, which the denoiser tells
        z = math.sin(angles[0]) * noise + math.cos(angles[0]) * denoise(noise * self.largest, self.largest)
        for now, after in zip(angles[:-2], angles[1:-1], strict=True):
            slope = _velocity(denoise, z, now)
            ahead = z + (after - now) * slope
            z = z + (after - now) * (slope + _velocity(denoise, ahead, after)) / 2
        return denoise(z / math.cos(angles[-2]), math.tan(angles[-2]))  # the last step is the denoiser's own answer


def _velocity(denoise: Denoise, z: Tensor, angle: float) -> Tensor:
    """(B, d) expected velocity at a point of the arc."""
    clean = denoise(z / math.cos(angle), math.tan(angle))
    return (math.cos(angle) * z - clean) / math.sin(angle)
