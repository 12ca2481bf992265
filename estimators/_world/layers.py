"""Building blocks: MLPs, and a pre-norm attention block whose keys and values can be kept between calls."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def mlp(*sizes: int, activation: type[nn.Module] = nn.SiLU) -> nn.Sequential:
    """Linear layers with an activation between them."""
    layers: list[nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        layers += [activation()] * (i > 0) + [nn.Linear(fan_in, fan_out)]
    return nn.Sequential(*layers)


def unit(x: Tensor) -> Tensor:
    """Layer norm without parameters: zero mean and unit variance over the last axis."""
    return F.layer_norm(x, x.shape[-1:])


@dataclass
class Cache:
    """Keys and values (B, heads, columns, d) of one block."""

    keys: Tensor | None = None
    values: Tensor | None = None

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Adds columns; returns everything kept so far."""
        if self.keys is not None:
            keys, values = torch.cat([self.keys, keys], dim=2), torch.cat([self.values, values], dim=2)
        self.keys, self.values = keys, values
        return keys, values

    def keep(self, rows: Tensor) -> None:
        """Drops all other rows."""
        if self.keys is not None:
            self.keys, self.values = self.keys[rows], self.values[rows]


class Block(nn.Module):
    """Pre-norm attention and a SiLU MLP."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed_forward = mlp(width, 2 * width, width)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, causal: bool = False, cache: Cache | None = None
    ) -> Tensor:
        """x: (B, L, width). mask: (B, 1, 1, L), True = attend. With a cache, L new columns attend to all kept ones."""
        b, length, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        if cache is not None:
            k, v = cache.append(k, v)  # one column at a time: everything kept is the past
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal and cache is None)
        x = x + self.out(attended.transpose(1, 2).reshape(b, length, width))
        return x + self.feed_forward(self.norm2(x))


@dataclass
class Caches:
    """One cache per block of a stack."""

    blocks: list[Cache] = field(default_factory=list)

    @classmethod
    def of(cls, stack: nn.ModuleList) -> Caches:
        """Empty ones."""
        return cls([Cache() for _ in stack])

    def copy(self) -> Caches:
        """Columns appended to the copy are not seen here."""
        return Caches([Cache(block.keys, block.values) for block in self.blocks])

    def keep(self, rows: Tensor) -> None:
        """Drops all other rows."""
        for block in self.blocks:
            block.keep(rows)
