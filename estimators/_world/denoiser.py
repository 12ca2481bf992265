"""The denoiser of one transition: what the next latent is, given a noisy version of it, the past and the action.

EDM preconditioning (Karras et al. 2022, Eq. 7, Table 1) around a residual MLP with AdaLN conditioning and a
zero-initialized output (the layout that adwm's fragments describe).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from estimators._world.layers import mlp, unit

NOISE_MEAN, NOISE_STD = -0.6, 1.3
"""Of the log-normal training noise levels; latents have unit scale."""
LARGEST_NOISE = math.exp(NOISE_MEAN + 3 * NOISE_STD)
"""Noise level to generate from: one in 740 training levels lies above it."""
NULL_SHARE = 0.15
"""Share of training rows without the action: the same network learns the unconditional model for guidance."""


class Denoiser(nn.Module):
    """D(z, sigma; past, action or nothing): the expected clean latent.

    Args:
        latent, past, action: sizes of z, of the history state and of the action's vector.
        width, blocks: of the residual MLP.
    """

    def __init__(self, latent: int, past: int, action: int, width: int, blocks: int):
        super().__init__()
        self.latent = latent
        self.input = nn.Linear(latent, width)
        self.level = mlp(64, width, width)
        self.past = nn.Linear(past, width)
        self.action = nn.Linear(past + action, width)
        self.nothing = nn.Parameter(torch.zeros(width))
        self.layers = nn.ModuleList(mlp(width, width, width) for _ in range(blocks))
        self.modulation = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(blocks))
        self.output = nn.Linear(width, latent)
        for layer in (*self.modulation, self.output):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.register_buffer("frequencies", torch.exp(torch.linspace(0, 5, 32)), persistent=False)

    def forward(self, z: Tensor, sigma: Tensor, past: Tensor, done: Tensor, action: Tensor, dropped: Tensor) -> Tensor:
        """(B, latent) expected clean latents.

        Args:
            z: (B, latent) noisy latents.
            sigma: (B,) noise levels.
            past: (B, past) history before the action.
            done: (B, past) history after the action.
            action: (B, action) vector of the action.
            dropped: (B,) True where the action is not to be looked at.
        """
        total = sigma**2 + 1.0
        phase = (sigma.log() / 4)[:, None] * self.frequencies
        given = torch.where(dropped[:, None], self.nothing, self.action(torch.cat([done, action], dim=-1)))
        condition = self.level(torch.cat([phase.sin(), phase.cos()], dim=-1)) + self.past(past) + given
        condition = nn.functional.silu(condition)
        x = self.input(z / total.sqrt()[:, None])
        for layer, modulation in zip(self.layers, self.modulation, strict=True):
            scale, shift, gate = modulation(condition).chunk(3, dim=-1)
            x = x + (1 + gate) * layer(unit(x) * (1 + scale) + shift)
        raw = self.output(nn.functional.silu(unit(x)))
        return z / total[:, None] + (sigma / total.sqrt())[:, None] * raw

    def loss(
        self,
        clean: Tensor,
        past: Tensor,
        done: Tensor,
        action: Tensor,
        generator: torch.Generator,
        dropped: Tensor | None = None,
    ) -> Tensor:
        """(B,) weighted squared errors at random noise levels (Karras et al. 2022, Eq. 2, lambda = 1 / c_out^2)."""
        drawn = {"generator": generator, "device": clean.device}
        sigma = (torch.randn(len(clean), **drawn) * NOISE_STD + NOISE_MEAN).exp()
        noisy = clean + sigma[:, None] * torch.randn(clean.shape, **drawn)
        if dropped is None:
            dropped = torch.rand(len(clean), **drawn) < NULL_SHARE
        error = self(noisy, sigma, past, done, action, dropped) - clean
        return ((sigma**2 + 1) / sigma**2) * (error**2).mean(dim=-1)
