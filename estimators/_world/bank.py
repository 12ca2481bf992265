"""Logged observations to answer with: a generated latent becomes text by retrieval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bench.data import LoggedDataset


class Bank:
    """Every distinct (goal, observation) that a logged action was answered with.

    Candidates for a generated latent are the logged answers to the same action in the same instance; where there is
    none, to the same action anywhere; where there is none either, all. How often it came to that is counted.

    Args:
        data: the log.
        latents: (M, d) latents of `pairs(data)`, in that order.
    """

    def __init__(self, data: LoggedDataset, latents: Tensor):
        self.pairs, self.latents = pairs(data), latents
        code = {pair: k for k, pair in enumerate(self.pairs)}
        here: dict[tuple[str, str], set[int]] = {}
        anywhere: dict[str, set[int]] = {}
        for t in data.trajectories:
            for step, after in zip(t.steps, _answers(t), strict=True):
                here.setdefault((t.instance, step.action), set()).add(code[t.goal, after])
                anywhere.setdefault(step.action, set()).add(code[t.goal, after])
        self._here = {key: torch.tensor(sorted(found)) for key, found in here.items()}
        self._anywhere = {key: torch.tensor(sorted(found)) for key, found in anywhere.items()}
        self._all = torch.arange(len(self.pairs))
        self.asked, self.other_instance, self.other_action, self.distance = 0, 0, 0, 0.0

    def nearest(self, z: Tensor, instances: Sequence[str], actions: Sequence[str]) -> list[str]:
        """Texts of the candidates nearest to (B, d) generated latents."""
        found = []
        for k, (instance, action) in enumerate(zip(instances, actions, strict=True)):
            candidates = self._here.get((instance, action))
            if candidates is None:
                self.other_instance += 1
                candidates = self._anywhere.get(action)
            if candidates is None:
                self.other_action += 1
                candidates = self._all
            gap = ((self.latents[candidates] - z[k]) ** 2).mean(dim=-1)
            best = int(gap.argmin())
            self.asked += 1
            self.distance += float(gap[best])
            found.append(self.pairs[int(candidates[best])][1])
        return found

    def diagnostics(self) -> dict[str, float]:
        """Mean squared distance per latent axis, and how often the log held no answer for an action."""
        asked = max(self.asked, 1)
        return {
            "retrieval_distance": self.distance / asked,
            "action_new_to_instance": self.other_instance / asked,
            "action_new_to_log": self.other_action / asked,
        }


def pairs(data: LoggedDataset) -> list[tuple[str, str]]:
    """Distinct (goal, observation after an action), sorted."""
    return sorted({(t.goal, after) for t in data.trajectories for after in _answers(t)})


def _answers(trajectory) -> list[str]:
    return [s.observation for s in trajectory.steps[1:]] + [trajectory.final_observation or ""]


def as_generator(rng: np.random.Generator) -> torch.Generator:
    """A torch generator seeded by a numpy one."""
    return torch.Generator().manual_seed(int(rng.integers(2**62)))
