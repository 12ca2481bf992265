"""Texts as token ids for the world models: words of the log, and which of them the goal names too."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import torch

_WORD = re.compile(r"\w+|[^\w\s]")
PADDING, EMPTY = 0, 1
_BUCKETS = 62
"""Words the log does not hold share this many ids, by hash: the agent under evaluation may write words nobody
logged."""
_FIRST_WORD = 2 + _BUCKETS


class Vocabulary:
    """The most frequent words of a log.

    Args:
        words: in the order of their ids.
        max_tokens: longer texts lose their tail.
    """

    def __init__(self, words: Sequence[str], max_tokens: int):
        self.words = tuple(words)
        self.max_tokens = max_tokens
        self._ids = {word: _FIRST_WORD + i for i, word in enumerate(self.words)}
        self._tokens: dict[str, tuple[int, ...]] = {}

    @classmethod
    def of(cls, texts: Iterable[str], size: int, max_tokens: int) -> Vocabulary:
        """The `size` most frequent words, ties by alphabet."""
        count = Counter(word for text in texts for word in _WORD.findall(text.lower()))
        return cls(sorted(count, key=lambda w: (-count[w], w))[: size - _FIRST_WORD], max_tokens)

    def __len__(self) -> int:
        return _FIRST_WORD + len(self.words)

    def tokens(self, text: str) -> tuple[int, ...]:
        """Ids of the words of a text; never empty."""
        if text not in self._tokens:
            words = _WORD.findall(text.lower())[: self.max_tokens]
            self._tokens[text] = tuple(self._id(w) for w in words) or (EMPTY,)
        return self._tokens[text]

    def cut(self, text: str) -> bool:
        """Whether a text loses its tail."""
        return len(self.tokens(text)) == self.max_tokens and len(_WORD.findall(text)) > self.max_tokens

    def _id(self, word: str) -> int:
        return self._ids.get(word, 2 + zlib.crc32(word.encode()) % _BUCKETS)

    def batch(self, pairs: Sequence[tuple[str, str]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Texts with their goals, right-padded.

        Args:
            pairs: U times (goal, text).

        Returns:
            (U, L) ids, and (U, L) whether the goal holds the word too.
        """
        rows = [self.tokens(text) for _, text in pairs]
        ids = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
        shared = np.zeros_like(ids)
        for k, (row, (goal, _)) in enumerate(zip(rows, pairs, strict=True)):
            ids[k, : len(row)] = row
            named = set(self.tokens(goal))
            shared[k, : len(row)] = [token in named for token in row]
        return torch.from_numpy(ids), torch.from_numpy(shared)
