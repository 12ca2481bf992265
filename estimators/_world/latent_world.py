"""Worlds that generate the next observation as a latent and answer with the nearest logged text."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from bench.data import LoggedDataset
from estimators._world.bank import Bank, as_generator, pairs
from estimators._world.layers import Caches
from estimators._world.model import WorldModel
from estimators._world.training import Fit
from estimators._world.world import Answer, Start, World


@dataclass
class _Episodes:
    """The live rows of a batch, in the order of `rows`.

    Attributes:
        rows: (B,) which episode each is.
        z: (B, latent) last observation. goal: (B, past). past: (B, past) history state after it.
        caches: of the history model. column: columns it holds.
    """

    rows: list[int]
    z: Tensor
    goal: Tensor
    past: Tensor
    caches: Caches
    column: int = 1

    def keep(self, kept: list[int]) -> None:
        """Drops all other rows."""
        index = torch.tensor(kept, dtype=torch.long)
        self.rows = [self.rows[k] for k in kept]
        self.z, self.goal, self.past = self.z[index], self.goal[index], self.past[index]
        self.caches.keep(index)


@dataclass
class Transition:
    """What a generator of next latents may look at, for B live episodes."""

    model: WorldModel
    z: Tensor
    past: Tensor
    done: Tensor
    action: Tensor
    rows: list[int] = field(default_factory=list)


class LatentWorld(World):
    """The common part of every world that lives in the latent space of a `Fit`.

    The text that is retrieved is read again, so that what the model remembers is what the agent saw.
    """

    def __init__(self, fit: Fit, data: LoggedDataset):
        self.model, self.material = fit.model, fit.material
        self._vectors: dict[tuple[str, str], tuple[Tensor, Tensor, Tensor]] = {}
        known = pairs(data)
        self.bank = Bank(data, torch.stack([v[0] for v in self._read(known)]))

    @abstractmethod
    def draw(self, now: Transition, generator: torch.Generator) -> Tensor:
        """(B, latent) next latents."""

    @torch.no_grad()
    def reset(self, starts: Sequence[Start], rng: np.random.Generator) -> None:
        """See `World`."""
        self.bank.clear()
        self.starts, self.generator = list(starts), as_generator(rng)
        seen = self._read([(s.goal, s.observation) for s in starts])
        goal = torch.stack([v[2] for v in self._read([(s.goal, s.goal) for s in starts])])
        z, caches = torch.stack([v[0] for v in seen]), Caches.of(self.model.blocks)
        past = self.model.advance(z, goal, 0, caches)
        self.live = _Episodes(list(range(len(starts))), z, goal, past, caches)

    @torch.no_grad()
    def step(self, actions: Sequence[str | None]) -> list[Answer | None]:
        """See `World`."""
        live, model = self.live, self.model
        kept = [k for k, row in enumerate(live.rows) if actions[row] is not None]
        if len(kept) < len(live.rows):
            live.keep(kept)
        starts = [self.starts[row] for row in live.rows]
        texts = [actions[row] for row in live.rows]
        action = torch.stack([v[1] for v in self._read([(s.goal, a) for s, a in zip(starts, texts, strict=True)])])
        done = model.advance(action, live.goal, live.column, live.caches)
        drawn = self.draw(Transition(model, live.z, live.past, done, action, live.rows), self.generator)
        shown = self.bank.nearest(drawn, [s.instance for s in starts], texts)
        after = torch.stack([v[0] for v in self._read([(s.goal, o) for s, o in zip(starts, shown, strict=True)])])
        reward_logits, end_logits = model.events(live.z, action, after, live.past, done)
        reward = model.expected_reward(reward_logits)
        ended = torch.rand(len(shown), generator=self.generator) < end_logits.sigmoid()
        live.past = model.advance(after, live.goal, live.column + 1, live.caches)
        live.z, live.column = after, live.column + 2
        answers: list[Answer | None] = [None] * len(self.starts)
        for row, text, r, e in zip(live.rows, shown, reward.tolist(), ended.tolist(), strict=True):
            answers[row] = Answer(text, r, e)
        return answers

    def diagnostics(self) -> dict[str, float]:
        """See `World`."""
        return self.bank.diagnostics()

    @torch.no_grad()
    def _read(self, wanted: Sequence[tuple[str, str]]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """(observation, action, goal) vectors of (goal, text) pairs, each computed once."""
        new = sorted({pair for pair in wanted if pair not in self._vectors}, key=lambda p: len(p[1]))
        for start in range(0, len(new), 256):
            part = new[start : start + 256]
            found = self.model.read(*self.material.vocabulary.batch(part))
            self._vectors |= dict(zip(part, zip(found.observation, found.action, found.goal, strict=True), strict=True))
        return [self._vectors[pair] for pair in wanted]
