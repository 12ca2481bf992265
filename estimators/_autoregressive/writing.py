"""Draws what the environment answers, in many episodes at once, token by token from the model's conditionals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from bench.agents.language_model import padded
from bench.agents.transcript import ACT
from estimators._autoregressive.model import TextWorldModel
from estimators._autoregressive.ragged_cache import RaggedCache

Rest = Callable[[Sequence[int]], Sequence[int]]
"""Tokens of an answer begun -> a guess how it goes on."""


EVERYTHING = 1 << 30
"""More tokens than any answer has."""
FEW = 8
"""Tokens guessed at once after a draft was wrong; twice as many each time they are right."""
NEAR = 8
"""Tokens of a draft before and after the place where it was wrong, among which its thread is looked for."""


@dataclass
class Line:
    """One answer in the making.

    Attributes:
        row: of the cache. unread: tokens the model has not seen; the answer follows on the last.
        draft: an answer like this one, which is guessed to go on as the draft does from `place` on.
        uniform: (cap,) random numbers, one per token. written: the answer so far.
        ahead: how many tokens are guessed at once, at most.
    """

    row: int
    unread: list[int]
    draft: tuple[int, ...]
    uniform: np.ndarray
    written: list[int] = field(default_factory=list)
    place: int = 0
    ahead: int = EVERYTHING

    @property
    def guess(self) -> tuple[int, ...]:
        """How the answer may go on."""
        room = len(self.uniform) - len(self.written) + 1
        return () if self.finished else self.draft[self.place : self.place + min(self.ahead, room)]

    def asked(self) -> int:
        """How many next tokens one reading of `unread` and `guess` tells: none after the end marker."""
        feed = [*self.unread, *self.guess]
        return len(self.guess) + (feed[-1] != ACT) if not self.finished else 0

    @property
    def finished(self) -> bool:
        """The end marker is written."""
        return bool(self.written) and self.written[-1] == ACT

    def take(self, drawn: list[int], rest: Rest) -> int:
        """Goes on by what was drawn as far as it is a continuation of itself; returns how many tokens read are to stay.

        Args:
            drawn: for each place asked about, the token drawn there.
        """
        guess, agreed = self.guess, 0
        while agreed < len(guess) and agreed < len(drawn) and guess[agreed] == drawn[agreed]:
            agreed += 1
        kept = len(self.unread) + agreed
        self.written += guess[:agreed]
        self.place += agreed
        self.unread = [] if self.finished else [drawn[agreed]]
        self.written += self.unread
        if self.unread and not self.finished:
            self._look_on(rest)
        return kept

    def _look_on(self, rest: Rest) -> None:
        """Finds where the draft goes on after the last token written, which was not among those guessed: it may be what
        the draft has next, and then all that was guessed was right."""
        if self.place < len(self.draft) and self.draft[self.place] == self.written[-1]:
            self.place, self.ahead = self.place + 1, 2 * self.ahead
        elif found := tuple(rest(self.written)):
            self.draft, self.place, self.ahead = (*self.written, *found), len(self.written), EVERYTHING
        else:
            self.place, self.ahead = _after(self.draft, self.place, self.written[-1]), FEW


def _after(draft: Sequence[int], place: int, token: int) -> int:
    """Where a draft goes on after `token` was written for what stands at `place`: after the nearest such token, or, if
    it is not near, in place of one: names and numbers differ where the text around them does not."""
    near = [k for k in range(max(place - NEAR, 0), min(place + NEAR, len(draft))) if draft[k] == token]
    return (min(near, key=lambda k: abs(k - place)) if near else place) + 1


@torch.inference_mode()
def write(model: TextWorldModel, cache: RaggedCache, lines: Sequence[Line], rest: Rest) -> Tensor:
    """Writes every line to its end marker, or to the cap, where one is put.

    Returns:
        (N, hidden) states after the end markers. The cache holds everything, end markers included.
    """
    states = torch.zeros(len(lines), model.body.config.hidden_size)
    todo = list(range(len(lines)))
    while todo:
        groups: dict[int, list[int]] = {}
        for k in todo:
            groups.setdefault((len(lines[k].unread) + len(lines[k].guess)).bit_length(), []).append(k)
        for group in groups.values():
            part = [lines[k] for k in group]
            hidden, size = _read(cache, part)
            states[group] = hidden[torch.arange(len(part)), size - 1]
            drawn = _draw(model, hidden, part)
            kept = [line.take(tokens, rest) for line, tokens in zip(part, drawn, strict=True)]
            cache.length[[line.row for line in part]] += torch.tensor(kept)
        todo = [k for k in todo if lines[k].unread]
    return states


def _read(cache: RaggedCache, lines: Sequence[Line]) -> tuple[Tensor, Tensor]:
    """(B, W, hidden) states after what was unread and guessed, (B,) its size."""
    feeds = [[*line.unread, *line.guess] for line in lines]
    hidden = cache.read(torch.tensor([line.row for line in lines]), padded(feeds))
    return hidden, torch.tensor([len(feed) for feed in feeds])


def _draw(model: TextWorldModel, hidden: Tensor, lines: Sequence[Line]) -> list[list[int]]:
    """For each line the token drawn at each place it asks about, by inversion of the conditional there."""
    asked = np.array([line.asked() for line in lines])
    row = np.repeat(np.arange(len(lines)), asked)
    nth = np.arange(len(row)) - np.repeat(np.cumsum(asked) - asked, asked)  # of its line
    place = nth + np.repeat([len(line.unread) - 1 for line in lines], asked)
    written = np.repeat([len(line.written) for line in lines], asked) + nth
    cap = len(lines[0].uniform)
    uniform = np.array([lines[i].uniform[min(w, cap - 1)] for i, w in zip(row, written, strict=True)])
    chance = model.token_logits(hidden[row, place]).double().softmax(dim=-1).cumsum(dim=-1)  # (P, V)
    goal = torch.from_numpy(uniform).to(chance)[:, None] * chance[:, -1:]
    token = torch.searchsorted(chance, goal, right=True)[:, 0].clamp(max=chance.shape[1] - 1).numpy()
    token = np.where(written >= cap, ACT, token)
    return [part.tolist() for part in np.split(token, np.cumsum(asked)[:-1])]
