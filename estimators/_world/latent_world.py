"""Worlds that generate the next observation as a latent and answer with the nearest logged text."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bench.data import LoggedDataset
from bench.policy import Observation, SoftObservation
from estimators._world.adapter import AdapterFit
from estimators._world.bank import Bank, as_generator, pairs
from estimators._world.layers import Caches, unit
from estimators._world.model import WorldModel
from estimators._world.reader import LatentReader
from estimators._world.training import Fit
from estimators._world.world import Answer, Start, World

if TYPE_CHECKING:
    from estimators._world.novelty import NewActions


@dataclass
class Episodes:
    """The live rows of a batch, in the order of `rows`.

    Attributes:
        rows: (B,) which episode each is.
        z: (B, latent) last observation. goal: (B, past) what it is about. past: (B, past) history state after it.
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


@dataclass(frozen=True)
class Transition:
    """What a generator of next latents may look at, for B live episodes.

    Attributes:
        live: the episodes before the action, their history caches already holding it.
        done: (B, past) history state after the action. action: (B, action) its vector.
    """

    model: WorldModel
    live: Episodes
    done: Tensor
    action: Tensor


class LatentWorld(World):
    """The common part of every world that lives in the latent space of a `Fit`.

    Two ways back to the agent. As text: the nearest logged answer, which is read again, so that what the model
    remembers is what the agent saw. As soft tokens, with an adapter: the generated latent itself goes on, and text is
    retrieved only for what is not the language model (lists of actions to explore, records).
    """

    def __init__(self, fit: Fit, data: LoggedDataset, adapter: AdapterFit | None = None):
        self.model, self.material, self.facts, self.adapter = fit.model, fit.material, fit.facts, adapter
        self.new_actions: NewActions | None = None
        self.reader = LatentReader(fit.model, fit.material)
        self.bank = Bank(data, self.reader.observations(pairs(data)))

    @abstractmethod
    def draw(self, now: Transition, generator: torch.Generator) -> Tensor:
        """(B, latent) next latents."""

    @torch.no_grad()
    def reset(self, starts: Sequence[Start], rng: np.random.Generator) -> None:
        """See `World`."""
        self.starts, self.generator = list(starts), as_generator(rng)
        z, caches = self.reader.observations([(s.goal, s.observation) for s in starts]), Caches.of(self.model.blocks)
        goal = self.reader.about([(s.instance, s.goal) for s in starts])
        past = self.model.advance(z, goal, 0, caches)
        self.live = Episodes(list(range(len(starts))), z, goal, past, caches)

    @torch.no_grad()
    def step(self, actions: Sequence[str | None]) -> list[Answer | None]:
        """See `World`."""
        live, model = self.live, self.model
        kept = [k for k, row in enumerate(live.rows) if actions[row] is not None]
        if len(kept) < len(live.rows):
            live.keep(kept)
        starts = [self.starts[row] for row in live.rows]
        texts = [actions[row] for row in live.rows]
        action = self.read_actions(texts)
        done = model.advance(action, live.goal, live.column, live.caches)
        drawn = self.draw(Transition(model, live, done, action), self.generator)
        shown: list[Observation] = self.bank.nearest(drawn, [s.instance for s in starts], texts)
        if self.adapter is None:
            after = self.reader.observations([(s.goal, text) for s, text in zip(starts, shown, strict=True)])
        else:
            after = unit(drawn)
            shown = [SoftObservation(text, x) for text, x in zip(shown, self.adapter.model(after), strict=True)]
        reward_logits, end_logits = model.events(live.z, action, after, live.past, done)
        reward = model.expected_reward(reward_logits)
        if self.new_actions is not None:
            reward = self.new_actions.corrected([s.instance for s in starts], texts, reward)
        ended = torch.rand(len(shown), generator=self.generator) < end_logits.sigmoid()
        live.past = model.advance(after, live.goal, live.column + 1, live.caches)
        live.z, live.column = after, live.column + 2
        answers: list[Answer | None] = [None] * len(self.starts)
        for row, text, r, e in zip(live.rows, shown, reward.tolist(), ended.tolist(), strict=True):
            answers[row] = Answer(text, r, e)
        return answers

    def read_actions(self, texts: Sequence[str]) -> Tensor:
        """(B, action) vectors of one action per live episode."""
        goals = [self.starts[row].goal for row in self.live.rows]
        return self.reader.actions(list(zip(goals, texts, strict=True)))

    def diagnostics(self) -> dict[str, float]:
        """See `World`; with the facts of fit and adapter."""
        known = {f"fit_{name}": x for name, x in self.facts.items()}
        if self.adapter is not None:
            known |= {f"adapter_{name}": x for name, x in self.adapter.facts.items()}
        return self.bank.diagnostics() | known
