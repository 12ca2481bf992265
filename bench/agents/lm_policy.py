"""An agent: a language model with a temperature, mixed with uniform exploration over a finite list of actions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import cached_property

import numpy as np
import torch

from bench.agents.language_model import KeyValueBatch, LanguageModel
from bench.agents.next_actions import Place, sample_at
from bench.agents.white_box import Lookahead, WhiteBox, ahead_generators, lookahead
from bench.data import Trajectory
from bench.policy import Decision, Observation, SoftObservation
from bench.rng import rng_for

Explore = Callable[[str, Sequence[str]], Sequence[str]]
"""(goal, observations so far) -> the finite list of actions of the uniform part."""


class LMPolicy:
    """A language-model agent behind the `Policy` protocol.

    With probability epsilon an action is drawn uniformly from `explore(goal, observations)`, otherwise written by the
    model at the given temperature. The log-probability is that of the mixture over whole actions: token sequences,
    end marker included (a logsumexp, since both parts can produce the same action).

    Args:
        temperature: 1 samples from the model as trained; smaller is greedier.
        epsilon: weight of the uniform part, in [0, 1].
        explore: needed where epsilon > 0; must depend on goal and transcript alone.
    """

    def __init__(
        self,
        name: str,
        lm: LanguageModel,
        temperature: float = 1.0,
        epsilon: float = 0.0,
        explore: Explore | None = None,
    ):
        if temperature <= 0 or not 0 <= epsilon <= 1:
            raise ValueError(f"policy {name!r}: temperature {temperature} must be > 0 and epsilon {epsilon} in [0, 1]")
        if epsilon > 0 and explore is None:
            raise ValueError(f"policy {name!r}: epsilon {epsilon} needs a list of actions to explore")
        self.name, self.lm, self.temperature, self.epsilon, self.explore = name, lm, temperature, epsilon, explore

    def log_prob_episodes(self, trajectories: Sequence[Trajectory]) -> list[np.ndarray]:
        """See `Policy`; one forward pass per episode."""
        scores = self.lm.action_log_probs(trajectories, [self.temperature])
        return [self.mixture(t, s[0]) for t, s in zip(trajectories, scores, strict=True)]

    def mixture(self, trajectory: Trajectory, model_logp: np.ndarray) -> np.ndarray:
        """(T,) log-probabilities under the mixture, from those under the model at this temperature."""
        if self.epsilon == 0:
            return model_logp
        seen = [s.observation for s in trajectory.steps]
        uniform = [
            self.uniform_log_prob(trajectory.goal, seen[: t + 1], step.action, step.action_tokens)
            for t, step in enumerate(trajectory.steps)
        ]
        return np.logaddexp(_log(1 - self.epsilon) + model_logp, _log(self.epsilon) + np.array(uniform))

    def uniform_log_prob(self, goal: str, seen: Sequence[str], action: str, tokens: Sequence[int] | None) -> float:
        """Log-probability of these tokens under the uniform part, which writes canonical tokens only."""
        options = self.explore(goal, seen)
        canonical = self.lm.transcript.action(action)
        if action not in options or (tokens is not None and tuple(tokens) != canonical):
            return -math.inf
        return -math.log(len(options))

    def next_actions(self, trajectories: Sequence[Trajectory], n: int, seed: int) -> list[list[tuple[str, ...]]]:
        """See `Policy`. Steps that share their whole past are sampled once and share their samples."""
        return self.explored(trajectories, self.written_actions(trajectories, n, seed), seed)

    def written_actions(self, trajectories: Sequence[Trajectory], n: int, seed: int) -> list[list[tuple[str, ...]]]:
        """What `next_actions` would be without exploration: policies that differ in epsilon alone share it."""
        owner, representative = _places(trajectories)
        wanted: dict[int, list[Place]] = {}
        nodes: dict[int, list[int]] = {}
        for node, (i, t) in enumerate(representative):
            rngs = tuple(rng_for("next action", seed, trajectories[i].id, t, j) for j in range(n))
            wanted.setdefault(i, []).append(Place(t, rngs))
            nodes.setdefault(i, []).append(node)
        sampled: dict[int, tuple[str, ...]] = {}
        order = sorted(wanted, key=lambda i: (len(wanted[i]), len(trajectories[i])))
        for start in range(0, len(order), 16):
            part = order[start : start + 16]
            drawn = sample_at(self.lm, [trajectories[i] for i in part], [wanted[i] for i in part], self.temperature)
            sampled |= {
                node: x for i, row in zip(part, drawn, strict=True) for node, x in zip(nodes[i], row, strict=True)
            }
        return [[sampled[node] for node in mine] for mine in owner]

    def explored(
        self, trajectories: Sequence[Trajectory], written: list[list[tuple[str, ...]]], seed: int
    ) -> list[list[tuple[str, ...]]]:
        """Replaces written actions by uniform ones with probability epsilon, alike where the whole past is shared."""
        if self.epsilon == 0:
            return written
        owner, representative = _places(trajectories)
        final = []
        for i, t in representative:
            rng = rng_for("explore", seed, trajectories[i].id, t)
            options = self.explore(trajectories[i].goal, [s.observation for s in trajectories[i].steps[: t + 1]])
            final.append(
                tuple(
                    options[int(rng.integers(len(options)))] if rng.random() < self.epsilon else x
                    for x in written[i][t]
                )
            )
        return [[final[node] for node in mine] for mine in owner]

    @cached_property
    def white_box(self) -> WhiteBox:
        """See `WhiteBoxPolicy`."""
        return WhiteBox(self.lm)

    def start(self, goals: Sequence[str], seeds: Sequence[int]) -> LMSession:
        """See `Policy`."""
        return LMSession(self, goals, seeds)


class LMSession:
    """A batch of live episodes; the key-value cache is kept across turns."""

    def __init__(self, policy: LMPolicy, goals: Sequence[str], seeds: Sequence[int]):
        self.policy = policy
        self.goals = list(goals)
        self.rngs = [np.random.default_rng(s) for s in seeds]
        self.ahead = ahead_generators(seeds)
        self.seen: list[list[str]] = [[] for _ in goals]
        self.live = list(range(len(goals)))
        self.pending: list[tuple[int, ...]] = [policy.lm.transcript.opening(g) for g in goals]
        self.batch = KeyValueBatch(policy.lm, len(goals))

    def step(self, observations: Sequence[Observation | None]) -> list[Decision | None]:
        """See `PolicySession`; soft observations are read as the vectors they are."""
        still = [k for k, row in enumerate(self.live) if observations[row] is not None]
        if len(still) < len(self.live):
            self.batch.keep(still)
            self.live = [self.live[k] for k in still]
        decisions: list[Decision | None] = [None] * len(self.goals)
        if not self.live:
            return decisions
        for row in self.live:
            shown = observations[row]
            self.seen[row].append(shown.text if isinstance(shown, SoftObservation) else shown)
        self.batch.read([self._chunk(row, observations[row]) for row in self.live])
        written = self.batch.write([self.rngs[row] for row in self.live], self.policy.temperature)
        for row, (tokens, logp) in zip(self.live, written, strict=True):
            decisions[row] = decision = self._decide(row, tuple(tokens), logp)
            self.pending[row] = self.policy.lm.transcript.closed(decision.tokens)
        return decisions

    def lookahead(self) -> AbstractContextManager[Lookahead]:
        """See `WhiteBoxPolicy`."""
        return lookahead(self)

    def _chunk(self, row: int, shown: Observation) -> Sequence[int] | torch.Tensor:
        """What is read before the next action: token ids, or (L, d) embeddings."""
        if not isinstance(shown, SoftObservation):
            return self.pending[row] + self.policy.lm.transcript.turn(shown)
        lm, marks = self.policy.lm, self.policy.lm.transcript.marks
        before, after = lm.embedded([*self.pending[row], *marks.before]), lm.embedded(marks.after)
        return torch.cat([before, shown.vectors.to(before), after]).detach()

    def _decide(self, row: int, tokens: tuple[int, ...], model_logp: float) -> Decision:
        """Applies the exploration part of the mixture to what the model wrote."""
        policy, transcript, rng = self.policy, self.policy.lm.transcript, self.rngs[row]
        if policy.epsilon == 0:
            return Decision(transcript.decode(tokens), model_logp, tokens)
        goal, seen = self.goals[row], self.seen[row]
        if rng.random() < policy.epsilon:
            options = policy.explore(goal, seen)
            text = options[int(rng.integers(len(options)))]
            tokens = transcript.action(text)
            model_logp = self._model_logp(row, tokens)
        text = transcript.decode(tokens)
        uniform = policy.uniform_log_prob(goal, seen, text, tokens)
        logp = np.logaddexp(_log(1 - policy.epsilon) + model_logp, _log(policy.epsilon) + uniform)
        return Decision(text, float(logp), tokens)

    def _model_logp(self, row: int, tokens: tuple[int, ...]) -> float:
        """Log-probability of given tokens at the current point of one row."""
        return self.batch.score(self.live.index(row), tokens, self.policy.temperature)


def _places(trajectories: Sequence[Trajectory]) -> tuple[list[list[int]], list[tuple[int, int]]]:
    """Steps by their whole past: for each step the number of its past, and for each past the first step that has it."""
    known: dict[tuple, int] = {}
    owner: list[list[int]] = []
    representative: list[tuple[int, int]] = []
    for i, trajectory in enumerate(trajectories):
        path: tuple = (trajectory.instance, trajectory.goal)
        mine = []
        for t, step in enumerate(trajectory.steps):
            path = (hash(path), step.observation)
            node = known.setdefault(path, len(known))
            if node == len(representative):
                representative.append((i, t))
            mine.append(node)
            path = (hash(path), step.action, step.action_tokens)
        owner.append(mine)
    return owner, representative


def _log(x: float) -> float:
    return math.log(x) if x > 0 else -math.inf
