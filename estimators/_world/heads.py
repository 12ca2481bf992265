"""Heads for reward and ending that have also seen what the model itself generates.

In a simulation with soft tokens the heads look at generated latents, which lie near logged ones but not on them.
Trained on logged ones alone they are sure of things that the noise decides: on latents generated from held-out
histories their loss is several times that on logged ones.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from bench.data import LoggedDataset
from bench.rng import rng_for
from estimators._world.denoiser import LARGEST_NOISE
from estimators._world.devices import moved, seeded
from estimators._world.fits import VERSION, FitConfig, Recipe
from estimators._world.flat import Flat
from estimators._world.layers import unit
from estimators._world.material import Batch
from estimators._world.model import WorldModel, event_loss
from estimators._world.sampler import ArcSampler
from estimators._world.training import Fit, Lesson, batches, split

SAMPLER = ArcSampler(LARGEST_NOISE)


@dataclass(frozen=True)
class HeadsConfig(Recipe[Fit]):
    """A world model whose event heads go on learning, on logged and on generated latents alike; all else is kept.

    Attributes:
        of: what decides the world model that is begun from, which is `fit`.
        updates: at most; the heads of the best look at held-out episodes are kept.
        rate: peak learning rate, cosine decay.
    """

    of: FitConfig
    fit: Fit = field(metadata={"material": True})
    updates: int = 600
    rate: float = 1e-3
    measure_every: int = 100

    exact = FitConfig.exact

    def identity(self) -> tuple[object, ...]:
        """See `Recipe`."""
        return ("event heads", 1, VERSION)

    def train(self, data: LoggedDataset) -> Fit:
        """See `Recipe`. Facts are those of the model begun from, with `events` on held-out logged latents anew;
        `events_generated` is the same loss on generated ones, `events_generated_before` what it was."""
        started, training, material = time.perf_counter(), self.of.training, self.fit.material
        learned, held_out = split(len(material), training.held_out, rng_for("world model", self.of.seed()))
        rng = rng_for("event heads", self.seed())
        generator = seeded(torch.device("cpu"), int(rng.integers(2**62)))
        model = copy.deepcopy(self.fit.model)
        model.event.requires_grad_(True)
        lesson = Lesson(model, material, training, generator)
        lesson.freeze()
        optimizer = torch.optim.AdamW(model.event.parameters(), lr=self.rate, weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.updates, self.rate / 30)
        first = best = _measured(lesson, held_out)
        kept = copy.deepcopy(model.event.state_dict())
        size = training.frozen_steps / lesson.length
        for done, part in enumerate(batches(learned, size, self.updates, rng), start=1):
            batch = lesson.batch(part)
            with torch.no_grad():
                flat, _ = lesson.frozen(model, batch)
                z, after = _generated(model, batch, flat, generator)
            real_z, real_after = torch.rand(2, len(z), 1, generator=generator) < 0.5
            loss = _loss(model, flat, torch.where(real_z, flat.z, z), torch.where(real_after, flat.after, after))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            if done % self.measure_every and done < self.updates:
                continue
            found = _measured(lesson, held_out)
            if sum(found) < sum(best):
                best, kept = found, copy.deepcopy(model.event.state_dict())
        model.event.load_state_dict(kept)
        seconds = self.fit.facts["seconds"] + time.perf_counter() - started
        facts = {"events": best[0], "events_generated": best[1], "events_generated_before": first[1]}
        return replace(self.fit, model=model.requires_grad_(False), facts=self.fit.facts | facts | {"seconds": seconds})

    def rebuild(
        self, data: LoggedDataset, weights: dict[str, Tensor], facts: dict[str, float], texts: Mapping[str, str]
    ) -> Fit:
        """See `Recipe`."""
        return self.of.rebuild(data, weights, facts, texts)


def _generated(model: WorldModel, batch: Batch, flat: Flat, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(S, latent) latents before and after, each generated from the logged history before it; what an episode begins
    with is as logged."""

    def denoise(z: Tensor, sigma: float) -> Tensor:
        given = torch.zeros(len(z), dtype=torch.bool)
        return model.denoiser(z, torch.full((len(z),), sigma), flat.past, flat.done, flat.action, given)

    after = unit(SAMPLER.sample(denoise, torch.randn(flat.after.shape, generator=generator)))
    before = after.roll(1, dims=0)
    first = batch.real.sum(dim=1).cumsum(dim=0).roll(1)
    first[0] = 0
    before[first] = flat.z[first]
    return before, after


def _loss(model: WorldModel, flat: Flat, z: Tensor, after: Tensor) -> Tensor:
    return event_loss(model, model.events(z, flat.action, after, flat.past, flat.done), flat.reward, flat.ended)


@torch.no_grad()
def _measured(lesson: Lesson, episodes: np.ndarray) -> tuple[float, float]:
    """Held-out losses on logged latents and on generated ones, with the same noise every time."""
    totals, steps = np.zeros(2), 0
    for start in range(0, len(episodes), 32):
        batch = moved(lesson.material.batch(episodes[start : start + 32]), lesson.device)
        flat, _ = lesson.frozen(lesson.model, batch)
        made = _generated(lesson.model, batch, flat, seeded(lesson.device, start))
        losses = [_loss(lesson.model, flat, *latents) for latents in ((flat.z, flat.after), made)]
        totals += len(flat.z) * np.array([float(x) for x in losses])
        steps += len(flat.z)
    return tuple((totals / steps).tolist())
