"""Made-up games, writers and logs whose right answers are known; small enough for one-second tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol

import numpy as np

from bench.data import LoggedDataset, Step, Trajectory
from bench.policy import Decision
from bench.rng import rng_for

LETTERS = "abcdefghijklmnopqrstuvwxyz.,"
FLAT = tuple(1 / len(LETTERS) for _ in LETTERS)
INSTANCES = ("garden", "cellar")


@dataclass(frozen=True)
class Writer:
    """A policy that writes one of a few words, and after it, where `length` > 0, that many letters nobody reads.

    Implements `bench.policy.Policy`. What it writes does not depend on what it sees.

    Attributes:
        name: name of the policy.
        words: probability of each word.
        length: number of letters after the word; 18 even letters are 60 nats.
        style: probability of each of `LETTERS`.
    """

    name: str
    words: Mapping[str, float]
    length: int = 0
    style: tuple[float, ...] = FLAT

    def log_prob(self, text: str) -> float:
        """Natural log of the probability of a whole action; -inf for what it never writes."""
        word, _, letters = text.partition("#")
        if self.words.get(word, 0.0) == 0.0 or len(letters) != self.length:
            return -np.inf
        log_style = np.log(self.style)
        return float(np.log(self.words[word]) + sum(log_style[LETTERS.index(letter)] for letter in letters))

    def finish(self, word: str, rng: np.random.Generator) -> str:
        """The word with its letters."""
        if not self.length:
            return word
        return f"{word}#{''.join(LETTERS[i] for i in rng.choice(len(LETTERS), self.length, p=self.style))}"

    def write(self, rng: np.random.Generator) -> str:
        """One action."""
        words = list(self.words)
        return self.finish(words[rng.choice(len(words), p=list(self.words.values()))], rng)

    def log_prob_episodes(self, trajectories: Sequence[Trajectory]) -> list[np.ndarray]:
        """See `Policy`."""
        return [np.array([self.log_prob(s.action) for s in t.steps]) for t in trajectories]

    def next_actions(self, trajectories: Sequence[Trajectory], n: int, seed: int) -> list[list[tuple[str, ...]]]:
        """See `Policy`."""
        return [[self._drawn(n, rng_for(seed, t.id, k)) for k in range(len(t))] for t in trajectories]

    def start(self, goals: Sequence[str], seeds: Sequence[int]) -> _Writing:
        """See `Policy`."""
        return _Writing(self, [np.random.default_rng(seed) for _, seed in zip(goals, seeds, strict=True)])

    def _drawn(self, n: int, rng: np.random.Generator) -> tuple[str, ...]:
        return tuple(self.write(rng) for _ in range(n))


@dataclass(frozen=True)
class _Writing:
    """A batch of episodes in progress."""

    writer: Writer
    rngs: list[np.random.Generator]

    def step(self, observations: Sequence[str | None]) -> list[Decision | None]:
        """See `PolicySession`."""
        return [None if o is None else self._act(rng) for o, rng in zip(observations, self.rngs, strict=True)]

    def _act(self, rng: np.random.Generator) -> Decision:
        text = self.writer.write(rng)
        return Decision(text, self.writer.log_prob(text))


@dataclass(frozen=True)
class Turn:
    """What a game answers: the reward of the last word, what is seen next, whether it is over."""

    reward: float
    observation: str
    over: bool


class Game(Protocol):
    """A deterministic process: what happens depends on the words so far alone."""

    goal: ClassVar[str]
    first: ClassVar[str]
    turns: int
    """Step limit."""

    def after(self, words: Sequence[str]) -> Turn:
        """What follows the words so far (at least one)."""


@dataclass(frozen=True)
class GiveUp:
    """`carry on` pays `wage` and, at the last turn, 1 more; `give up` pays nothing. Either end is a termination."""

    goal: ClassVar[str] = "Carry on to the end."
    first: ClassVar[str] = "You have carried on 0 times."
    turns: int = 4
    wage: float = 0.1

    def after(self, words: Sequence[str]) -> Turn:
        """See `Game`."""
        if words[-1] != "carry on":
            return Turn(0.0, "You gave up.", True)
        end = len(words) == self.turns
        return Turn(self.wage + float(end), f"You have carried on {len(words)} times.", end)


@dataclass(frozen=True)
class TwoTurns:
    """Pays 1 at the second turn if both words were `right`: a maximum over actions overrates whoever is undecided."""

    goal: ClassVar[str] = "Go right, and right again."
    first: ClassVar[str] = "You stand at a crossing."
    turns: int = 2

    def after(self, words: Sequence[str]) -> Turn:
        """See `Game`."""
        won = list(words) == ["right", "right"]
        return Turn(float(won), f"You went {', '.join(words)}.", len(words) == self.turns)


@dataclass(frozen=True)
class Walk:
    """Pays 1 / turns for every `yes` and never ends by itself: episodes are cut by the step limit."""

    goal: ClassVar[str] = "Say yes as often as you can."
    first: ClassVar[str] = "Yes or no?"
    turns: int = 200

    def after(self, words: Sequence[str]) -> Turn:
        """See `Game`."""
        return Turn(float(words[-1] == "yes") / self.turns, f"You said {words[-1]}. Yes or no?", False)


@dataclass(frozen=True)
class Log:
    """Writes the episodes of one game by one writer."""

    game: Game
    writer: Writer
    rng: np.random.Generator = field(default_factory=lambda: rng_for("specimen"))

    def drawn(self, n: int) -> LoggedDataset:
        """`n` episodes drawn at random."""
        return self._dataset([self._draw() for _ in range(n)])

    def exact(self, n: int) -> LoggedDataset:
        """`n` episodes in which every sequence of words occurs exactly as often as it is probable.

        Raises:
            ValueError: it cannot occur that often in `n` episodes, half of them on each instance.
        """
        sequences: list[tuple[str, ...]] = []
        for words, probability in endings(self.game, self.writer):
            count = n * probability
            if count != round(count) or round(count) % len(INSTANCES):
                raise ValueError(f"{words} would occur {count} times in {n} episodes; choose another n.")
            sequences += [words] * round(count)
        return self._dataset(sequences)

    def _draw(self) -> tuple[str, ...]:
        words: tuple[str, ...] = ()
        while not words or (len(words) < self.game.turns and not self.game.after(words).over):
            words += (self.writer.write(self.rng).partition("#")[0],)
        return words

    def _dataset(self, sequences: Sequence[tuple[str, ...]]) -> LoggedDataset:
        episodes = tuple(self._episode(i, words) for i, words in enumerate(sequences))
        return LoggedDataset("specimen", (self.writer.name,), 1.0, self.game.turns, episodes)

    def _episode(self, i: int, words: tuple[str, ...]) -> Trajectory:
        turns = [self.game.after(words[: t + 1]) for t in range(len(words))]
        seen = [self.game.first] + [turn.observation for turn in turns]
        steps = []
        for t, word in enumerate(words):
            text = self.writer.finish(word, self.rng)
            logp = self.writer.log_prob(text)
            steps.append(Step(seen[t], text, turns[t].reward, (*text.encode(), 0), logp, (logp,)))
        over = turns[-1].over
        return Trajectory(
            f"{i}",
            INSTANCES[i % len(INSTANCES)],
            self.game.goal,
            tuple(steps),
            seen[-1],
            over,
            not over,
            self.writer.name,
        )


def endings(game: Game, writer: Writer, words: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], float]]:
    """Every sequence of words that ends an episode, with its probability (letters left out)."""
    if words and (len(words) == game.turns or game.after(words).over):
        return [(words, 1.0)]
    return [
        (longer, p * rest)
        for word, p in writer.words.items()
        if p
        for longer, rest in endings(game, writer, (*words, word))
    ]


def value(game: Game, writer: Writer) -> float:
    """The exact value of a writer: expected sum of rewards, by enumeration."""
    return sum(
        p * sum(game.after(words[: t + 1]).reward for t in range(len(words))) for words, p in endings(game, writer)
    )


def without_propensities(data: LoggedDataset) -> LoggedDataset:
    """The same log, as people have it who did not record log-probabilities."""
    return _with_steps(data, lambda step: replace(step, behavior_logp=None, logger_logps=None))


def with_rewards_times(data: LoggedDataset, factor: float) -> LoggedDataset:
    """The same log in another currency."""
    return _with_steps(data, lambda step: replace(step, reward=factor * step.reward))


def _with_steps(data: LoggedDataset, change) -> LoggedDataset:
    return data.with_trajectories(replace(t, steps=tuple(map(change, t.steps))) for t in data.trajectories)
