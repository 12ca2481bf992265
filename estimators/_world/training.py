"""Trains a world model on a log: all modules end to end, then the dynamics on frozen latents until they stop
improving."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from bench.data import LoggedDataset
from estimators._world.devices import moved, seeded, training_device
from estimators._world.flat import Flat, flatten
from estimators._world.material import Batch, Material
from estimators._world.model import ENCODER, SIZES, Latents, WorldModel, event_loss, gaussian_loss
from estimators._world.rewards import reward_support

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """How long and how fast.

    Attributes:
        updates: of the dynamics on frozen latents, at most.
        encoder_updates: before them, of everything end to end.
        steps: about how many steps the episodes of an update end to end have; `frozen_steps` on frozen latents.
        levels: noise levels at which each transition is denoised in one update on frozen latents.
        held_out: share of episodes kept apart to measure gain and to stop early.
        measure_every: updates between two looks at the held-out episodes.
        patience: looks without a better held-out loss before stopping.
        frozen_encoder: never train the text encoder (an ablation).
        unknown: share of episodes that are not told which instance they play in.
    """

    updates: int
    encoder_updates: int
    steps: int = 110
    frozen_steps: int = 160
    levels: int = 3
    held_out: float = 0.1
    measure_every: int = 100
    patience: int = 4
    frozen_encoder: bool = False
    unknown: float = 0.1


@dataclass(frozen=True)
class Fit:
    """A trained world model and what is known of it.

    Attributes:
        model: averaged weights, in evaluation mode.
        material: the log it learned from.
        facts: held-out losses, `gain` (share of the unconditional denoising loss that knowing the action removes),
            updates, best_update (whose weights were kept), seconds, parameters, `on_gpu` (1 if it was trained on one).
    """

    model: WorldModel
    material: Material
    facts: dict[str, float]


def train_world(
    data: LoggedDataset,
    size: str,
    training: Training,
    goal_relation: bool,
    knows_instance: bool,
    rng: np.random.Generator,
) -> Fit:
    """Fits a world model to a log; the same log, generator and kind of device give the same weights, up to the order
    in which a GPU adds."""
    started, shape, device = time.perf_counter(), SIZES[size], training_device()
    material = Material(data, shape.vocabulary, shape.max_tokens, knows_instance)
    learned, held_out = split(len(material), training.held_out, rng)
    generator = seeded(device, int(rng.integers(2**62)))
    rewards = reward_support(torch.tensor(data.columns.rewards, dtype=torch.float32))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(rng.integers(2**62)))
        model = WorldModel(shape, rewards, goal_relation, len(material.instances))
    facts = Lesson(model.to(device), material, training, generator).run(learned, held_out, rng)
    model.cpu()
    facts |= {
        "cut_observation_share": material.cut_share,
        "seconds": time.perf_counter() - started,
        "parameters": float(sum(p.numel() for p in model.parameters())),
        "on_gpu": float(device.type != "cpu"),
    }
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return Fit(model.eval(), material, facts)


def split(episodes: int, share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Which episodes to learn from and which to hold out; one episode alone is both."""
    held_out, learned = np.split(rng.permutation(episodes), [max(1, round(share * episodes))])
    return (learned if len(learned) else held_out), held_out


