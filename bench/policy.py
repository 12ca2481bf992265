"""What an agent under evaluation must offer: score logged episodes, and act in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from bench.data import Step, Trajectory


@dataclass(frozen=True, slots=True)
class Context:
    """Everything a policy may look at: the goal, past (observation, action) pairs, the current observation."""

    goal: str
    history: tuple[tuple[str, str], ...]
    observation: str


@dataclass(frozen=True, slots=True)
class Decision:
    """An action as sampled.

    Attributes:
        action: the text.
        log_prob: log-probability of the whole action, end marker included, under the sampling distribution.
        tokens: its token ids, end marker included; None for policies that do not write tokens.
    """

    action: str
    log_prob: float
    tokens: tuple[int, ...] | None = None


class PolicySession(Protocol):
    """A batch of episodes in progress; the policy keeps its own memory of each (its key-value cache)."""

    def step(self, observations: Sequence[str | None]) -> list[Decision | None]:
        """Shows each live episode its next observation and returns its next action.

        Args:
            observations: one per episode, in the order of `start`; None for an episode that is over (for good).

        Returns:
            One decision per episode; None where the observation was None.
        """


@dataclass(frozen=True, slots=True)
class SoftObservation:
    """An observation that a white-box agent reads as vectors instead of words.

    Attributes:
        text: the nearest words, for whatever else looks at an observation (lists of actions to explore, records).
        vectors: (K, d) tensor in the place of token embeddings.
    """

    text: str
    vectors: Any


Observation = str | SoftObservation


@runtime_checkable
class Policy(Protocol):
    """An agent. Text in, text out; log-probabilities are of what it really samples from."""

    name: str

    def log_prob_episodes(self, trajectories: Sequence[Trajectory]) -> list[np.ndarray]:
        """Log-probability of every logged action given its own past.

        Returns:
            For each trajectory a (T_i,) float array; -inf where the policy never takes the action.
        """

    def next_actions(self, trajectories: Sequence[Trajectory], n: int, seed: int) -> list[list[tuple[str, ...]]]:
        """At every logged step, `n` actions the policy would sample there.

        Returns:
            For each trajectory, for each of its T_i steps, a tuple of `n` actions.
        """

    def start(self, goals: Sequence[str], seeds: Sequence[int]) -> PolicySession:
        """Begins one episode per goal. An episode's actions depend on its own seed only, not on its batch."""


class WhiteBoxPolicy(Policy, Protocol):
    """An agent whose inside is open: a capability that is tested for with `opened`, never assumed.

    Attributes:
        white_box: its embedding table and differentiable log-probabilities (`bench.agents.white_box.WhiteBox`).

    Its sessions read `SoftObservation` too, and offer `lookahead()`: a context in which the next turn is tried out.
    """

    white_box: Any


def opened(policy: Policy) -> WhiteBoxPolicy | None:
    """The white-box agent behind a policy, or None. A recorded policy is opened by loading its model."""
    inner = getattr(policy, "live", policy)
    return inner if hasattr(inner, "white_box") else None


def log_prob(policy: Policy, contexts: Sequence[Context], actions: Sequence[str]) -> np.ndarray:
    """(B,) log-probability of one action per context; a thin wrapper around `log_prob_episodes`."""
    episodes = [_episode(i, c, a) for i, (c, a) in enumerate(zip(contexts, actions, strict=True))]
    return np.array([values[-1] for values in policy.log_prob_episodes(episodes)])


def sample(policy: Policy, contexts: Sequence[Context], seed: int) -> list[str]:
    """One action per context; a thin wrapper around `next_actions`."""
    episodes = [_episode(i, c, "") for i, c in enumerate(contexts)]
    return [actions[-1][0] for actions in policy.next_actions(episodes, 1, seed)]


def _episode(i: int, context: Context, action: str) -> Trajectory:
    steps = [Step(o, a, 0.0) for o, a in context.history] + [Step(context.observation, action, 0.0)]
    return Trajectory(str(i), "", context.goal, tuple(steps))
