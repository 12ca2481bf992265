"""The environment: a short chain of rooms, a hidden key, two doors at the end. Small enough to enumerate.

What an observation shows is not the state: a key found two turns ago is no longer mentioned, and a second search of the
same room is likelier to succeed than the first. The distribution of what follows therefore depends on the history.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.errors import DataError

HORIZON = 6
ACTIONS = ("go on", "search the room", "open the red door", "open the blue door", "leave")
KEY_REWARD = 0.1
DOOR_REWARD = 0.9
SECOND_SEARCH = 0.9
"""Probability that a repeated search of the room that hides the key finds it."""


@dataclass(frozen=True)
class Instance:
    """One house. `find`: probability that a first search finds the key. `slip`: that a step forward fails."""

    name: str
    house: str
    rooms: tuple[str, ...]
    key_room: int
    color: str
    find: float
    slip: float

    @property
    def goal(self) -> str:
        """What the agent is told; unique among instances."""
        return f"Find the key and open the {self.color} door of the {self.house}."


@dataclass(frozen=True)
class State:
    """What the house knows: where the agent is, whether it holds the key, whether it has searched this room."""

    room: int = 0
    key: bool = False
    searched: bool = False


@dataclass(frozen=True)
class Outcome:
    """One thing that may follow an action."""

    probability: float
    observation: str
    reward: float
    terminated: bool


INSTANCES = (
    Instance("mill", "old mill", ("porch", "store"), 0, "red", 0.8, 0.0),
    Instance("farm", "farm", ("yard", "barn"), 0, "blue", 0.6, 0.2),
    Instance("tower", "tower", ("hall", "stairs"), 1, "red", 0.7, 0.1),
    Instance("inn", "inn", ("bar", "kitchen"), 1, "blue", 1.0, 0.3),
    Instance("abbey", "abbey", ("gate", "cloister", "crypt"), 0, "red", 0.9, 0.1),
    Instance("castle", "castle", ("gate", "court", "hall"), 1, "blue", 0.8, 0.0),
    Instance("school", "school", ("yard", "hall", "library"), 2, "red", 1.0, 0.0),
    Instance("villa", "villa", ("porch", "hall", "attic"), 1, "blue", 0.5, 0.2),
    Instance("depot", "depot", ("office", "store"), 0, "blue", 0.5, 0.4),
    Instance("lodge", "lodge", ("porch", "kitchen"), 1, "red", 0.6, 0.0),
)
_BY_NAME = {i.name: i for i in INSTANCES}
_BY_GOAL = {i.goal: i for i in INSTANCES}


def instance_named(name: str) -> Instance:
    """The instance of this name.

    Raises:
        DataError: there is none.
    """
    if name not in _BY_NAME:
        raise DataError(f"toy_chain has no instance {name!r}; it has {', '.join(_BY_NAME)}.")
    return _BY_NAME[name]


def first_observation(instance: Instance) -> str:
    """What every episode of this instance begins with."""
    return _describe("You are", instance, 0)


@functools.cache
def transitions(instance: Instance, state: State, action: str) -> tuple[tuple[Outcome, State], ...]:
    """Every outcome of an action in a state, with the state it leads to; probabilities are positive and sum to 1."""
    room, last = state.room, state.room == len(instance.rooms) - 1
    if action == "leave":
        return ((Outcome(1.0, "You walk away.", 0.0, True), state),)
    if action == "go on" and not last:
        moved = Outcome(1 - instance.slip, _describe("You are", instance, room + 1), 0.0, False)
        slipped = Outcome(instance.slip, _describe("You slip and stay", instance, room), 0.0, False)
        return _possible((moved, State(room + 1, state.key)), (slipped, state))
    if action == "search the room":
        return _search(instance, state)
    if action in ACTIONS and action.startswith("open"):
        right = last and state.key and action == f"open the {instance.color} door"
        text = "The door opens. You are done." if right else "An alarm rings. You are thrown out."
        return ((Outcome(1.0, text, DOOR_REWARD if right else 0.0, True), state),)
    return ((Outcome(1.0, _describe("That does not work", instance, room), 0.0, False), state),)


def kernel(goal: str, history: Sequence[tuple[str, str]], observation: str, action: str) -> tuple[Outcome, ...]:
    """The exact distribution of (observation, reward, terminated) after an action, given everything seen so far.

    Args:
        goal: goal text of the episode.
        history: past (observation, action) pairs, oldest first.
        observation: the current observation.
        action: any text; what the house does not understand does not work, but takes a turn.

    Raises:
        DataError: the goal belongs to no instance, or the history cannot happen there.
    """
    instance, state = replay(goal, history, observation)
    return tuple(outcome for outcome, _ in transitions(instance, state, action))


def replay(goal: str, history: Sequence[tuple[str, str]], observation: str) -> tuple[Instance, State]:
    """The instance and the hidden state, which the history determines.

    Raises:
        DataError: the goal belongs to no instance, or the history cannot happen there.
    """
    if goal not in _BY_GOAL:
        raise DataError(f"toy_chain has no instance with the goal {goal!r}.")
    instance, state = _BY_GOAL[goal], State()
    seen = [o for o, _ in history] + [observation]
    if seen[0] != first_observation(instance):
        raise DataError(f"toy_chain, instance {instance.name!r}: an episode cannot begin with {seen[0]!r}.")
    for t, (_, action) in enumerate(history):
        after = [
            s for o, s in transitions(instance, state, action) if o.observation == seen[t + 1] and not o.terminated
        ]
        if not after:
            raise DataError(
                f"toy_chain, instance {instance.name!r}, step {t}: {seen[t + 1]!r} cannot follow {action!r}."
            )
        state = after[0]
    return instance, state


class ToyChainEnvironment:
    """One live episode at a time (`bench.task.Environment`); the step limit is the recorder's."""

    def __init__(self, rng: np.random.Generator):
        self._rng = rng
        self._instance = INSTANCES[0]
        self._state: State | None = None

    def reset(self, instance: str) -> tuple[str, str]:
        """Starts an instance; returns goal and first observation."""
        self._instance, self._state = instance_named(instance), State()
        return self._instance.goal, first_observation(self._instance)

    def step(self, action: str) -> tuple[str, float, bool]:
        """Returns observation, reward, terminated.

        Raises:
            DataError: no episode is in progress.
        """
        if self._state is None:
            raise DataError("toy_chain: step was called with no episode in progress; call reset first.")
        options = transitions(self._instance, self._state, action)
        draw, i = self._rng.random(), 0
        while i < len(options) - 1 and draw >= options[i][0].probability:
            draw -= options[i][0].probability
            i += 1
        outcome, state = options[i]
        self._state = None if outcome.terminated else state
        return outcome.observation, outcome.reward, outcome.terminated

    def close(self) -> None:
        """Ends the episode in progress."""
        self._state = None


def _search(instance: Instance, state: State) -> tuple[tuple[Outcome, State], ...]:
    here = not state.key and state.room == instance.key_room
    chance = (SECOND_SEARCH if state.searched else instance.find) if here else 0.0
    found = Outcome(chance, _describe("You find a key", instance, state.room), KEY_REWARD, False)
    nothing = Outcome(1 - chance, _describe("You find nothing", instance, state.room), 0.0, False)
    return _possible((found, State(state.room, True, True)), (nothing, State(state.room, state.key, True)))


def _possible(*options: tuple[Outcome, State]) -> tuple[tuple[Outcome, State], ...]:
    return tuple(option for option in options if option[0].probability > 0)


def _describe(event: str, instance: Instance, room: int) -> str:
    doors = " Before you are a red door and a blue door." if room == len(instance.rooms) - 1 else ""
    return f"{event} in the {instance.rooms[room]}.{doors}"