class Lesson:
    """A model, a log, and the two parts of the training."""

    def __init__(self, model: WorldModel, material: Material, training: Training, generator: torch.Generator):
        self.model, self.material, self.training, self.generator = model, material, training, generator
        self.device = generator.device
        self.latents: Latents | None = None  # of every text, once they are frozen
        self.action_share = _action_share(material).to(self.device)
        self.length = float(material.columns.lengths.mean())

    def run(self, learned: np.ndarray, held_out: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
        """Trains everything; the facts of `Fit`."""
        if not self.training.frozen_encoder:
            self._train_encoder(learned, rng)
        self.freeze()
        return self._train_dynamics(learned, held_out, rng)

    def _train_encoder(self, learned: np.ndarray, rng: np.random.Generator) -> None:
        """Everything end to end, against slowly moving target latents: without these the latents would collapse."""
        training, model = self.training, self.model
        target = copy.deepcopy(model)
        optimizer = make_optimizer(model.parameters(), model.size.rate)
        for update, part in enumerate(batches(learned, training.steps / self.length, training.encoder_updates, rng)):
            batch = self.batch(part)
            words = self._words(batch.texts.tolist())
            latents = model.read(*words)
            with torch.no_grad():
                targets = target.read(*words).observation
            flat = flatten(model, batch, latents, targets)
            loss = self._loss(batch, flat, latents.action, levels=2) + _word_loss(model, words[0], batch, latents)
            take_step(optimizer, model, loss, model.size.rate * rate_at(update, training.encoder_updates))
            with torch.no_grad():
                for slow, fast in zip(target.parameters(), model.parameters(), strict=True):
                    slow.lerp_(fast, 0.02)
        for part in ENCODER:
            getattr(model, part).load_state_dict(getattr(target, part).state_dict())

    @torch.no_grad()
    def freeze(self) -> None:
        """From now on latents stay as they are: every text of the log is read once more, and then no more."""
        for part in ENCODER:
            # its last gradient stays and counts in the norm that is clipped, ever less; clearing it changes weights
            getattr(self.model, part).requires_grad_(False)
        everything = sorted(range(len(self.material.pairs)), key=lambda k: len(self.material.pairs[k][1]))
        parts = [everything[i : i + 256] for i in range(0, len(everything), 256)]
        back = torch.argsort(torch.tensor(everything)).to(self.device)
        read = [self.model.read(*self._words(part)) for part in parts]
        self.latents = Latents(
            *(torch.cat([getattr(x, name) for x in read])[back] for name in Latents.__dataclass_fields__)
        )

    def _train_dynamics(self, learned: np.ndarray, held_out: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
        """History, denoiser and heads on frozen latents; keeps the averaged weights of the best look at held-out
        data."""
        training, model = self.training, self.model
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.995))
        optimizer = make_optimizer([p for p in model.parameters() if p.requires_grad], model.size.rate)
        best, kept, waited, done = math.inf, None, 0, 0
        for update, part in enumerate(batches(learned, training.frozen_steps / self.length, training.updates, rng)):
            batch = self.batch(part)
            flat, latents = self.frozen(model, batch)
            loss = self._loss(batch, flat, latents.action, training.levels)
            take_step(optimizer, model, loss, model.size.rate * rate_at(update, training.updates))
            average.update_parameters(model)
            done = update + 1
            if done % training.measure_every and done < training.updates:
                continue
            facts = self._measure(average.module, held_out)
            log.info("update %d of %d: %s", done, training.updates, {k: round(v, 3) for k, v in facts.items()})
            loss = facts["denoising"] + facts["events"]
            if loss < best:
                facts |= {"best_update": float(done)}
                best, kept, waited = loss, (copy.deepcopy(average.module.state_dict()), facts), 0
            else:
                waited += 1
            if waited >= training.patience:
                break
        weights, facts = kept
        model.load_state_dict(weights)
        return facts | {"updates": float(done)}

    def batch(self, episodes: Sequence[int]) -> Batch:
        """Some episodes to learn from, some of them without their instance."""
        batch = moved(self.material.batch(episodes), self.device)
        told = torch.rand(len(batch.instance), generator=self.generator, device=self.device) >= self.training.unknown
        return replace(batch, instance=batch.instance * told)

    def _words(self, texts: Sequence[int]) -> tuple[Tensor, Tensor]:
        ids, shared = self.material.words(texts)
        return ids.to(self.device), shared.to(self.device)

    def frozen(self, model: WorldModel, batch: Batch) -> tuple[Flat, Latents]:
        """Its steps and the vectors of its texts, once they are frozen."""
        latents = self.latents.of(batch.texts)
        return flatten(model, batch, latents, latents.observation), latents

    def _loss(self, batch: Batch, flat: Flat, actions: Tensor, levels: int) -> Tensor:
        """Denoising at `levels` noise levels per transition, one-step Gaussian, events, inverse dynamics, cloning."""
        model = self.model
        repeated = [x.repeat(levels, 1) for x in (flat.after, flat.past, flat.done, flat.action)]
        denoising = model.denoiser.loss(*repeated, self.generator).mean()
        one_step = gaussian_loss(*model.next_gaussian(flat.past, flat.done, flat.action), flat.after).mean()
        events = model.events(flat.z, flat.action, flat.after, flat.past, flat.done)
        loss = denoising + 0.3 * one_step + event_loss(model, events, flat.reward, flat.ended)
        inclusion = 1 - (1 - self.action_share[batch.texts]) ** len(batch.goal)
        return loss + 0.1 * _action_losses(model, flat, actions, inclusion)

    @torch.no_grad()
    def _measure(self, model: WorldModel, episodes: Sequence[int]) -> dict[str, float]:
        """Held-out losses of the averaged weights, with the same noise every time."""
        model.eval()
        totals, steps = np.zeros(5), 0
        for start in range(0, len(episodes), 32):
            flat, _ = self.frozen(model, moved(self.material.batch(episodes[start : start + 32]), self.device))
            n, given = len(flat.z), (flat.after, flat.past, flat.done, flat.action)
            losses = []
            for dropped in (False, True):
                ignored, noise = torch.full((n,), dropped, device=self.device), seeded(self.device, start)
                losses.append(model.denoiser.loss(*given, noise, ignored).mean())
            logits = model.events(flat.z, flat.action, flat.after, flat.past, flat.done)
            reward_error = (model.expected_reward(logits[0]) - flat.reward).abs().mean()
            one_step = gaussian_loss(*model.next_gaussian(flat.past, flat.done, flat.action), flat.after).mean()
            found = (*losses, event_loss(model, logits, flat.reward, flat.ended), reward_error, one_step)
            totals += n * np.array([float(x) for x in found])
            steps += n
        given_loss, free_loss, events, reward_error, one_step = (totals / steps).tolist()
        return {
            "denoising": given_loss,
            "unconditional": free_loss,
            "gain": 1 - given_loss / free_loss,
            "gaussian": one_step,
            "events": events,
            "reward_mae": reward_error,
        }


