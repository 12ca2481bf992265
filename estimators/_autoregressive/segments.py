"""Episodes as tokens for a model that writes the environment's part.

    <goal> instance goal <obs> o <act> a <end> <obs> o <act> a <end> <obs> o <act>

The marker `<act>` ends an observation: the world writes it, as the agent writes `<end>`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from bench.agents.transcript import ACT, END, GOAL, OBS, Transcript, train_tokenizer
from bench.data import LoggedDataset, Trajectory

MAX_ACTION_TOKENS = 48
"""Longer actions lose their tail. Twice what agents of this repository write, and their words are cut alike."""


@dataclass(frozen=True)
class Segment:
    """A stretch of an episode that fits the model's window, K answers of the world in it.

    Attributes:
        ids: (L,) tokens. learned: (L,) bool, tokens the world has to write.
        place: (K,) where each answer ends. reward, ended: (K,) what came with it.
        texts: tokens of the answers among them whose text is known.
    """

    ids: np.ndarray
    learned: np.ndarray
    place: np.ndarray
    reward: np.ndarray
    ended: np.ndarray
    texts: tuple[tuple[int, ...], ...]


class Language:
    """Tokens of goals, actions and observations.

    Args:
        transcript: tokenizer and markers, and where observations are cut.
        window: tokens a model may look back on.
        knows_instance: the name of the instance stands before the goal.
    """

    def __init__(self, transcript: Transcript, window: int, knows_instance: bool):
        self.transcript, self.window, self.knows_instance = transcript, window, knows_instance
        self.cap = transcript.max_observation_tokens

    @classmethod
    def of(cls, data: LoggedDataset, vocabulary: int, cap: int, window: int, knows_instance: bool) -> Language:
        """Learns the tokens from every distinct text of a log."""
        texts = {x for t in data.trajectories for s in t.steps for x in (s.observation, s.action)}
        texts |= {x for t in data.trajectories for x in (t.goal, t.instance, t.final_observation or "")}
        return cls(Transcript(train_tokenizer(sorted(texts), vocabulary), cap), window, knows_instance)

    def __reduce__(self):  # the transcript remembers what it has encoded, and that cannot be pickled
        return _language, (self.transcript.tokenizer.to_str(), self.cap, self.window, self.knows_instance)

    def opening(self, instance: str, goal: str) -> tuple[int, ...]:
        """What stands before the first observation; at most a quarter of the window."""
        encode = self.transcript.encode
        return (GOAL, *(encode(f"{instance} ") if self.knows_instance else ()), *encode(goal))[: self.window // 4]

    def action(self, text: str) -> tuple[int, ...]:
        """An action and its end marker."""
        return (*self.transcript.encode(text)[:MAX_ACTION_TOKENS], END)

    def answer(self, text: str) -> tuple[int, ...]:
        """An observation and its end marker."""
        return (*self.transcript.encode(text)[: self.cap], ACT)

    def segments(self, trajectory: Trajectory) -> list[Segment]:
        """A whole episode; more than one segment if it does not fit the window.

        A later segment begins with the goal and the observation at hand. The last answer of an episode that was cut
        without a last observation is unknown: it has a reward, but no text to learn from. An episode that ended without
        one ended on the empty text.
        """
        t = trajectory
        seen = [self.answer(s.observation) for s in t.steps] + [self.answer(t.final_observation or "")]
        unknown = len(t) if t.final_observation is None and not t.terminated else None
        opening, found = self.opening(t.instance, t.goal), []
        draft = _Draft([*opening, OBS, *seen[0]])
        for k, step in enumerate(t.steps):
            action = self.action(step.action)
            if draft.answers and len(draft.ids) + len(action) + 1 + len(seen[k + 1]) > self.window:
                found.append(draft.segment())
                draft = _Draft([*opening, OBS, *seen[k]])
            ended = k + 1 == len(t) and t.terminated
            draft.add([*action, OBS], seen[k + 1], k + 1 != unknown, self.cap, step.reward, ended)
        return [*found, draft.segment()]


def _language(tokenizer: str, cap: int, window: int, knows_instance: bool) -> Language:
    return Language(Transcript(Tokenizer.from_str(tokenizer), cap), window, knows_instance)


class _Draft:
    """A segment in the making."""

    def __init__(self, ids: list[int]):
        self.ids, self.learned = ids, [False] * len(ids)
        self.answers: list[tuple[int, float, float]] = []
        self.texts: list[tuple[int, ...]] = []

    def add(
        self, said: Sequence[int], answer: tuple[int, ...], known: bool, cap: int, reward: float, ended: bool
    ) -> None:
        self.ids += [*said, *answer]
        self.learned += [False] * len(said) + [known] * len(answer)
        if len(answer) > cap:
            self.learned[-1] = False  # cut here by us, not ended by the world
        self.answers.append((len(self.ids) - 1, reward, float(ended)))
        if known:
            self.texts.append(answer)

    def segment(self) -> Segment:
        place, reward, ended = (np.array(x) for x in zip(*self.answers, strict=True))
        return Segment(np.array(self.ids), np.array(self.learned), place, reward, ended, tuple(self.texts))
