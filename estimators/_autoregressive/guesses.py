"""Guesses how an observation goes on, so that the model can check many tokens at once instead of writing one by one.

A guess never changes what is drawn: every token is drawn from the model's own conditional, with its own random number,
and a guess is of use only as far as it agrees (speculative sampling, Leviathan et al. 2023, arXiv 2211.17192, with the
log as the draft).
"""

from __future__ import annotations

import bisect
from collections import Counter, defaultdict
from collections.abc import Sequence

from bench.data import LoggedDataset
from estimators._autoregressive.segments import Language


class Guesses:
    """The answers of a log, by what they answered."""

    def __init__(self, data: LoggedDataset, language: Language):
        found: dict[tuple[str, ...], Counter] = defaultdict(Counter)
        count: Counter = Counter()
        for t in data.trajectories:
            after = [s.observation for s in t.steps[1:]] + [t.final_observation or ""]
            for step, text in zip(t.steps, after, strict=True):
                answer = language.answer(text)
                count[answer] += 1
                for key in _keys(t.goal, step.observation, step.action):
                    found[key][answer] += 1
        self._likeliest = {key: counts.most_common(1)[0][0] for key, counts in found.items()}
        self._count, self._sorted = count, sorted(count)

    def first(self, goal: str, observation: str, action: str) -> tuple[int, ...]:
        """A whole answer: what most often answered the action there, or anywhere; empty if it is new."""
        known = (self._likeliest[key] for key in _keys(goal, observation, action) if key in self._likeliest)
        return next(known, ())

    def rest(self, begun: Sequence[int]) -> tuple[int, ...]:
        """How the commonest answer that begins like this goes on; empty if none does."""
        begun = tuple(begun)
        start = bisect.bisect_left(self._sorted, begun)
        stop = bisect.bisect_left(self._sorted, (*begun[:-1], begun[-1] + 1))
        found = self._sorted[start : min(stop, start + 64)]  # enough to guess well; never slow
        return max(found, key=self._count.__getitem__)[len(begun) :] if found else ()


def _keys(goal: str, observation: str, action: str) -> list[tuple[str, ...]]:
    """From the most to the least particular."""
    return [(goal, observation, action), (observation, action), (action,)]
