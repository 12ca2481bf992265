"""The real steps of a batch of episodes, one row each: what every loss and every measurement is computed on."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from estimators._world.material import Batch
from estimators._world.model import Latents, WorldModel


@dataclass(frozen=True)
class Flat:
    """S transitions.

    Attributes:
        z, after: (S, latent) before and after. past, done: (S, past) history before and after the action.
        action: (S, action) its vector. code: (S,) its place among the batch's texts.
        reward, ended: (S,).
    """

    z: Tensor
    after: Tensor
    past: Tensor
    done: Tensor
    action: Tensor
    code: Tensor
    reward: Tensor
    ended: Tensor


def flatten(model: WorldModel, batch: Batch, latents: Latents, targets: Tensor) -> Flat:
    """History states and the real steps of a batch; `targets` (U, latent) are what observations are to be generated
    as."""
    before, real = batch.observations[:, :-1], batch.real
    about = model.about(latents.goal[batch.goal], batch.instance)
    past, done = model.past(latents.observation[before], latents.action[batch.actions], about)
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
