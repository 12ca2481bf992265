"""Sampling actions at many points of logged episodes, each of which is read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import Cache

from bench.agents.cache import continued, growing_cache
from bench.agents.language_model import LanguageModel, draw_tokens, padded, sampling_log_probs
from bench.data import Trajectory


@dataclass(frozen=True)
class Place:
    """A point of a logged episode where actions are to be sampled: the turn, and one generator per action."""

    turn: int
    rngs: tuple[np.random.Generator, ...]


@torch.inference_mode()
def sample_at(
    lm: LanguageModel, trajectories: Sequence[Trajectory], places: Sequence[Sequence[Place]], temperature: float
) -> list[list[tuple[str, ...]]]:
    """Samples actions at many points of logged episodes, which are read once each.

    Args:
        trajectories: B episodes. places: for each, where to sample.

    Returns:
        For each episode and place the texts of its actions.
    """
    streams = _Streams(lm, trajectories, places)
    for _ in range(lm.transcript.max_action_tokens - 1):
        streams.write(temperature)
        if not streams.alive.any():
            break
        streams.read()
    else:
        streams.write(temperature)  # the last token the cap leaves room for; nothing follows that would have to read it
    texts = iter([[lm.transcript.decode(x) for x in row] for row in streams.written])
    found = []
    for mine, row in zip(places, texts, strict=True):
        counts = np.cumsum([0, *(len(p.rngs) for p in mine)])
        found.append([tuple(row[a:b]) for a, b in zip(counts[:-1], counts[1:], strict=True)])
    return found


class _Streams:
    """Actions being written, S streams per episode (fewer where the others have ended).

    All streams of an episode share the keys and values of its transcript; each sees what came before its own point and
    what it has written itself. The cache holds `width` shared columns, then one block of S columns per token written.
    """

    def __init__(self, lm: LanguageModel, trajectories: Sequence[Trajectory], places: Sequence[Sequence[Place]]):
        self.lm = lm
        episodes = [lm.transcript.episode(t) for t in trajectories]
        ids = padded([e.ids for e in episodes]).to(lm.device)
        self.width = ids.shape[1]
        self.cache = growing_cache()
        out = lm.model.base_model(input_ids=ids, past_key_values=self.cache, use_cache=True)
        read = out.last_hidden_state  # (B, L, d)
        streams = [
            [(e.spans[p.turn][0], rng) for p in mine for rng in p.rngs]
            for e, mine in zip(episodes, places, strict=True)
        ]
        size = max(map(len, streams))
        self.rngs = [[rng for _, rng in row] for row in streams]
        self.written: list[list[list[int]]] = [[[] for _ in row] for row in streams]
        self.owner = np.tile(np.arange(size), (len(streams), 1))  # (B, S) which stream of its episode sits where
        self.alive = self.owner < np.array([[len(row)] for row in streams])  # (B, S)
        self.start = torch.tensor([[x for x, _ in row] + [1] * (size - len(row)) for row in streams])  # (B, S)
        index = (self.start - 1)[..., None].to(lm.device)
        self.hidden = read.gather(1, index.expand(-1, -1, read.shape[-1]))  # (B, S, d)
        self.depth = 0

    def write(self, temperature: float) -> None:
        """One more token of every stream that has not ended."""
        if self.alive.sum(axis=1).max() <= 0.75 * self.alive.shape[1]:
            self._bring_together()
        row, column = np.nonzero(self.alive)
        logits = self.lm.logits(self.hidden[row, column])  # (live streams, V)
        first = torch.full((len(row),), self.depth == 0)
        marks = self.lm.transcript.marks
        logp = sampling_log_probs(logits, temperature, first, marks).double().cpu().numpy()
        mine = self.owner[row, column]
        rngs = [self.rngs[b][k] for b, k in zip(row, mine, strict=True)]
        self.token = np.full(self.alive.shape, marks.end)
        self.token[row, column] = draw_tokens(logp, rngs, np.ones(len(row), dtype=bool), marks.end)
        for b, k, x in zip(row, mine, self.token[row, column].tolist(), strict=True):
            self.written[b][k].append(x)
        self.alive = self.alive & (self.token != marks.end)

    def read(self) -> None:
        """Lets every stream see the token it has just written."""
        rows, size = self.alive.shape
        own = torch.eye(size, dtype=torch.bool).repeat(1, self.depth + 1)
        seen = torch.arange(self.width) < self.start[..., None]  # (B, S, width)
        mask = torch.cat([seen, own[None].expand(rows, -1, -1)], dim=2)
        self.hidden = continued(self.lm.model, torch.from_numpy(self.token), self.start + self.depth, mask, self.cache)
        self.depth += 1

    def _bring_together(self) -> None:
        """Most streams have ended: only the columns of the others are kept."""
        kept = np.argsort(~self.alive, axis=1, kind="stable")[:, : self.alive.sum(axis=1).max()]
        index = torch.from_numpy(kept)
        self.cache = _keep_streams(self.cache, index, self.width, self.alive.shape[1], self.depth)
        self.owner, self.alive = np.take_along_axis(self.owner, kept, 1), np.take_along_axis(self.alive, kept, 1)
        self.start = self.start.gather(1, index)
        self.hidden = self.hidden.gather(1, index[..., None].expand(-1, -1, self.hidden.shape[-1]).to(self.lm.device))


def _keep_streams(cache: Cache, kept: torch.Tensor, width: int, size: int, depth: int) -> Cache:
    """A cache with the (B, S') streams `kept` of each row: after `width` shared columns, `depth` blocks of one column
    per stream."""
    blocks = [width + block * size + kept for block in range(depth)]
    columns = torch.cat([torch.arange(width).expand(len(kept), -1), *blocks], dim=1)
    smaller = growing_cache()
    for layer in cache.layers:
        index = columns.to(layer.keys.device)[:, None, :, None]
        index = index.expand(-1, layer.keys.shape[1], -1, layer.keys.shape[3])
        one = type(layer)()
        one.lazy_initialization(layer.keys, layer.values)
        one.keys, one.values = layer.keys.gather(2, index), layer.values.gather(2, index)
        smaller.layers.append(one)
    return smaller