def _action_share(material: Material) -> Tensor:
    """(P,) share of the episodes in which each text of the material is an action."""
    count = np.zeros(len(material.pairs))
    for actions in material.actions:
        count[np.unique(actions)] += 1
    return torch.tensor(count / len(material), dtype=torch.float32)


def _action_losses(model: WorldModel, flat: Flat, actions: Tensor, inclusion: Tensor) -> Tensor:
    """Inverse dynamics and behavior cloning: which of the batch's actions was it?

    The other choices are those that happen to be in the batch, frequent ones more often than rare ones. Cloning is to
    give probabilities among all actions: its logits are lowered by the logarithm of that chance, as in a sampled
    softmax (Bengio & Senecal 2008). Inverse dynamics only has to make latents tell actions apart, and the rare ones,
    which the correction would leave without contrast, as well as the frequent ones: it is a plain contrast.

    Args:
        inclusion: (U,) probability that a batch holds each of its texts as an action.
    """
    choices, label = torch.unique(flat.code, return_inverse=True)
    vectors = actions[choices]
    between = model.inverse(torch.cat([flat.z, flat.after, flat.past], dim=-1)) @ vectors.T
    cloned = model.behavior(flat.past) @ vectors.T - inclusion[choices].log()
    return F.cross_entropy(between, label) + F.cross_entropy(cloned, label)


def _word_loss(model: WorldModel, ids: Tensor, batch: Batch, latents: Latents) -> Tensor:
    """Latents must tell which words their text holds.

    Takes the place of the paper's contrast with the policy's embeddings: `fit` never sees the policy.
    """
    held = torch.zeros(len(ids), model.size.vocabulary, device=ids.device)
    held.scatter_(1, ids, 1.0)  # padding counts as a word of shorter texts; to leave it out changes weights
    seen = torch.unique(batch.observations)
    logits = model.to_words(latents.observation[seen])
    return F.binary_cross_entropy_with_logits(logits, held[seen], reduction="none").sum(dim=1).mean() / 10


def batches(episodes: np.ndarray, size: float, updates: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """`updates` batches of about `size` episodes, epoch after epoch in new random orders."""
    made = 0
    while made < updates:
        for part in np.array_split(rng.permutation(episodes), math.ceil(len(episodes) / max(1.0, size))):
            if made < updates:
                made += 1
                yield part


def make_optimizer(parameters, rate: float) -> torch.optim.Optimizer:
    """AdamW as every part of the training uses it."""
    return torch.optim.AdamW(parameters, lr=rate, weight_decay=1e-3, betas=(0.9, 0.98))


def take_step(optimizer: torch.optim.Optimizer, model: WorldModel, loss: Tensor, rate: float) -> None:
    """One update at a learning rate, the gradient of the whole model cut to length 1."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def rate_at(update: int, total: int) -> float:
    """Warm-up over the first twentieth, cosine decay to 3 %."""
    return min(1.0, 20 * (update + 1) / total) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * update / total)))
