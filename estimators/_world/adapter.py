"""G_psi: latents as soft tokens, so that a white-box agent reads a generated observation without any text.

One adapter per agent (embedding table and weights), distilled on the log: shown soft tokens instead of an observation's
words, the agent should act as it does on the words.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.data import LoggedDataset, Trajectory
from estimators._world.layers import mlp
from estimators._world.training import Fit

log = logging.getLogger(__name__)

Distillation = Literal["long", "short", "linear"]
STEPS_TOGETHER = 32
"""About how many logged steps an update of a long training has: by compute, small batches got further."""
LOOK_EVERY = 200
"""Updates between two looks of a long training at the held-out episodes."""
PATIENCE = 3
"""Looks without a lower divergence before it stops."""


@dataclass(frozen=True)
class AdapterTraining:
    """How an adapter is distilled.

    Attributes:
        tokens: K soft tokens per observation.
        width: of the hidden layer.
        updates, batch: steps, episodes per step. Of kind "long" both depend on the log, see `of`, and so does the seed.
        learning_rate: peak, cosine decay.
        held_out: share of episodes kept apart to measure agreement; of kind "long" also to choose the weights.
        kind: "trained": for `updates`, come what may. "long": until the held-out divergence stops falling, for
            `updates` at most; the weights of the best look are kept. How often one looks is a constant of this file:
            whoever changes it bumps `adapters.VERSION`. "linear": a least-squares map to the mean token
            embedding, never shown to the agent (an ablation).

    The number of tokens was chosen by held-out agreement on one ScienceWorld agent: with 4 tokens and 120 updates .46
    of the actions are chosen as after words, with 8 tokens .53, with 400 updates .56.
    """

    tokens: int = 8
    width: int = 256
    updates: int = 160
    batch: int = 8
    learning_rate: float = 3e-3
    held_out: float = 0.1
    kind: Literal["trained", "long", "linear"] = "trained"

    @classmethod
    def of(cls, distillation: Distillation, data: LoggedDataset) -> AdapterTraining:
        """The training that has a name among estimators, on a log. "short" is of kind "trained", its name when most
        stored fits were made: kinds are part of their keys."""
        if distillation == "linear":
            return cls(kind="linear")
        if distillation == "short":
            return cls()
        episodes = max(1, round(STEPS_TOGETHER / float(data.columns.lengths.mean())))
        return cls(updates=2400, batch=episodes, learning_rate=2e-3, kind="long")


class Adapter(nn.Module):
    """(B, latent) -> (B, K, d) soft tokens of the scale of the agent's own embeddings: a linear part that gives the
    mean word, and a two-layer GELU correction."""

    def __init__(self, latent: int, tokens: int, size: int, width: int):
        super().__init__()
        self.tokens, self.size = tokens, size
        self.mean = nn.Linear(latent, size)
        self.rest = mlp(latent, width, tokens * size, activation=nn.GELU)
        nn.init.zeros_(self.rest[-1].weight)
        nn.init.zeros_(self.rest[-1].bias)

    def forward(self, z: Tensor) -> Tensor:
        """Soft tokens of latents."""
        return self.mean(z)[:, None] + self.rest(z).view(len(z), self.tokens, self.size)


@dataclass(frozen=True)
class AdapterFit:
    """A distilled adapter and what is known of it, see `train_adapter`."""

    model: Adapter
    facts: dict[str, float]


def train_adapter(
    fit: Fit, data: LoggedDataset, inside: Any, training: AdapterTraining, rng: np.random.Generator
) -> AdapterFit:
    """Distills an adapter for one agent.

    Args:
        fit: the world model, trained on `data`.
        inside: the agent's `white_box`.

    Returns:
        The adapter; its facts are held-out `agreement`: share of logged actions whose every token would be chosen
        alike after soft tokens and after words; `kl`: mean divergence per action token, words from soft tokens.
        On up to 64 episodes, among whose looks a long training picked the best: there they flatter a little.
        After a long training also `updates`, how many were run, and `kept`, the one whose weights they are.
        `seconds_per_policy`: what all of it took.
    """
    started = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(rng.integers(2**62)))
        adapter = Adapter(fit.model.size.latent, training.tokens, inside.size, training.width)
    latents = _Latents(fit, data)
    _fit_mean(adapter, latents, inside)
    order = rng.permutation(len(data))
    held_out, learned = np.split(order, [max(1, round(training.held_out * len(order)))])
    learned = learned if len(learned) else held_out
    seen = [data.trajectories[i] for i in held_out[:64]]
    updates = _distilled(adapter, latents, data.trajectories, learned, inside, training, rng)
    if training.kind == "long":
        facts = keep_best(adapter, updates, training.updates, lambda: _fidelity(adapter, latents, seen, inside))
    else:
        if training.kind == "trained":
            for _ in updates:
                pass
        facts = _fidelity(adapter, latents, seen, inside)
    return AdapterFit(adapter.eval(), facts | {"seconds_per_policy": time.perf_counter() - started})


def keep_best(
    adapter: nn.Module, training: Iterator[int], updates: int, look: Callable[[], dict[str, float]]
) -> dict[str, float]:
    """Goes on with a training of `updates` until looks no longer show a lower divergence; leaves the weights of the
    best look, and returns its facts."""
    best, waited = look() | {"kept": 0.0}, 0
    weights, done = copy.deepcopy(adapter.state_dict()), 0
    for done in training:
        if done % LOOK_EVERY and done < updates:
            continue
        found = look()
        log.info("update %d: %s", done, {k: round(v, 3) for k, v in found.items()})
        if found["kl"] < best["kl"]:
            best, waited, weights = found | {"kept": float(done)}, 0, copy.deepcopy(adapter.state_dict())
        else:
            waited += 1
        if waited == PATIENCE:
            break
    adapter.load_state_dict(weights)
    return best | {"updates": float(done)}


class _Latents:
    """The latents of a log's observations."""

    def __init__(self, fit: Fit, data: LoggedDataset):
        shown = {(t.goal, s.observation) for t in data.trajectories for s in t.steps}
        self.pairs = sorted(shown, key=lambda p: (len(p[1]), p))
        self.code = {pair: k for k, pair in enumerate(self.pairs)}
        parts = [self.pairs[i : i + 256] for i in range(0, len(self.pairs), 256)]
        with torch.no_grad():
            self.z = torch.cat([fit.model.read(*fit.material.vocabulary.batch(part)).observation for part in parts])

    def soft(self, adapter: Adapter, trajectories: Sequence[Trajectory]) -> list[Tensor]:
        """For each trajectory (T, K, d) soft tokens of its observations."""
        codes = [self.code[t.goal, s.observation] for t in trajectories for s in t.steps]
        return list(adapter(self.z[torch.tensor(codes)]).split([len(t) for t in trajectories]))


