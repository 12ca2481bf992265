"""The trained language model as an environment: it reads what the agent did and writes what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bench.agents.transcript import ACT, OBS
from bench.data import LoggedDataset
from estimators._autoregressive.guesses import Guesses
from estimators._autoregressive.ragged_cache import RaggedCache
from estimators._autoregressive.training import TextFit
from estimators._autoregressive.writing import Line, write
from estimators._world.world import Answer, Start, World


@dataclass
class _Episode:
    """One simulated episode.

    Attributes:
        number: in the order of the starts. opening: its first tokens. shown: the last observation.
        turns: (action, answer) tokens, the first one without action. unread: tokens the model has not seen.
    """

    number: int
    start: Start
    opening: tuple[int, ...]
    shown: str
    turns: list[tuple[tuple[int, ...], tuple[int, ...]]]
    unread: list[int]

    def recent(self, room: int) -> list[int]:
        """The opening and as many of the last turns as fit; at least the last observation."""
        found: list[int] = [OBS, *self.turns[-1][1]]
        for k in range(len(self.turns) - 1, 0, -1):
            longer = [OBS, *self.turns[k - 1][1], *self.turns[k][0], *found]
            if len(self.opening) + len(longer) > room:
                break
            found = longer
        return [*self.opening, *found]


class TextWorld(World):
    """Answers with text drawn at temperature 1, its expected reward, and an ending drawn from its probability.

    Episodes longer than the model's window go on from their last turns, half a window of them.
    """

    def __init__(self, fit: TextFit, data: LoggedDataset, guess: bool = True):
        self.model, self.language = fit.model, fit.language
        self.asked, self.cut, self.unreadable, self.novel = 0, 0, 0, 0
        self.guesses = Guesses(data, self.language) if guess else None
        self.logged = {(t.goal, s.observation) for t in data.trajectories for s in t.steps}
        self.logged |= {(t.goal, t.final_observation or "") for t in data.trajectories}
        self.logged = {(goal, self._text(self.language.answer(text))) for goal, text in self.logged}

    def reset(self, starts: Sequence[Start], rng: np.random.Generator) -> None:
        """See `World`."""
        self.rng, self.size = rng, len(starts)
        self.cache = RaggedCache(self.model, len(starts))
        self.live = []
        for k, s in enumerate(starts):
            opening, answer = self.language.opening(s.instance, s.goal), self.language.answer(s.observation)
            self.live.append(_Episode(k, s, opening, s.observation, [((), answer)], [*opening, OBS, *answer]))

    def step(self, actions: Sequence[str | None]) -> list[Answer | None]:
        """See `World`."""
        kept = [k for k, e in enumerate(self.live) if actions[e.number] is not None]
        if len(kept) < len(self.live):
            self.cache.keep(torch.tensor(kept, dtype=torch.long))
            self.live = [self.live[k] for k in kept]
        answers: list[Answer | None] = [None] * self.size
        if not self.live:
            return answers
        uniform = self.rng.random((len(self.live), self.language.cap))
        lines = [self._line(k, actions[e.number], u) for k, (e, u) in enumerate(zip(self.live, uniform, strict=True))]
        states = write(self.model, self.cache, lines, self.guesses.rest if self.guesses else _nothing)
        rewards, ends = self._events(states)
        for e, line, reward, ended in zip(self.live, lines, rewards, ends, strict=True):
            e.turns.append((self.language.action(actions[e.number]), tuple(line.written)))
            e.shown = self._text(line.written)
            self._count(e, line.written)
            answers[e.number] = Answer(e.shown, reward, ended)
        return answers

    def diagnostics(self) -> dict[str, float]:
        """Shares of observations: cut at the cap, with broken characters, not logged with this goal."""
        asked = max(self.asked, 1)
        return {
            "cut_observation_share": self.cut / asked,
            "unreadable_observation_share": self.unreadable / asked,
            "novel_observation_share": self.novel / asked,
        }

    def _line(self, row: int, action: str, uniform: np.ndarray) -> Line:
        """What is to be read and written in one episode."""
        e = self.live[row]
        unread = [*e.unread, *self.language.action(action), OBS]
        if int(self.cache.length[row]) + len(unread) + self.language.cap + 1 > self.language.window:
            self.cache.length[row] = 0
            unread = [*e.recent(self.language.window // 2), *self.language.action(action), OBS]
        e.unread = []
        draft = self.guesses.first(e.start.goal, e.shown, action) if self.guesses else ()
        return Line(row, unread, draft, uniform)

    @torch.inference_mode()
    def _events(self, states: torch.Tensor) -> tuple[list[float], list[bool]]:
        """Expected rewards and drawn endings."""
        reward_logits, end_logits = self.model.events(states)
        ended = self.rng.random(len(states)) < end_logits.double().sigmoid().numpy()
        return self.model.expected_reward(reward_logits).tolist(), ended.tolist()

    def _count(self, episode: _Episode, written: list[int]) -> None:
        self.asked += 1
        self.cut += len(written) > self.language.cap
        self.unreadable += "\ufffd" in episode.shown
        self.novel += (episode.start.goal, episode.shown) not in self.logged

    def _text(self, answer: Sequence[int]) -> str:
        return self.language.transcript.decode([t for t in answer if t != ACT])


def _nothing(begun: Sequence[int]) -> tuple[int, ...]:
    return ()
