"""Observations, actions and goals as vectors, trained end to end with the dynamics."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from estimators._world.layers import Block
from estimators._world.words import PADDING


class TextEncoder(nn.Module):
    """Words, neighbors and the words that the goal names too, read by a small transformer.

    Pairs of neighbors have embeddings of their own (hashed): "is open" and "is not open" must not look alike.

    Args:
        vocabulary: number of word ids.
        width: of embeddings and transformer.
        layers: transformer blocks; 0 pools embeddings.
        max_tokens: longest text.
        goal_relation: mark the words that the goal names too; off for an ablation.
    """

    PAIRS = 4096

    def __init__(self, vocabulary: int, width: int, layers: int, max_tokens: int, goal_relation: bool):
        super().__init__()
        self.goal_relation = goal_relation
        self.word = nn.Embedding(vocabulary, width, padding_idx=PADDING)
        self.pair = nn.Embedding(self.PAIRS, width)
        self.shared = nn.Embedding(2, width)
        self.place = nn.Embedding(max_tokens, width)
        for table in (self.word, self.pair, self.shared, self.place):
            nn.init.normal_(table.weight, std=0.1 if table is self.place else 0.3)
        self.blocks = nn.ModuleList(Block(width, max(1, width // 32)) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.width = 2 * width

    def forward(self, ids: Tensor, shared: Tensor) -> Tensor:
        """(U, L) ids and marks -> (U, 2 width): mean and maximum over the words."""
        real = ids != PADDING
        x = self.word(ids) + self.place.weight[: ids.shape[1]]
        if self.goal_relation:
            x = x + self.shared(shared)
        pair = (ids[:, :-1] * 131 + ids[:, 1:] * 17) % self.PAIRS
        x = torch.cat([x[:, :1], x[:, 1:] + self.pair(pair)], dim=1)
        for block in self.blocks:
            x = block(x, mask=real[:, None, None, :])
        x = self.norm(x)
        count = real.sum(dim=1, keepdim=True)
        mean = (x * real[..., None]).sum(dim=1) / count
        largest = x.masked_fill(~real[..., None], -torch.inf).amax(dim=1)
        return torch.cat([mean, largest], dim=-1)