def _fit_mean(adapter: Adapter, latents: _Latents, inside: Any) -> None:
    """Ridge regression of the mean token embedding on the latent."""
    words = inside.mean_embeddings([text for _, text in latents.pairs])
    z = torch.cat([latents.z, torch.ones(len(latents.z), 1)], dim=1)
    solution = torch.linalg.solve(z.T @ z + 1e-2 * torch.eye(z.shape[1]), z.T @ words)
    with torch.no_grad():
        adapter.mean.weight.copy_(solution[:-1].T)
        adapter.mean.bias.copy_(solution[-1])


def _distilled(
    adapter: Adapter,
    latents: _Latents,
    trajectories: Sequence[Trajectory],
    learned: np.ndarray,
    inside: Any,
    training: AdapterTraining,
    rng: np.random.Generator,
) -> Iterator[int]:
    """Trains, and tells after every update how many there were."""
    optimizer = torch.optim.AdamW(adapter.parameters(), lr=training.learning_rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, training.learning_rate, total_steps=training.updates, pct_start=0.1
    )
    taught: dict[int, Tensor] = {}  # what the agent thinks after words: once per episode
    for done in range(1, training.updates + 1):
        chosen = rng.choice(learned, size=min(training.batch, len(learned)), replace=False)
        new = [i for i in chosen if i not in taught]
        if new:
            with torch.no_grad():
                states = inside.action_states([trajectories[i] for i in new])
            taught |= dict(zip(new, states.split([_tokens(trajectories[i], inside) for i in new]), strict=True))
        episodes = [trajectories[i] for i in chosen]
        teacher = inside.logits(torch.cat([taught[i] for i in chosen])).log_softmax(dim=-1)
        student = inside.logits(inside.action_states(episodes, latents.soft(adapter, episodes))).log_softmax(dim=-1)
        loss = F.kl_div(student, teacher, log_target=True, reduction="batchmean")
        if loss.requires_grad:  # not if all have a single step: the first observation is always read as text
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(adapter.parameters(), 1.0)
            optimizer.step()
        schedule.step()
        yield done


@torch.no_grad()
def _fidelity(adapter: Adapter, latents: _Latents, episodes: Sequence[Trajectory], inside: Any) -> dict[str, float]:
    episodes = [e for e in episodes if len(e) > 1] or list(episodes)
    teacher = inside.logits(inside.action_states(episodes)).log_softmax(dim=-1)
    student = inside.logits(inside.action_states(episodes, latents.soft(adapter, episodes))).log_softmax(dim=-1)
    size = torch.tensor([inside.tokens(s) for e in episodes for s in e.steps])
    later = torch.tensor(
        [t > 0 for e in episodes for t in range(len(e))]
    )  # the first observation is always read as text
    alike = (teacher.argmax(dim=-1) == student.argmax(dim=-1)).double()
    action = torch.arange(len(size)).repeat_interleave(size)
    whole = torch.zeros(len(size), dtype=torch.float64).index_add(0, action, 1 - alike) == 0
    kl = F.kl_div(student, teacher, log_target=True, reduction="none").sum(dim=-1)
    later = later if bool(later.any()) else torch.ones_like(later)
    return {"agreement": float(whole[later].double().mean()), "kl": float(kl[later[action]].mean())}


def _tokens(trajectory: Trajectory, inside: Any) -> int:
    return sum(inside.tokens(step) for step in trajectory.steps)
