"""What actions are worth that the log does not show in an instance: expected rewards held to what such actions paid.

Of actions that they were trained on in an instance, heads for reward and ending tell what came of them. A new one they
judge by the instance and its history, that is, by what the loggers' own actions led to there, which were chosen to
lead somewhere. What new actions pay is known from the log itself: an action that one episode alone took in an instance
was new, seen from all others. So did Turing estimate what was never seen (Good 1953, Biometrika 40, 237-264): by what
was seen once. What the heads foretell of new actions is known from held-out episodes, where few are enough.

The correction may only lower: it is there for policies that take many new actions and are overestimated for it, and a
factor above 1 would rest on a foretold mean near 0, where the ratio of two means says little. Rewards below 0 it draws
to 0 as well: "lower" is said of rewards that are not negative.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.data import LoggedDataset, Trajectory
from estimators._world.bank import as_generator
from estimators._world.diffusion_world import DiffusionWorld
from estimators._world.fits import FitConfig
from estimators._world.heads import generated
from estimators._world.rollout import Simulation
from estimators._world.training import Fit, Lesson

DRAWS = 2
"""Generated latents per held-out step."""
PRIOR_REWARDS = 1.0
"""How many rewards of the usual size, foretold rightly, are added to what the log shows."""
SPREAD = 1.0
"""How far below 0 the logarithm of paid over foretold is thought to lie before the log is looked at: new actions paid
e times too well are nothing unusual."""


class Known:
    """The actions that episodes show: in their instance, or anywhere for an instance that none of them plays in."""

    def __init__(self, episodes: Iterable[Trajectory]):
        self._here = {(t.instance, step.action) for t in episodes for step in t.steps}
        self._instances = {instance for instance, _ in self._here}
        self._anywhere = {action for _, action in self._here}

    def new(self, instances: Sequence[str], actions: Sequence[str]) -> Tensor:
        """(B,) bool, which of B actions is not among them."""
        found = [
            (i, a) not in self._here if i in self._instances else a not in self._anywhere
            for i, a in zip(instances, actions, strict=True)
        ]
        return torch.tensor(found, dtype=torch.bool)


@dataclass(frozen=True)
class NewActions:
    """How expected rewards of new actions are corrected.

    Attributes:
        known: the actions that the model was trained on.
        factor: of expected rewards, above 0 and at most 1.
        once: steps of the log with an action that no other episode took there, which tell what was paid.
        held_out: held-out steps with a new action, which tell what was foretold.
    """

    known: Known
    factor: float
    once: int
    held_out: int

    def corrected(self, instances: Sequence[str], actions: Sequence[str], reward: Tensor) -> Tensor:
        """(B,) expected rewards."""
        return torch.where(self.known.new(instances, actions), self.factor * reward, reward)

    def effect(self, played: Simulation, gamma: float) -> dict[str, float]:
        """What it did to simulated episodes: `share` of their steps with an action that the model was not trained on in
        the instance, and the `change` of the mean return."""
        share, change = [], 0.0
        for start, steps in zip(played.starts, played.episodes, strict=True):
            new = self.known.new([start.instance] * len(steps), [action for _, action, _ in steps]).tolist()
            share += new
            change += sum(gamma**t * r * (1 - 1 / self.factor) for t, (_, _, r) in enumerate(steps) if new[t])
        return {"share": float(np.mean(share)), "change": change / len(played.starts)}


def without(data: LoggedDataset, episodes: np.ndarray) -> LoggedDataset:
    """The log without some of its episodes."""
    left_out = set(episodes.tolist())
    return data.with_trajectories([t for i, t in enumerate(data.trajectories) if i not in left_out])


def paid_once(episodes: Sequence[Trajectory]) -> np.ndarray:
    """(S,) rewards of the steps whose action no other episode took in the instance, or anywhere, if the instance has
    no other episode."""
    plays = Counter(t.instance for t in episodes)
    here = Counter((t.instance, a) for t in episodes for a in {s.action for s in t.steps})
    anywhere = Counter(a for t in episodes for a in {s.action for s in t.steps})
    return np.array(
        [
            s.reward
            for t in episodes
            for s in t.steps
            if (here[t.instance, s.action] if plays[t.instance] > 1 else anywhere[s.action]) == 1
        ]
    )


@torch.no_grad()
def correction(
    world: DiffusionWorld, fit: Fit, of: FitConfig, data: LoggedDataset, rng: np.random.Generator
) -> NewActions:
    """Fits the factor: mean size of the rewards that actions taken once were paid, over the mean size that the heads
    foretell for held-out new ones after the text that the model retrieves.

    Args:
        world: of the fit, on the log without its held-out episodes: it must not retrieve the answers themselves. Its
            sampler is used, its guidance is not.
        fit: of the configuration `of` to `data`.
    """
    learned, held_out = of.split(len(fit.material))
    known = Known(data.trajectories[i] for i in learned)
    generator, model = as_generator(rng), fit.model
    lesson = Lesson(model, fit.material, of.training, generator)
    lesson.freeze()
    foretold = []
    for start in range(0, len(held_out), 32):
        part = held_out[start : start + 32]
        steps = [(data.trajectories[i], step) for i in part for step in data.trajectories[i].steps]
        instances, actions = [t.instance for t, _ in steps], [step.action for _, step in steps]
        new = known.new(instances, actions)
        if not new.any():
            continue
        batch = fit.material.batch(part)
        flat, _ = lesson.frozen(model, batch)
        said = torch.zeros(len(steps))
        for _ in range(DRAWS):
            _, drawn = generated(model, batch, flat, generator, world.sampler)
            texts = world.bank.nearest(drawn, instances, actions)
            after = world.reader.observations([(t.goal, text) for (t, _), text in zip(steps, texts, strict=True)])
            logits, _ = model.events(flat.z, flat.action, after, flat.past, flat.done)
            said += logits.softmax(dim=-1) @ model.rewards.abs() / DRAWS
        foretold.append(said[new])
    said = torch.cat(foretold).double().numpy() if foretold else np.zeros(0)
    paid, rewards = np.abs(paid_once(data.trajectories)), np.abs(data.columns.rewards)
    usual = float(rewards[rewards > 0].mean()) if (rewards > 0).any() else 1.0
    return NewActions(known, factor(paid, said, usual), len(paid), len(said))


def factor(paid: np.ndarray, said: np.ndarray, usual: float) -> float:
    """Mean of `paid` over mean of `said`, drawn to 1, the more the fewer rewards tell, and never above it; 1 where
    either is empty.

    A rule of thumb, not an exact posterior. Both sums are taken for Poisson counts of rewards of the `usual` size, each
    with `PRIOR_REWARDS` on top; the logarithm of their ratio, for normal with a variance of 1 / one + 1 / other; and
    before, for the lower half of a normal around 0 with a standard deviation of `SPREAD`: the factor is the mode that
    follows. Steps of one episode hang together, what is foretold is expected rewards and not events, and of a handful
    of held-out steps the variance is larger than that.
    """
    if not len(paid) or not len(said):
        return 1.0
    count, foretold = paid.sum() / usual + PRIOR_REWARDS, said.sum() / usual + PRIOR_REWARDS
    ratio = count / (len(paid) * said.mean() / usual + PRIOR_REWARDS)
    noise = 1 / count + 1 / foretold
    return math.exp(min(0.0, math.log(ratio) * SPREAD**2 / (SPREAD**2 + noise)))
