"""The give-up chain with every episode and its probability: limits and small-sample moments without sampling."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from math import factorial, prod

import numpy as np

from bench.conformance.specimens import Game, GiveUp, Writer, endings, value
from bench.data import LoggedDataset, Step, Trajectory
from bench.policy import Policy
from estimators._weights import WeightedEpisodes, weigh

GAME = GiveUp()


@dataclass(frozen=True)
class Decided(Writer):
    """A writer whose sampled next actions occur exactly as often as they are probable; probabilities in tenths."""

    def next_actions(self, trajectories, n, seed):
        """See `Policy`."""
        actions = tuple(word for word, p in self.words.items() for _ in range(round(n * p)))
        assert len(actions) == n, f"{n} samples cannot show {self.words}"
        return [[actions] * len(t) for t in trajectories]


LOGGER = Decided("logger", {"carry on": 0.7, "give up": 0.3})
TARGET = Decided("target", {"carry on": 0.9, "give up": 0.1})
TRUTH = value(GAME, TARGET)


def population(game: Game = GAME, logger: Writer = LOGGER) -> tuple[LoggedDataset, np.ndarray]:
    """A log of every episode the logger can produce, and the probability of each, (n,), summing to 1."""
    found = endings(game, logger)
    trajectories = tuple(_episode(str(i), game, logger, words) for i, (words, _) in enumerate(found))
    probability = np.array([p for _, p in found])
    return LoggedDataset("give_up", (logger.name,), 1.0, game.turns, trajectories), probability


def proportional(n: int, game: Game = GAME, logger: Writer = LOGGER) -> LoggedDataset:
    """`n` episodes in which each occurs as often as it is probable."""
    data, probability = population(game, logger)
    trajectories = []
    for t, count in zip(data.trajectories, n * probability, strict=True):
        assert abs(count - round(count)) < 1e-6, f"choose another n: {count} episodes of one kind"
        trajectories += [replace(t, id=f"{t.id}/{k}") for k in range(round(count))]
    return data.with_trajectories(trajectories)


def logs_of(n: int, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every log of n episodes: (B, kinds) counts of each kind of episode, and the (B,) probability of each log."""
    kinds = range(len(probability))
    drawn = itertools.combinations_with_replacement(kinds, n)
    counts = np.array([[log.count(k) for k in kinds] for log in drawn])
    ways = np.array([factorial(n) / prod(map(factorial, c)) for c in counts.tolist()])
    return counts.astype(float), ways * np.prod(probability**counts, axis=1)


def weighted(target: Policy = TARGET) -> tuple[WeightedEpisodes, np.ndarray]:
    """The population's weighted episodes and probabilities."""
    data, probability = population()
    return weigh(data, target), probability


def _episode(name: str, game: Game, logger: Writer, words: tuple[str, ...]) -> Trajectory:
    turns = [game.after(words[: t + 1]) for t in range(len(words))]
    seen = [game.first] + [turn.observation for turn in turns]
    steps = tuple(
        Step(seen[t], word, turns[t].reward, behavior_logp=logger.log_prob(word), logger_logps=(logger.log_prob(word),))
        for t, word in enumerate(words)
    )
    over = turns[-1].over
    return Trajectory(name, "garden", game.goal, steps, seen[-1], over, not over, logger.name)
