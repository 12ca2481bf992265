"""The language model that plays the environment: its next token, and after an observation reward and ending."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaModel

from bench.agents.transcript import ACT, SPECIAL
from estimators._world.layers import mlp

HEAD_WIDTH = 32


@dataclass(frozen=True)
class Shape:
    """hidden: width, a multiple of 32. layers: depth. vocabulary: tokens, at most."""

    hidden: int
    layers: int
    vocabulary: int


class TextWorldModel(nn.Module):
    """A Llama-shaped body with tied output, and a head for reward and ending.

    Args:
        shape: see `Shape`. vocabulary: tokens there really are.
        rewards: (R,) support of the reward distribution.
    """

    def __init__(self, shape: Shape, vocabulary: int, rewards: Tensor):
        super().__init__()
        self.body = LlamaModel(
            LlamaConfig(
                vocab_size=vocabulary,
                hidden_size=shape.hidden,
                intermediate_size=2 * shape.hidden,
                num_hidden_layers=shape.layers,
                num_attention_heads=shape.hidden // HEAD_WIDTH,
                num_key_value_heads=shape.hidden // HEAD_WIDTH,
                max_position_embeddings=16_384,
                initializer_range=shape.hidden**-0.5,  # 0.02, the default, is for wide models: narrow ones learn slowly
            )
        )
        self.event = mlp(shape.hidden, shape.hidden, len(rewards) + 1)
        self.register_buffer("rewards", rewards)
        banned = torch.arange(vocabulary) < len(SPECIAL)
        banned[ACT] = False
        self.register_buffer("banned", banned, persistent=False)

    def read(self, ids: Tensor) -> Tensor:
        """(B, L) tokens to (B, L, hidden) states, each of which knows what came before it."""
        return self.body(input_ids=ids, use_cache=False).last_hidden_state

    def token_logits(self, hidden: Tensor) -> Tensor:
        """(N, hidden) states to (N, V) logits of the next token of an observation; no marker but its end."""
        return (hidden @ self.body.embed_tokens.weight.T).masked_fill(self.banned, -torch.inf)

    def events(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """(N, hidden) states at the ends of observations to (N, R) logits of the reward, (N,) logits of the ending."""
        out = self.event(hidden)
        return out[:, :-1], out[:, -1]

    def expected_reward(self, logits: Tensor) -> Tensor:
        """(N,) mean of the reward distribution."""
        return logits.softmax(dim=-1) @ self.rewards
