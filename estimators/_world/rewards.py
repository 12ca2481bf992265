"""Rewards as a distribution over a few values, which heads can be trained on as on classes."""

from __future__ import annotations

import torch
from torch import Tensor


def reward_support(rewards: Tensor, limit: int = 32) -> Tensor:
    """(R,) sorted support: every distinct reward, or quantiles of them where there are more than `limit`; R >= 2."""
    distinct = torch.unique(rewards)
    if len(distinct) > limit:
        distinct = torch.unique(torch.quantile(distinct, torch.linspace(0, 1, limit)))
    if len(distinct) == 1:
        distinct = torch.cat([distinct, distinct + 1])
    return distinct


def two_hot(reward: Tensor, support: Tensor) -> Tensor:
    """(N, R) weights on the two neighbors in the support, whose mean is the reward."""
    above = torch.searchsorted(support, reward.contiguous()).clamp(1, len(support) - 1)[:, None]
    low, high = support[above - 1], support[above]
    share = ((reward[:, None] - low) / (high - low)).clamp(0, 1)
    empty = torch.zeros(len(reward), len(support), device=reward.device)
    return empty.scatter(1, above - 1, 1 - share).scatter(1, above, share)
