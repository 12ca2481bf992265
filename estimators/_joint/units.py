"""The units of a window: unit variance for the diffusion, and back to latents, rewards and endings."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from estimators._joint.windows import Transitions

_FLOOR = 1e-4
"""Directions in which logged actions vary by less than this share of the most are no directions."""

BUFFERS = ("project", "center", "mean", "spread", "rewards")


class Units(nn.Module):
    """Standardizes transitions to rows (action, next latent, reward, ended) of unit variance.

    Actions are projected on their principal axes and whitened. A quantity that never varies in the log gets spread 0
    and is always given back as it was logged.

    Args:
        actions: number of action axes. latent: size of an observation's latent. action: size of an action's vector.
    """

    def __init__(self, actions: int, latent: int, action: int):
        super().__init__()
        self.actions, self.latent = actions, latent
        self.size = actions + latent + 2
        self.register_buffer("project", torch.zeros(action, actions))
        self.register_buffer("center", torch.zeros(action))
        self.register_buffer("mean", torch.zeros(latent + 2))
        self.register_buffer("spread", torch.ones(latent + 2))
        self.register_buffer("rewards", torch.zeros(2))

    @classmethod
    def of(cls, log: Transitions, axes: int) -> Units:
        """Those of a log; `axes` is the largest number of action axes."""
        center = log.action.mean(dim=0)
        covariance = torch.cov((log.action - center).double().T, correction=0)
        values, vectors = torch.linalg.eigh(covariance)
        kept = max(1, min(axes, int((values > _FLOOR * values[-1].clamp(min=1e-12)).sum())))
        scale = values[-kept:].clamp(min=1e-12).rsqrt()
        units = cls(kept, log.after.shape[1], log.action.shape[1])
        units.project.copy_(vectors[:, -kept:] * scale)
        units.center.copy_(center)
        rest = torch.cat([log.after, log.reward[:, None], log.ended[:, None]], dim=1)
        units.mean.copy_(rest.mean(dim=0))
        units.spread.copy_(rest.std(dim=0, correction=0))
        units.rewards.copy_(torch.stack([log.reward.min(), log.reward.max()]))
        return units

    def action(self, vector: Tensor) -> Tensor:
        """(..., action) vectors to (..., actions) standardized ones."""
        return (vector - self.center) @ self.project

    def rows(self, log: Transitions) -> Tensor:
        """(S, D)."""
        rest = torch.cat([log.after, log.reward[:, None], log.ended[:, None]], dim=1)
        return torch.cat([self.action(log.action), self._standard(rest)], dim=1)

    def absorbing(self) -> Tensor:
        """(D,) what follows the end of an episode: no action, no observation, reward 0, ended."""
        rest = self.mean.clone()
        rest[-2], rest[-1] = 0.0, 1.0
        return torch.cat([torch.zeros(self.actions), self._standard(rest)])

    def blocks(self, rows: Tensor) -> tuple[Tensor, ...]:
        """(..., D) rows as action, next latent, reward and ended parts, still standardized."""
        return rows.split([self.actions, self.latent, 1, 1], dim=-1)

    def after(self, rows: Tensor) -> Tensor:
        """(..., latent) next latents in the units of the world model."""
        return self.blocks(rows)[1] * self.spread[:-2] + self.mean[:-2]

    def reward(self, rows: Tensor) -> Tensor:
        """(...,) rewards, within the range of the log."""
        reward = self.blocks(rows)[2][..., 0] * self.spread[-2] + self.mean[-2]
        return reward.clamp(self.rewards[0], self.rewards[1])

    def ended(self, rows: Tensor) -> Tensor:
        """(...,) bool, the environment ended the episode here."""
        return self.blocks(rows)[3][..., 0] * self.spread[-1] + self.mean[-1] > 0.5

    def _standard(self, rest: Tensor) -> Tensor:
        return torch.where(self.spread > 0, (rest - self.mean) / self.spread.clamp(min=1e-12), 0.0)
