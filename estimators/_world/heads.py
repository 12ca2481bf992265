"""Heads for reward and ending that have also seen what the model itself generates.

In a simulation with soft tokens the heads look at generated latents, which lie near logged ones but not on them.
Trained on logged ones alone they are sure of things that the noise decides: on latents generated from held-out
histories their loss is several times that on logged ones.
"""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from bench.data import LoggedDataset
from bench.rng import rng_for
from estimators._world.denoiser import LARGEST_NOISE
from estimators._world.fits import FitConfig, Recipe, fitted
from estimators._world.flat import Flat
from estimators._world.layers import unit
from estimators._world.material import Batch
from estimators._world.model import WorldModel, event_loss
from estimators._world.sampler import ArcSampler
from estimators._world.training import Fit, Lesson, batches, make_optimizer, rate_at, take_step

VERSION = 1
"""Bump when training changes: old heads no longer count."""
SAMPLER = ArcSampler(LARGEST_NOISE)


@dataclass(frozen=True)
class HeadsFit:
    """Retrained heads, `WorldModel.event`, and what is known of them, see `HeadsConfig.train`."""

    model: nn.Module
    facts: dict[str, float]


@dataclass(frozen=True)
class HeadsConfig(Recipe[HeadsFit]):
    """Event heads that go on learning, on logged and on generated latents alike.

    Latents before and after a transition are, each with probability 1/2, replaced by ones generated from the logged
    history by the learned kernel: omega = 1, no continuation, 8 steps, whatever the simulation later uses. The state of
    the history stays that of logged latents, and reward and ending are those that were logged, though a generated
    latent may tell of another outcome: the heads learn how far it can be trusted.

    Attributes:
        world: hash of the weights of the world model, which is `fit`; `of` is what decided it.
        updates: how many; the heads of the look with the smallest sum of both held-out losses are kept, the first look,
            before any update, included. On logged latents alone they may end up worse than they were.
        rate: peak learning rate.
    """

    world: str
    of: FitConfig = field(metadata={"material": True})
    fit: Fit = field(metadata={"material": True})
    updates: int = 600
    rate: float = 1e-3
    measure_every: int = 100

    def identity(self) -> tuple[object, ...]:
        """See `Recipe`."""
        return ("event heads", VERSION)

    def seed(self) -> str:
        """See `Recipe`: that of the world model, not its weights."""
        return json.dumps([*self.identity(), self.of.seed(), self.updates, self.rate])

    def train(self, data: LoggedDataset) -> HeadsFit:
        """See `Recipe`. Always on the CPU.

        Returns:
            Heads, and held-out losses: `events` and `reward_mae` on logged latents, `events_generated` on generated
            ones, and what that was before (`events_generated_before`); `heads_update` that was kept, `heads_seconds`.
        """
        started, training, material = time.perf_counter(), self.of.training, self.fit.material
        learned, held_out = self.of.split(len(material))
        rng = rng_for("event heads", self.seed())
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        model = copy.deepcopy(self.fit.model)
        model.event.requires_grad_(True)
        lesson = Lesson(model, material, training, generator)
        lesson.freeze()
        optimizer = make_optimizer(model.event.parameters(), self.rate)
        before = best = _measured(lesson, held_out)
        kept, at = copy.deepcopy(model.event.state_dict()), 0
        size = training.frozen_steps / lesson.length
        for update, part in enumerate(batches(learned, size, self.updates, rng)):
            batch = lesson.batch(part)
            with torch.no_grad():
                flat, _ = lesson.frozen(model, batch)
                made = generated(model, batch, flat, generator)
            real = torch.rand(2, len(flat.z), 1, generator=generator) < 0.5
            z, after = (torch.where(*x) for x in zip(real, (flat.z, flat.after), made, strict=True))
            loss = event_loss(model, _judged(model, flat, z, after), flat.reward, flat.ended)
            take_step(optimizer, model, loss, self.rate * rate_at(update, self.updates))
            done = update + 1
            if done % self.measure_every and done < self.updates:
                continue
            found = _measured(lesson, held_out)
            if found["events"] + found["events_generated"] < best["events"] + best["events_generated"]:
                best, kept, at = found, copy.deepcopy(model.event.state_dict()), done
        model.event.load_state_dict(kept)
        facts = best | {"events_generated_before": before["events_generated"], "heads_update": float(at)}
        return HeadsFit(model.event, facts | {"heads_seconds": time.perf_counter() - started})

    def rebuild(
        self, data: LoggedDataset, weights: dict[str, Tensor], facts: dict[str, float], texts: Mapping[str, str]
    ) -> HeadsFit:
        """See `Recipe`."""
        heads = copy.deepcopy(self.fit.model.event)
        heads.load_state_dict(weights)
        return HeadsFit(heads.requires_grad_(False), facts)


def with_mixed_heads(fit: Fit, of: FitConfig, data: LoggedDataset) -> Fit:
    """A trained world model with heads that have seen generated latents; all else is the model's own."""
    digest = hashlib.sha256()
    for name, weight in sorted(fit.model.state_dict().items()):
        digest.update(name.encode() + weight.numpy().tobytes())
    heads = fitted(data, HeadsConfig(digest.hexdigest()[:16], of, fit))
    model = copy.deepcopy(fit.model)
    model.event = heads.model
    return replace(fit, model=model.eval(), facts=fit.facts | heads.facts)


def generated(
    model: WorldModel, batch: Batch, flat: Flat, generator: torch.Generator, sampler: ArcSampler = SAMPLER
) -> tuple[Tensor, Tensor]:
    """(S, latent) latents before and after, each generated from the logged history before it; what an episode begins
    with is as logged."""

    def denoise(z: Tensor, sigma: float) -> Tensor:
        given = torch.zeros(len(z), dtype=torch.bool)
        return model.denoiser(z, torch.full((len(z),), sigma), flat.past, flat.done, flat.action, given)

    after = unit(sampler.sample(denoise, torch.randn(flat.after.shape, generator=generator)))
    before = after.roll(1, dims=0)
    first = batch.real.sum(dim=1).cumsum(dim=0).roll(1)
    first[0] = 0
    before[first] = flat.z[first]
    return before, after


def _judged(model: WorldModel, flat: Flat, z: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    return model.events(z, flat.action, after, flat.past, flat.done)


@torch.no_grad()
def _measured(lesson: Lesson, episodes: np.ndarray) -> dict[str, float]:
    """Held-out losses, with the same noise every time."""
    totals, steps, model = np.zeros(3), 0, lesson.model
    for start in range(0, len(episodes), 32):
        batch = lesson.material.batch(episodes[start : start + 32])
        flat, _ = lesson.frozen(model, batch)
        logged = _judged(model, flat, flat.z, flat.after)
        made = _judged(model, flat, *generated(model, batch, flat, torch.Generator().manual_seed(start)))
        losses = [event_loss(model, x, flat.reward, flat.ended) for x in (logged, made)]
        error = (model.expected_reward(logged[0]) - flat.reward).abs().mean()
        totals += len(flat.z) * np.array([float(x) for x in (*losses, error)])
        steps += len(flat.z)
    return dict(zip(("events", "events_generated", "reward_mae"), (totals / steps).tolist(), strict=True))
