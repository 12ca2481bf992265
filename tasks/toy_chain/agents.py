"""Tabular agents: a softmax over five actions, looked up by the goal's color and the last two observations."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.data import Trajectory
from bench.errors import BenchError
from bench.policy import Decision
from bench.rng import rng_for
from tasks.toy_chain.world import ACTIONS

COLORS = ("red", "blue")
EVENTS = ("You are in", "You slip", "You find a key", "You find nothing", "That does not work")
KINDS = 2 * len(EVENTS) + 1
"""An observation is one of five events, with or without the doors in sight, or (the last kind) none of these."""
UNKNOWN = KINDS - 1
_GO, _SEARCH, _RED, _BLUE, _LEAVE = range(len(ACTIONS))
_CODE = {action: i for i, action in enumerate(ACTIONS)}


@functools.cache
def kind_of(observation: str) -> int:
    """The row an observation is looked up in; any text has one."""
    for i, event in enumerate(EVENTS):
        if observation.startswith(event):
            return 2 * i + ("door and" in observation)
    return UNKNOWN


@functools.cache
def color_of(goal: str) -> int:
    """Index of the color the goal asks for; len(COLORS) where it names none."""
    return next((i for i, color in enumerate(COLORS) if f"the {color} door" in goal), len(COLORS))


def sensible_scores() -> np.ndarray:
    """How sensible each action is: (color + none, previous kind, kind, action), between -1 and 1."""
    score = np.zeros((len(COLORS) + 1, KINDS, KINDS, len(ACTIONS)))
    score[..., _LEAVE] = -1
    for previous in range(KINDS):
        for kind in range(KINDS):
            key = 2 in (previous // 2, kind // 2) and kind != UNKNOWN
            event, doors = kind // 2, kind % 2 == 1
            row = score[:, previous, kind]
            row[:, [_RED, _BLUE]] = -1
            if doors:
                row[:, _SEARCH] = 0.0 if key else 0.7
                row[:, _GO] = -0.5
                for color, action in enumerate((_RED, _BLUE)):
                    row[color, action] = 1.0 if key else 0.6
                row[len(COLORS), [_RED, _BLUE]] = 0.5
            else:
                row[:, _GO] = 1.0 if key or event == 1 else 0.4
                row[:, _SEARCH] = -0.5 if key else (0.3 if event == 3 else 0.8)
    return score


@dataclass(frozen=True)
class Temper:
    """What makes one agent differ from another.

    Attributes:
        sharpness: weight of the sensible scores; 0 ignores them, negative acts against them.
        bias: added to the logits of go on, search, open red, open blue, leave.
        noise: standard deviation of a fixed random table added to the logits.
        mix: which random table.
        reads: "goal" reads the goal's color, "nothing" ignores it, "reversed" takes it for the other one.
        never: actions it never takes.
        epsilon: share of turns on which it takes any of the five actions, all equally likely, instead.
    """

    sharpness: float
    bias: tuple[float, float, float, float, float] = (0, 0, 0, 0, 0)
    noise: float = 0.3
    mix: str = "a"
    reads: str = "goal"
    never: tuple[str, ...] = ()
    epsilon: float = 0.0


def log_table(temper: Temper) -> np.ndarray:
    """(color + none, previous kind, kind, action) log-probabilities; -inf outside the support."""
    score = sensible_scores()
    noise = rng_for("toy_chain", "table", temper.mix).standard_normal(score.shape)
    logits = temper.sharpness * score + np.array(temper.bias) + temper.noise * noise
    logits = logits[{"goal": [0, 1, 2], "nothing": [2, 2, 2], "reversed": [1, 0, 2]}[temper.reads]]
    logits[..., [_CODE[action] for action in temper.never]] = -np.inf
    table = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    if temper.epsilon == 0:
        return table
    rest = np.log1p(-temper.epsilon) if temper.epsilon < 1 else -np.inf
    return np.logaddexp(table + rest, np.log(temper.epsilon / len(ACTIONS)))


class TabularPolicy:
    """A text policy given by a table (`log_table`); implements `bench.policy.Policy`."""

    def __init__(self, name: str, table: np.ndarray):
        self.name = name
        self.table = table
        cumulative = np.cumsum(np.exp(table), axis=-1)
        self._cumulative = cumulative / cumulative[..., -1:]

    def log_prob_episodes(self, trajectories: Sequence[Trajectory]) -> list[np.ndarray]:
        """One (T_i,) array each; -inf for any text that is not one of the actions it takes."""
        if not trajectories:
            return []
        rows = self._rows(trajectories)
        action = np.array([_CODE.get(s.action, -1) for t in trajectories for s in t.steps])
        values = np.where(action >= 0, self.table[(*rows, action)], -np.inf)
        return np.split(values, np.cumsum([len(t) for t in trajectories])[:-1])

    def next_actions(self, trajectories: Sequence[Trajectory], n: int, seed: int) -> list[list[tuple[str, ...]]]:
        """`n` actions at every logged step; those of an episode depend on `seed` and its id, not on the batch."""
        if not trajectories:
            return []
        draws = [rng_for(seed, t.id).random((len(t), n)) for t in trajectories]
        cumulative = self._cumulative[self._rows(trajectories)]  # (steps, actions)
        chosen = (np.concatenate(draws)[:, :, None] >= cumulative[:, None, :]).sum(axis=2)  # (steps, n)
        texts = iter([tuple(ACTIONS[a] for a in row) for row in chosen])
        return [[next(texts) for _ in t.steps] for t in trajectories]

    def start(self, goals: Sequence[str], seeds: Sequence[int]) -> TabularSession:
        """Begins one episode per goal; each has its own random stream, determined by its seed."""
        return TabularSession(self, goals, seeds)

    def decide(self, color: int, previous: int, kind: int, draw: float) -> Decision:
        """The action that a uniform number in [0, 1) selects."""
        action = int((draw >= self._cumulative[color, previous, kind]).sum())
        return Decision(ACTIONS[action], float(self.table[color, previous, kind, action]))

    def _rows(self, trajectories: Sequence[Trajectory]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Table row of every step: color, previous kind, kind, each (steps,)."""
        color = [color_of(t.goal) for t in trajectories for _ in t.steps]
        kinds = [[UNKNOWN] + [kind_of(s.observation) for s in t.steps] for t in trajectories]
        previous = [k for row in kinds for k in row[:-1]]
        return np.array(color, int), np.array(previous, int), np.array([k for row in kinds for k in row[1:]], int)


