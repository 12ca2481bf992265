"""Texts as vectors of a trained world model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from estimators._world.material import Material
from estimators._world.model import WorldModel


class LatentReader:
    """Texts as the frozen vectors of a world model, each computed once."""

    def __init__(self, model: WorldModel, material: Material):
        self.model, self.material = model, material
        self._known: dict[tuple[str, str], tuple[Tensor, Tensor, Tensor]] = {}

    def observations(self, pairs: Sequence[tuple[str, str]]) -> Tensor:
        """(B, latent) of (goal, text) pairs."""
        return self._vectors(pairs, 0)

    def actions(self, pairs: Sequence[tuple[str, str]]) -> Tensor:
        """(B, action) of (goal, text) pairs."""
        return self._vectors(pairs, 1)

    @torch.no_grad()
    def about(self, places: Sequence[tuple[str, str]]) -> Tensor:
        """(B, past) what episodes with these (instance, goal) are about."""
        instance = torch.tensor([self.material.instances.get(name, 0) for name, _ in places])
        return self.model.about(self._vectors([(goal, goal) for _, goal in places], 2), instance)

    @torch.no_grad()
    def _vectors(self, wanted: Sequence[tuple[str, str]], which: int) -> Tensor:
        new = sorted({pair for pair in wanted if pair not in self._known}, key=lambda p: (len(p[1]), p))
        for start in range(0, len(new), 256):
            part = new[start : start + 256]
            found = self.model.read(*self.material.vocabulary.batch(part))
            self._known |= dict(zip(part, zip(found.observation, found.action, found.goal, strict=True), strict=True))
        return torch.stack([self._known[pair][which] for pair in wanted])
