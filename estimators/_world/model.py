"""The world model: texts to latents, the episode so far to a state, the state to the next latent, reward and ending."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from estimators._world.denoiser import Denoiser
from estimators._world.layers import Block, Caches, mlp, unit
from estimators._world.rewards import two_hot
from estimators._world.text_encoder import TextEncoder
from estimators._world.world import LONGEST


@dataclass(frozen=True)
class Size:
    """Widths and depths.

    Attributes:
        latent: of z. action: of the vector of an action.
        text_width, text_layers: of the text encoder. past: of the history model. past_layers: its depth.
        denoiser, denoiser_blocks: width and depth of the denoiser.
        vocabulary, max_tokens: word ids, longest text.
        rate: peak learning rate; narrow models need a higher one.
    """

    latent: int
    action: int
    text_width: int
    text_layers: int
    past: int
    past_layers: int
    denoiser: int
    denoiser_blocks: int
    vocabulary: int
    max_tokens: int
    rate: float


SIZES = {
    "cpu": Size(64, 64, 64, 1, 128, 2, 256, 3, 2048, 192, 3e-3),
    "paper": Size(64, 64, 192, 2, 256, 2, 384, 3, 4096, 256, 1e-3),
    "tiny": Size(16, 16, 16, 1, 32, 1, 32, 1, 512, 32, 1.5e-2),
}


ENCODER = ("encoder", "to_observation", "to_action", "to_goal")
"""The modules that read text; frozen in the second part of the training."""


@dataclass(frozen=True)
class Latents:
    """The distinct texts of a batch as vectors: U pairs of goal and text.

    Attributes:
        observation: (U, latent), unit scale. action: (U, action). goal: (U, past).
    """

    observation: Tensor
    action: Tensor
    goal: Tensor

    def of(self, texts: Tensor) -> Latents:
        """Some of the texts."""
        return Latents(self.observation[texts], self.action[texts], self.goal[texts])


class WorldModel(nn.Module):
    """All modules that are trained together.

    Args:
        size: widths and depths.
        rewards: (R,) support of the reward distribution: the rewards are two-hot encoded on it.
        goal_relation: see `TextEncoder`.
        instances: how many task instances have a vector of their own; 0 if they are not to be told apart.
    """

    def __init__(self, size: Size, rewards: Tensor, goal_relation: bool, instances: int):
        super().__init__()
        self.size = size
        self.register_buffer("rewards", rewards)
        self.encoder = TextEncoder(size.vocabulary, size.text_width, size.text_layers, size.max_tokens, goal_relation)
        pooled = self.encoder.width
        self.to_observation = nn.Linear(pooled, size.latent)
        self.to_action = nn.Linear(pooled, size.action)
        self.to_goal = nn.Linear(pooled, size.past)
        self.to_words = mlp(size.latent, 2 * size.latent, size.vocabulary)
        self.seen = nn.Linear(size.latent, size.past)
        self.did = nn.Linear(size.action, size.past)
        self.turn = nn.Embedding(2 * (LONGEST + 1), size.past)  # the answer to the last action takes a column more
        nn.init.normal_(self.turn.weight, std=0.1)
        self.instance = nn.Embedding(1 + instances, size.past)
        nn.init.normal_(self.instance.weight, std=0.1)
        self.blocks = nn.ModuleList(Block(size.past, 4) for _ in range(size.past_layers))
        self.denoiser = Denoiser(size.latent, size.past, size.action, size.denoiser, size.denoiser_blocks)
        self.gaussian = mlp(2 * size.past + size.action, 256, 256, 2 * size.latent)
        event = 2 * size.latent + size.action + 2 * size.past
        self.event = mlp(event, 256, len(rewards) + 1)
        self.inverse = mlp(2 * size.latent + size.past, 256, size.action, activation=nn.ReLU)
        self.behavior = mlp(size.past, 256, size.action, activation=nn.ReLU)

    def read(self, ids: Tensor, shared: Tensor) -> Latents:
        """(U, L) word ids and goal marks to vectors."""
        pooled = self.encoder(ids, shared)
        return Latents(unit(self.to_observation(pooled)), self.to_action(pooled), self.to_goal(pooled))

    def about(self, goal: Tensor, instance: Tensor) -> Tensor:
        """(B, past) what an episode is about: its goal, and which instance it plays in, 0 where that is not known."""
        return goal + self.instance(instance)

    def past(self, observations: Tensor, actions: Tensor, goal: Tensor) -> tuple[Tensor, Tensor]:
        """History states along whole episodes.

        Args:
            observations: (B, T, latent). actions: (B, T, action). goal: (B, past), see `about`.

        Returns:
            (B, T, past) after observation t, and (B, T, past) after action t.
        """
        b, length, _ = observations.shape
        x = torch.stack([self.seen(observations), self.did(actions)], dim=2).flatten(1, 2)  # (B, 2T, past)
        x = x + goal[:, None] + self.turn.weight[: 2 * length]
        for block in self.blocks:
            x = block(x, causal=True)
        x = unit(x).view(b, length, 2, -1)
        return x[:, :, 0], x[:, :, 1]

    def advance(self, vector: Tensor, goal: Tensor, column: int, caches: Caches) -> Tensor:
        """(B, past) history state after one more column: (B, latent) observation if even, (B, action) action if odd."""
        x = (self.did if column % 2 else self.seen)(vector) + goal + self.turn.weight[column]
        x = x[:, None]
        for block, cache in zip(self.blocks, caches.blocks, strict=True):
            x = block(x, cache=cache)
        return unit(x[:, 0])

    def next_gaussian(self, past: Tensor, done: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """(B, latent) mean and log-variance of the next latent as one Gaussian: what diffusion is compared with."""
        mean, log_variance = self.gaussian(torch.cat([past, done, action], dim=-1)).chunk(2, dim=-1)
        return mean, log_variance.clamp(-4, 2)

    def events(self, z: Tensor, action: Tensor, after: Tensor, past: Tensor, done: Tensor) -> tuple[Tensor, Tensor]:
        """(B, R) logits of the reward over its support, (B,) logits of the episode ending."""
        out = self.event(torch.cat([z, action, after, past, done], dim=-1))
        return out[:, :-1], out[:, -1]

    def expected_reward(self, logits: Tensor) -> Tensor:
        """(B,) mean of the reward distribution."""
        return logits.softmax(dim=-1) @ self.rewards


def gaussian_loss(mean: Tensor, log_variance: Tensor, clean: Tensor) -> Tensor:
    """(B,) negative log-likelihoods per latent axis, up to a constant."""
    return 0.5 * ((clean - mean) ** 2 / log_variance.exp() + log_variance).mean(dim=-1)


def event_loss(model: WorldModel, logits: tuple[Tensor, Tensor], reward: Tensor, ended: Tensor) -> Tensor:
    """Cross-entropies of reward and ending; no class balancing, which would break calibration."""
    reward_logits, end_logits = logits
    loss = -(two_hot(reward, model.rewards) * reward_logits.log_softmax(dim=-1)).sum(dim=-1).mean()
    return loss + F.binary_cross_entropy_with_logits(end_logits, ended)
