"""The answers of a log to somebody who sees neither action nor history: what a world model has to beat."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from estimators._autoregressive.segments import Segment


class Marginal:
    """Knows every whole answer of the log by its share; spells unseen ones token by token, by the tokens' shares.

    The share of unseen answers is that of those seen once (Good 1953).

    Args:
        segments: to learn from. vocabulary: number of tokens.
    """

    def __init__(self, segments: Sequence[Segment], vocabulary: int):
        self.count = Counter(text for s in segments for text in s.texts)
        self.total = sum(self.count.values())
        once = sum(c == 1 for c in self.count.values())
        self.unseen = min(max(once, 1) / (self.total + 1), 0.99)
        tokens = np.ones(vocabulary)
        for text, c in self.count.items():
            np.add.at(tokens, list(text), c)
        self.token_nats = -np.log(tokens / tokens.sum())

    def nats(self, segments: Sequence[Segment]) -> float:
        """Mean negative log-likelihood per answer, counting answers of unknown text as the models' losses do."""
        total = sum(self._nats(text) for s in segments for text in s.texts)
        return max(total / sum(len(s.place) for s in segments), 1e-9)

    def _nats(self, text: tuple[int, ...]) -> float:
        spelled = math.log(self.unseen) - float(self.token_nats[list(text)].sum())
        if text not in self.count:
            return -spelled
        return -float(np.logaddexp(math.log((1 - self.unseen) * self.count[text] / self.total), spelled))