class TabularSession:
    """A batch of episodes in progress."""

    def __init__(self, policy: TabularPolicy, goals: Sequence[str], seeds: Sequence[int]):
        if len(goals) != len(seeds):
            raise BenchError(f"start was given {len(goals)} goals and {len(seeds)} seeds; give one seed per goal.")
        self._policy = policy
        self._color = [color_of(goal) for goal in goals]
        self._previous = [UNKNOWN] * len(goals)
        self._rng = [np.random.default_rng(seed) for seed in seeds]
        self._over = [False] * len(goals)

    def step(self, observations: Sequence[str | None]) -> list[Decision | None]:
        """One decision per episode; None where the observation is None, for good.

        Raises:
            BenchError: the number of observations is not the number of episodes, or an episode that is over goes on.
        """
        if len(observations) != len(self._over):
            raise BenchError(f"step was given {len(observations)} observations for {len(self._over)} episodes.")
        return [None if o is None else self._act(i, o) for i, o in enumerate(self._close(observations))]

    def _close(self, observations: Sequence[str | None]) -> Sequence[str | None]:
        for i, observation in enumerate(observations):
            if self._over[i] and observation is not None:
                raise BenchError(f"episode {i} was over and cannot go on; start a new session.")
            self._over[i] = observation is None
        return observations

    def _act(self, i: int, observation: str) -> Decision:
        kind = kind_of(observation)
        decision = self._policy.decide(self._color[i], self._previous[i], kind, self._rng[i].random())
        self._previous[i] = kind
        return decision
