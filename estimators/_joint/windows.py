"""A log as overlapping windows of transitions, in the frozen latent space of a trained world model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.data import LoggedDataset
from estimators._world.reader import LatentReader

_CHUNK = 64
"""Episodes whose history states are computed together."""


@dataclass(frozen=True)
class Transitions:
    """The S logged steps, episode by episode, in the units of the world model and of the log.

    Attributes:
        start: (S, past + latent) history state before the action, and the latent of the observation it ends with.
        action: (S, action). after: (S, latent) latent of the observation that follows.
        reward, ended: (S,). ended is 1 where the environment ended the episode.
        episode: (S,) int. last: (S,) bool, the last step of its episode.
    """

    start: Tensor
    action: Tensor
    after: Tensor
    reward: Tensor
    ended: Tensor
    episode: Tensor
    last: Tensor


@torch.no_grad()
def transitions_of(data: LoggedDataset, reader: LatentReader) -> Transitions:
    """Reads a log with a trained world model."""
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    order = sorted(range(len(data)), key=lambda i: len(data.trajectories[i]))
    for begin in range(0, len(order), _CHUNK):
        parts += _read_episodes([data.trajectories[i] for i in order[begin : begin + _CHUNK]], reader)
    start, action, after = (torch.cat([parts[k][c] for k in np.argsort(order)]) for c in range(3))
    columns = data.columns
    last = np.zeros(len(columns.rewards), dtype=bool)
    last[columns.offsets[1:] - 1] = True
    terminated = np.array([t.terminated for t in data.trajectories])[columns.episode]
    return Transitions(
        start,
        action,
        after,
        torch.tensor(columns.rewards, dtype=torch.float32),
        torch.tensor(last & terminated, dtype=torch.float32),
        torch.from_numpy(columns.episode),
        torch.from_numpy(last),
    )


def _read_episodes(trajectories: Sequence, reader: LatentReader) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Per episode (T, past + latent) start states, (T, action) actions, (T, latent) what follows."""
    longest = max(len(t) for t in trajectories)
    seen, did = [], []
    for t in trajectories:
        texts = [(t.goal, s.observation) for s in t.steps] + [(t.goal, t.final_observation or "")]
        seen.append(reader.observations(texts + texts[-1:] * (longest - len(t))))
        acts = [(t.goal, s.action) for s in t.steps]
        did.append(reader.actions(acts + acts[-1:] * (longest - len(t))))
    z, action = torch.stack(seen), torch.stack(did)  # (B, T + 1, latent), (B, T, action)
    past, _ = reader.model.past(z[:, :-1], action, reader.about([(t.instance, t.goal) for t in trajectories]))
    start = torch.cat([past, z[:, :-1]], dim=-1)
    return [(start[i, : len(t)], action[i, : len(t)], z[i, 1 : len(t) + 1]) for i, t in enumerate(trajectories)]


@dataclass(frozen=True)
class Windows:
    """One window of W transitions from every logged step on.

    Where the environment ended the episode within a window, what follows is the absorbing row: no action, no
    observation, reward 0, ended. Where a step limit or a crash cut it, nobody knows what would follow: not real.

    Attributes:
        rows: (S + 1, D) rows (action, next latent, reward, ended); the last one is the absorbing row.
        index: (S, W) rows of each window. real: (S, W) bool.
        start: (S, past + latent) what each window is conditioned on. episode: (S,) int.
    """

    rows: Tensor
    index: Tensor
    real: Tensor
    start: Tensor
    episode: Tensor


def windows_of(transitions: Transitions, rows: Tensor, absorbing: Tensor, length: int) -> Windows:
    """Cuts a log into windows.

    Args:
        rows: (S, D) standardized rows of the transitions. absorbing: (D,) likewise.
        length: W.
    """
    count = len(rows)
    index = torch.arange(count)[:, None] + torch.arange(length)
    clipped = index.clamp(max=count - 1)
    inside = (index < count) & (transitions.episode[clipped] == transitions.episode[:, None])
    final = torch.nonzero(transitions.last)[:, 0]  # last step of each episode, in order
    over = transitions.ended[final[transitions.episode]] > 0.5
    return Windows(
        rows=torch.cat([rows, absorbing[None]]),
        index=torch.where(inside, clipped, count),
        real=inside | over[:, None],
        start=transitions.start,
        episode=transitions.episode,
    )
