"""Trains a world model on a log: all modules end to end, then the dynamics on frozen latents until they stop improving."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from bench.data import LoggedDataset
from estimators._world.material import Batch, Material
from estimators._world.model import SIZES, Latents, WorldModel, event_loss, gaussian_loss, reward_support

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """How long and how fast.

    Attributes:
        epochs: passes over the log, at most.
        encoder_share: part of them that trains the text encoder too; afterwards its latents are frozen.
        batch: episodes per update.
        learning_rate: peak, cosine decay.
        held_out: share of episodes kept apart to measure gain and to stop early.
        patience: epochs without a better held-out loss, on frozen latents, before stopping.
        frozen_encoder: never train the text encoder (an ablation).
    """

    epochs: int
    encoder_share: float = 0.5
    batch: int = 32
    learning_rate: float = 2e-3
    held_out: float = 0.1
    patience: int = 3
    frozen_encoder: bool = False


@dataclass(frozen=True)
class Fit:
    """A trained world model and what is known of it.

    Attributes:
        model: averaged weights, in evaluation mode.
        material: the log it learned from.
        facts: held-out losses, `gain` (share of the unconditional denoising loss that knowing the action removes),
            epochs, seconds, parameters.
    """

    model: WorldModel
    material: Material
    facts: dict[str, float]


@dataclass(frozen=True)
class Flat:
    """The S real steps of a batch: latents before and after, history states, actions, events."""

    z: Tensor
    after: Tensor
    past: Tensor
    done: Tensor
    action: Tensor
    code: Tensor
    reward: Tensor
    ended: Tensor


def train_world(data: LoggedDataset, size: str, training: Training, goal_relation: bool, rng: np.random.Generator) -> Fit:
    """Fits a world model to a log; the same log and generator give the same weights."""
    started, shape = time.perf_counter(), SIZES[size]
    material = Material(data, shape.vocabulary, shape.max_tokens)
    order = rng.permutation(len(material))
    held_out, learned = np.split(order, [max(1, round(training.held_out * len(order)))])
    learned = learned if len(learned) else held_out  # a log of one episode
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    rewards = reward_support(torch.tensor(data.columns.rewards, dtype=torch.float32))
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(int(rng.integers(2**62)))
        model = WorldModel(shape, rewards, goal_relation)
    fit = _Loop(model, material, training, generator).run(learned, held_out, rng)
    facts = fit | {
        "seconds": time.perf_counter() - started,
        "parameters": float(sum(p.numel() for p in model.parameters())),
    }
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return Fit(model.eval(), material, facts)


class _Loop:
    def __init__(self, model: WorldModel, material: Material, training: Training, generator: torch.Generator):
        self.model, self.material, self.training, self.generator = model, material, training, generator
        self.target = copy.deepcopy(model)  # encoder weights averaged: slowly moving targets keep latents from collapsing
        self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99))
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=training.learning_rate, weight_decay=1e-3, betas=(0.9, 0.98))
        self.frozen = False
        if training.frozen_encoder:
            self._freeze()

    def run(self, learned: np.ndarray, held_out: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
        training, best, kept, waited, done = self.training, math.inf, None, 0, 0
        batches = math.ceil(len(learned) / training.batch)
        for epoch in range(training.epochs):
            if epoch >= training.encoder_share * training.epochs and not self.frozen:
                self._freeze()
            for k, part in enumerate(np.array_split(rng.permutation(learned), batches)):
                self._set_rate((epoch + k / batches) / training.epochs)
                self._update(self.material.batch(part))
            done = epoch + 1
            facts = self.measure(held_out)
            log.info("epoch %d of %d: %s", done, training.epochs, {k: round(v, 3) for k, v in facts.items()})
            if self.frozen or epoch == training.epochs - 1:
                loss = facts["denoising"] + facts["events"]
                if loss < best:
                    best, kept, waited = loss, (copy.deepcopy(self.average.module.state_dict()), facts), 0
                else:
                    waited += 1
                if waited >= training.patience:
                    break
        weights, facts = kept
        self.model.load_state_dict(weights)
        return facts | {"epochs": float(done)}

    def _set_rate(self, progress: float) -> None:
        rate = self.training.learning_rate * min(1.0, progress * self.training.epochs / 0.5 + 0.02)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * progress)))

    def _freeze(self) -> None:
        """From now on latents stay as they are: the averaged encoder replaces the trained one, in the averages too."""
        self.frozen = True
        for module in (self.model, self.average.module):
            for part in ("encoder", "to_observation", "to_action", "to_goal"):
                getattr(module, part).load_state_dict(getattr(self.target, part).state_dict())
        for part in ("encoder", "to_observation", "to_action", "to_goal"):
            getattr(self.model, part).requires_grad_(False)

    def _update(self, batch: Batch) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self._loss(batch).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.average.update_parameters(self.model)
        if not self.frozen:
            with torch.no_grad():
                for slow, fast in zip(self.target.parameters(), self.model.parameters(), strict=True):
                    slow.lerp_(fast, 0.02)

    def _loss(self, batch: Batch) -> Tensor:
        model = self.model
        latents = model.read(batch.ids, batch.shared)
        flat = flatten(model, batch, latents, self._targets(batch, latents))
        repeated = [x.repeat(2, 1) for x in (flat.after, flat.past, flat.done, flat.action)]  # two noise levels each
        denoising = model.denoiser.loss(*repeated, self.generator).mean()
        one_step = gaussian_loss(*model.next_gaussian(flat.past, flat.done, flat.action), flat.after).mean()
        loss = denoising + 0.3 * one_step + event_loss(model, model.events(flat.z, flat.action, flat.after, flat.past, flat.done), flat.reward, flat.ended)
        return loss + 0.1 * self._action_losses(flat, latents) + self._word_loss(batch, latents)

    def _targets(self, batch: Batch, latents: Latents) -> Tensor:
        if self.frozen:
            return latents.observation
        with torch.no_grad():
            return self.target.read(batch.ids, batch.shared).observation

    def _action_losses(self, flat: Flat, latents: Latents) -> Tensor:
        """Inverse dynamics and behavior cloning: which of the batch's actions was it?"""
        choices, label = torch.unique(flat.code, return_inverse=True)
        vectors = latents.action[choices]
        between = self.model.inverse(torch.cat([flat.z, flat.after, flat.past], dim=-1))
        return F.cross_entropy(between @ vectors.T, label) + F.cross_entropy(self.model.behavior(flat.past) @ vectors.T, label)

    def _word_loss(self, batch: Batch, latents: Latents) -> Tensor:
        """Latents must tell which words their text holds.

        Takes the place of the paper's contrast with the policy's embeddings: `fit` never sees the policy.
        """
        if self.frozen:
            return torch.zeros(())
        held = torch.zeros(len(batch.ids), self.model.size.vocabulary)
        held.scatter_(1, batch.ids, 1.0)
        seen = torch.unique(batch.observations)
        logits = self.model.to_words(latents.observation[seen])
        return F.binary_cross_entropy_with_logits(logits, held[seen], reduction="none").sum(dim=1).mean() / 10

    @torch.no_grad()
    def measure(self, episodes: Sequence[int]) -> dict[str, float]:
        """Held-out losses of the averaged weights, with the same noise every time."""
        model, totals, steps = self.average.module, np.zeros(5), 0
        model.eval()
        for start in range(0, len(episodes), 4 * self.training.batch):
            batch = self.material.batch(episodes[start : start + 4 * self.training.batch])
            latents = model.read(batch.ids, batch.shared)
            flat = flatten(model, batch, latents, latents.observation)
            n = len(flat.z)
            given = (flat.after, flat.past, flat.done, flat.action)
            losses = [
                model.denoiser.loss(*given, torch.Generator().manual_seed(start), torch.full((n,), dropped)).mean()
                for dropped in (False, True)
            ]
            logits = model.events(flat.z, flat.action, flat.after, flat.past, flat.done)
            reward_error = (model.expected_reward(logits[0]) - flat.reward).abs().mean()
            events = event_loss(model, logits, flat.reward, flat.ended)
            one_step = gaussian_loss(*model.next_gaussian(flat.past, flat.done, flat.action), flat.after).mean()
            totals += n * np.array([float(x) for x in (*losses, events, reward_error, one_step)])
            steps += n
        model.train()
        given_loss, free_loss, events, reward_error, one_step = (totals / steps).tolist()
        return {
            "denoising": given_loss,
            "unconditional": free_loss,
            "gain": 1 - given_loss / free_loss,
            "gaussian": one_step,
            "events": events,
            "reward_mae": reward_error,
        }


def flatten(model: WorldModel, batch: Batch, latents: Latents, targets: Tensor) -> Flat:
    """History states and the real steps of a batch; `targets` (U, latent) are what observations are to be generated as."""
    before, real = batch.observations[:, :-1], batch.real
    past, done = model.past(latents.observation[before], latents.action[batch.actions], latents.goal[batch.goal])
    return Flat(
        z=latents.observation[before][real],
        after=targets[batch.observations[:, 1:]][real],
        past=past[real],
        done=done[real],
        action=latents.action[batch.actions][real],
        code=batch.actions[real],
        reward=batch.reward,
        ended=batch.ended,
    )
