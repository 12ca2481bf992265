"""The sampler of the diffusion world models against distributions whose denoiser is known exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from estimators._world.sampler import ArcSampler


def normal_denoiser(mean: float, sd: float):
    """Expected clean value given a noisy one, for clean values from N(mean, sd^2)."""
    return lambda noisy, sigma: (noisy * sd**2 + mean * sigma**2) / (sd**2 + sigma**2)


def two_modes(noisy: torch.Tensor, sigma: float) -> torch.Tensor:
    """The same for clean values that are -1 with probability 0.3 and +1 with probability 0.7."""
    odds = np.log(0.7 / 0.3) + 2 * noisy / sigma**2
    return 2 * torch.sigmoid(odds) - 1


def noise(n: int) -> torch.Tensor:
    return torch.randn(n, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(("mean", "sd"), [(2.0, 0.5), (0.0, 1.0), (-1.0, 0.8)])
def test_a_normal_distribution_comes_back_within_one_percent(mean, sd):
    start = noise(40_000)
    start = (start - start.mean()) / start.std()  # leaves the sampler's own error
    drawn = ArcSampler(20.0).sample(normal_denoiser(mean, sd), start)
    assert float(drawn.mean()) == pytest.approx(mean, abs=0.01 * max(abs(mean), sd))
    assert float(drawn.std()) == pytest.approx(sd, rel=0.01)


def test_two_modes_come_back_with_their_masses():
    drawn = ArcSampler(20.0).sample(two_modes, noise(40_000))
    assert float((drawn.abs() - 1).abs().max()) < 0.05
    assert float((drawn > 0).double().mean()) == pytest.approx(0.7, abs=0.01)


def test_steps_in_sigma_would_not_do():
    """Why the sampler moves along the arc: as many Euler steps in sigma inflate or shrink the spread by far more."""
    levels = np.append(np.geomspace(20, 0.02, 16), 0.0)  # 16 denoiser calls, as many as the default takes
    denoise, z = normal_denoiser(0.0, 1.0), noise(40_000) * 20
    for now, after in zip(levels[:-1], levels[1:], strict=True):
        z = z + (after - now) * (z - denoise(z, now)) / now
    assert abs(float(z.std()) - 1) > 0.05


def test_each_step_but_the_last_asks_the_denoiser_twice():
    asked: list[float] = []

    def denoise(noisy: torch.Tensor, sigma: float) -> torch.Tensor:
        asked.append(sigma)
        return two_modes(noisy, sigma)

    ArcSampler(20.0, steps=8).sample(denoise, noise(10))
    assert len(asked) == 16 and min(asked) == asked[-1] > 0


def test_angles_fall_from_the_largest_noise_to_none():
    angles = ArcSampler(20.0, steps=5).angles()
    assert np.tan(angles[0]) == pytest.approx(20.0)
    assert len(angles) == 6 and angles[-1] == 0 and all(a > b for a, b in zip(angles, angles[1:], strict=False))
