"""How an episode becomes tokens: one growing transcript, every segment tokenized on its own.

    <goal> goal <obs> observation <act> action <end> <obs> observation <act> action <end> ...

Segments never merge across their borders, so the tokens a policy sampled are the tokens that are scored later.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from bench.data import Step, Trajectory

SPECIAL = ("<pad>", "<goal>", "<obs>", "<act>", "<end>")
PAD, GOAL, OBS, ACT, END = range(len(SPECIAL))
MAX_ACTION_TOKENS = 24
"""An action that has not ended by then is cut: its own event, with the probability of its tokens and no end marker."""


@dataclass(frozen=True)
class Marks:
    """Token ids with a meaning of their own in a transcript.

    Attributes:
        before, after: what stands around an observation; after it the agent writes.
        end: ends an action.
        banned: never written by an agent.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    end: int
    banned: tuple[int, ...]


MARKS = Marks(before=(OBS,), after=(ACT,), end=END, banned=(PAD, GOAL, OBS, ACT))


WORDS = r"\s?[A-Za-z]+|\s?\d|[^\sA-Za-z\d]|\s"
"""What a tokenizer takes for words: runs of letters, single digits, single signs."""


def train_tokenizer(texts: Iterable[str], vocabulary: int, words: str = WORDS) -> Tokenizer:
    """A byte-level BPE over the given texts; words (a regular expression) never merge with their neighbors."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


@dataclass(frozen=True)
class EncodedEpisode:
    """Token ids of an episode and, for each step, the half-open span of its action's tokens (end marker included)."""

    ids: list[int]
    spans: list[tuple[int, int]]


class Transcript:
    """Encodes goals, observations, actions and whole episodes with one tokenizer.

    Args:
        tokenizer: as trained by `train_tokenizer`.
        max_observation_tokens: longer observations lose their tail, for every agent alike.

    Attributes:
        marks: token ids that structure it. max_action_tokens: longer actions are cut.
    """

    marks: Marks = MARKS
    max_action_tokens: int = MAX_ACTION_TOKENS

    def __init__(self, tokenizer: Tokenizer, max_observation_tokens: int):
        if isinstance(tokenizer, Tokenizer):
            tokenizer.encode_special_tokens = True  # what looks like a mark in a text is just text
        self.tokenizer = tokenizer
        self.max_observation_tokens = max_observation_tokens
        self.encode = lru_cache(maxsize=200_000)(self._encode)
        self._says = lru_cache(maxsize=200_000)(self._written)

    @classmethod
    def load(cls, path: Path, max_observation_tokens: int) -> Transcript:
        """Reads a `tokenizer.json`."""
        return cls(Tokenizer.from_file(str(path)), max_observation_tokens)

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return self.tokenizer.get_vocab_size()

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def opening(self, goal: str) -> tuple[int, ...]:
        """Tokens that come before the first observation."""
        return (GOAL, *self.encode(goal))

    def turn(self, observation: str) -> tuple[int, ...]:
        """Tokens of an observation up to the point where the agent writes."""
        return (*self.marks.before, *self.encode(observation)[: self.max_observation_tokens], *self.marks.after)

    def action(self, text: str) -> tuple[int, ...]:
        """Canonical tokens of an action, end marker included."""
        return (*self.encode(text), self.marks.end)

    def action_of(self, step: Step) -> tuple[int, ...]:
        """Tokens of a logged action: as recorded, canonical where none are, or where they are those of another
        tokenizer."""
        tokens = step.action_tokens
        if tokens is None or not self._says(tuple(tokens), step.action):
            return self.action(step.action)
        return tokens

    def _written(self, tokens: tuple[int, ...], text: str) -> bool:
        return max(tokens) < self.vocabulary and self.decode(tokens) == text

    def closed(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """An action's tokens as they stand in the transcript: one that was cut gets the end marker it did not write."""
        return tuple(tokens) if tokens[-1] == self.marks.end else (*tokens, self.marks.end)

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of an action's tokens."""
        return self.tokenizer.decode([t for t in tokens if t >= len(SPECIAL)])

    def episode(self, trajectory: Trajectory) -> EncodedEpisode:
        """Tokens of a whole episode. Recorded action tokens are used as they are, others are canonical."""
        ids = list(self.opening(trajectory.goal))
        spans = []
        for step in trajectory.steps:
            ids += self.turn(step.observation)
            tokens = self.action_of(step)
            spans.append((len(ids), len(ids) + len(tokens)))
            ids += self.closed(tokens)
        return EncodedEpisode(ids, spans)
