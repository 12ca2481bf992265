"""What actions are worth that the log does not show in an instance: heads corrected on held-out episodes.

Of actions that they were trained on in an instance, heads for reward and ending tell what came of them. A new one they
judge by the instance and its history, that is, by what the loggers' own actions led to there, which were chosen to
lead somewhere. Episodes that were kept apart from the training hold such actions, and what really came of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.data import LoggedDataset, Trajectory
from estimators._world.bank import as_generator
from estimators._world.fits import FitConfig
from estimators._world.heads import generated
from estimators._world.latent_world import LatentWorld
from estimators._world.training import Fit, Lesson

DRAWS = 2
"""Generated latents per held-out step."""
PRIOR_REWARDS = 1.0
"""How many rewards of the usual size, foretold rightly, the factor of rewards is held to 1 by."""
PRIOR_SD = 1.0
"""Standard deviation of the shift of the ending's log-odds, before any is seen."""


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
    """How the heads' answers to new actions are corrected.

    Attributes:
        known: the actions that the model was trained on.
        reward_factor: of expected rewards. ending_shift: of the log-odds of an ending.
        steps: held-out ones with a new action, behind both.
    """

    known: Known
    reward_factor: float
    ending_shift: float
    steps: int

    def corrected(
        self, instances: Sequence[str], actions: Sequence[str], reward: Tensor, end_logits: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(B,) expected rewards and (B,) log-odds of an ending."""
        new = self.known.new(instances, actions)
        return torch.where(new, self.reward_factor * reward, reward), end_logits + self.ending_shift * new


def without(data: LoggedDataset, episodes: np.ndarray) -> LoggedDataset:
    """The log without some of its episodes."""
    left_out = set(episodes.tolist())
    return data.with_trajectories([t for i, t in enumerate(data.trajectories) if i not in left_out])


@torch.no_grad()
def correction(
    world: LatentWorld, fit: Fit, of: FitConfig, data: LoggedDataset, rng: np.random.Generator
) -> NewActions:
    """Fits both corrections to the held-out steps with new actions: what the heads foretell there after the text that
    the model retrieves, against what came.

    The factor is the ridge regression, through the origin and towards 1, of rewards on expected ones; the shift is the
    posterior mode of a logistic regression with a fixed slope of 1 and a normal prior around 0.

    Args:
        world: of the fit, on the log without its held-out episodes: it must not retrieve the answers themselves.
        fit: of the configuration `of` to `data`.
    """
    learned, held_out = of.split(len(fit.material))
    known = Known(data.trajectories[i] for i in learned)
    generator, model = as_generator(rng), fit.model
    lesson = Lesson(model, fit.material, of.training, generator)
    lesson.freeze()
    foretold, came = [], []
    for start in range(0, len(held_out), 32):
        part = held_out[start : start + 32]
        steps = [(data.trajectories[i], step) for i in part for step in data.trajectories[i].steps]
        instances, actions = [t.instance for t, _ in steps], [step.action for _, step in steps]
        new = known.new(instances, actions)
        if not new.any():
            continue
        batch = fit.material.batch(part)
        flat, _ = lesson.frozen(model, batch)
        said = []
        for _ in range(DRAWS):
            _, drawn = generated(model, batch, flat, generator)
            texts = world.bank.nearest(drawn, instances, actions)
            after = world.observations([(t.goal, text) for (t, _), text in zip(steps, texts, strict=True)])
            reward, ending = model.events(flat.z, flat.action, after, flat.past, flat.done)
            said.append(torch.stack([model.expected_reward(reward), ending]))
        foretold.append(torch.stack(said).mean(dim=0)[:, new])
        came.append(torch.stack([flat.reward, flat.ended.to(flat.reward)])[:, new])
    if not foretold:
        return NewActions(known, 1.0, 0.0, 0)
    said, real = torch.cat(foretold, dim=1).double().numpy(), torch.cat(came, dim=1).double().numpy()
    rewards = data.columns.rewards
    unit = float(np.mean(rewards[rewards != 0] ** 2)) if (rewards != 0).any() else 1.0
    return NewActions(known, _factor(said[0], real[0], unit), _shift(said[1], real[1]), real.shape[1])


def _factor(said: np.ndarray, real: np.ndarray, unit: float) -> float:
    """Not negative; `unit`: the mean square of a reward."""
    prior = PRIOR_REWARDS * unit
    return max(0.0, float((said @ real + prior) / (said @ said + prior)))


def _shift(logits: np.ndarray, ended: np.ndarray) -> float:
    """Newton's method on a concave function of one number, with steps held below 1."""
    shift = 0.0
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(logits + shift, -30, 30)))
        slope = (ended - p).sum() - shift / PRIOR_SD**2
        step = slope / ((p * (1 - p)).sum() + 1 / PRIOR_SD**2)
        shift += math.copysign(min(abs(step), 1.0), step)
        if abs(step) < 1e-10:
            break
    return shift
