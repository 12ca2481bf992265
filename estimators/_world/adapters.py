"""Distilled adapters, kept like fits: one serves every variant and every sampler of the same agent on the same
latents."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bench.data import LoggedDataset
from bench.rng import rng_for
from estimators._world.adapter import Adapter, AdapterFit, AdapterTraining, Distillation, train_adapter
from estimators._world.fits import Recipe, fitted
from estimators._world.model import ENCODER
from estimators._world.training import Fit

VERSION = 1
"""Bump when training or architecture changes: old adapters no longer count."""


@dataclass(frozen=True)
class AdapterConfig(Recipe[AdapterFit]):
    """What decides an adapter besides the log.

    Attributes:
        encoder: hash of the text encoder that makes the latents. agent: identity of the agent that is to read them.
        fit, inside: the two themselves.
    """

    encoder: str
    agent: str
    training: AdapterTraining
    fit: Fit = field(metadata={"material": True})
    inside: Any = field(metadata={"material": True})

    def identity(self) -> tuple[object, ...]:
        """See `Recipe`."""
        return ("adapter", VERSION)

    def train(self, data: LoggedDataset) -> AdapterFit:
        """See `Recipe`."""
        return train_adapter(self.fit, data, self.inside, self.training, rng_for("adapter", self.seed()))

    def rebuild(
        self, data: LoggedDataset, weights: dict[str, Tensor], facts: dict[str, float], texts: Mapping[str, str]
    ) -> AdapterFit:
        """See `Recipe`."""
        with torch.random.fork_rng(devices=[]):
            adapter = Adapter(self.fit.model.size.latent, self.training.tokens, self.inside.size, self.training.width)
        adapter.load_state_dict(weights)
        return AdapterFit(adapter.requires_grad_(False).eval(), facts)


def adapted(fit: Fit, data: LoggedDataset, inside: Any, distillation: Distillation) -> AdapterFit:
    """The adapter of one agent (its `white_box`) to a fit's latents."""
    training = AdapterTraining.of(distillation, data)
    return fitted(data, AdapterConfig(_encoder_hash(fit), inside.identity, training, fit, inside))


def _encoder_hash(fit: Fit) -> str:
    digest = hashlib.sha256()
    for part in ENCODER:
        for name, weight in sorted(getattr(fit.model, part).state_dict().items()):
            digest.update(name.encode() + weight.numpy().tobytes())
    return digest.hexdigest()[:16]
