"""The denoiser of a whole window: what the next W transitions are, given noisy versions of them and the state before.

EDM preconditioning (Karras et al. 2022, Table 1) around a small transformer over the W transitions, every one of which
sees every other, with AdaLN conditioning and a zero-initialized output (Peebles & Xie 2023), as in the trajectory
denoisers of policy-guided diffusion (Jackson et al. 2024) and STITCH-OPE (Goli et al. 2025), there a temporal U-Net.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from estimators._joint.units import Units
from estimators._world.denoiser import NULL_SHARE
from estimators._world.layers import mlp, unit

NOISE_MEAN, NOISE_STD = 0.3, 1.4
"""Of the log-normal training noise levels. Larger than for one transition: a window has more axes, on which it can be
told from another one in more noise."""
LARGEST_NOISE = math.exp(NOISE_MEAN + 3 * NOISE_STD)
"""Noise level to generate from, see `estimators._world.denoiser`."""

SIZES = {"tiny": (32, 1), "cpu": (128, 3), "paper": (256, 4)}
"""Width and blocks of the denoiser that goes with a size of the world model."""


class _Block(nn.Module):
    """Attention between the transitions of a window and a SiLU MLP, both modulated."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed_forward = mlp(width, 2 * width, width)
        self.modulation = nn.Linear(width, 6 * width)

    def forward(self, x: Tensor, condition: Tensor, seen: Tensor) -> Tensor:
        """x: (B, W, width). condition: (B, width). seen: (B, 1, 1, W), True = attend."""
        b, length, width = x.shape
        scale, shift, gate, scale2, shift2, gate2 = self.modulation(condition)[:, None].chunk(6, dim=-1)
        inner = unit(x) * (1 + scale) + shift
        q, k, v = self.qkv(inner).view(b, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        x = x + (1 + gate) * self.out(attended.transpose(1, 2).reshape(b, length, width))
        return x + (1 + gate2) * self.feed_forward(unit(x) * (1 + scale2) + shift2)


class WindowDenoiser(nn.Module):
    """D(x, sigma; start): the expected clean window.

    Args:
        units: of the windows; kept with the weights, which mean nothing without them.
        length: W. start: size of the state a window is conditioned on.
        size: of the transformer, see `SIZES`.
    """

    def __init__(self, units: Units, length: int, start: int, size: str):
        super().__init__()
        width, blocks = SIZES[size]
        self.units, self.length = units, length
        self.input, self.output = nn.Linear(units.size, width), nn.Linear(width, units.size)
        self.place = nn.Embedding(length, width)
        self.level, self.start = mlp(64, width, width), mlp(start, 2 * width, width)
        self.nothing = nn.Parameter(torch.zeros(width))
        self.blocks = nn.ModuleList(_Block(width, 4) for _ in range(blocks))
        self.final = nn.Linear(width, 2 * width)
        nn.init.normal_(self.place.weight, std=0.3)
        for layer in (*(block.modulation for block in self.blocks), self.final, self.output):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.register_buffer("frequencies", torch.exp(torch.linspace(0, 5, 32)), persistent=False)

    def forward(self, x: Tensor, sigma: Tensor, start: Tensor, dropped: Tensor, real: Tensor) -> Tensor:
        """(B, W, D) expected clean windows.

        Args:
            x: (B, W, D) noisy windows. sigma: (B,) noise levels. start: (B, past + latent).
            dropped: (B,) True where the start is not to be looked at.
            real: (B, W) True where there is a transition; the others are not looked at.
        """
        total = (sigma**2 + 1.0)[:, None, None]
        phase = (sigma.log() / 4)[:, None] * self.frequencies
        given = torch.where(dropped[:, None], self.nothing, self.start(start))
        condition = F.silu(self.level(torch.cat([phase.sin(), phase.cos()], dim=-1)) + given)
        hidden = self.input(x / total.sqrt()) + self.place.weight
        for block in self.blocks:
            hidden = block(hidden, condition, real[:, None, None])
        scale, shift = self.final(condition)[:, None].chunk(2, dim=-1)
        raw = self.output(unit(hidden) * (1 + scale) + shift)
        return x / total + (sigma[:, None, None] / total.sqrt()) * raw

    def loss(
        self, clean: Tensor, start: Tensor, real: Tensor, generator: torch.Generator, dropped: Tensor | None = None
    ) -> Tensor:
        """(B,) weighted squared errors at random noise levels; action, observation, reward and ending count alike."""
        drawn = {"generator": generator, "device": clean.device}
        sigma = (torch.randn(len(clean), **drawn) * NOISE_STD + NOISE_MEAN).exp()
        noisy = clean + sigma[:, None, None] * torch.randn(clean.shape, **drawn)
        if dropped is None:
            dropped = torch.rand(len(clean), **drawn) < NULL_SHARE
        error = (self(noisy, sigma, start, dropped, real) - clean) ** 2
        parts = torch.stack([part.mean(dim=-1) for part in self.units.blocks(error)], dim=-1).mean(dim=-1)  # (B, W)
        mean = (parts * real).sum(dim=1) / real.sum(dim=1)
        return (sigma**2 + 1) / sigma**2 * mean
