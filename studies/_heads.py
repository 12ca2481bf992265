"""What a fitted world model says of reward and ending at real logged steps: after what really followed, and after what
it generates there itself. Every step is taken from its real past; nothing accumulates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.agents.transcript import OBS
from bench.data import Trajectory
from estimators._autoregressive.ragged_cache import RaggedCache
from estimators._autoregressive.text_world import TextWorld
from estimators._autoregressive.training import TextBatch
from estimators._autoregressive.writing import Line, write
from estimators._joint.clamped import ClampedWindows
from estimators._joint.rollout import Live
from estimators._world.bank import as_generator
from estimators._world.base import SimulationEstimator
from estimators._world.diffusion_world import DiffusionWorld, Guidance
from estimators._world.latent_world import Episodes, LatentWorld, Transition
from estimators._world.layers import Caches, unit
from estimators._world.logged_world import LoggedWorld
from estimators._world.reader import LatentReader
from estimators._world.world import Start
from studies._worlds import clamped, start_of

_ROWS = 48
"""Transcripts written at a time."""


@dataclass(frozen=True)
class Heads:
    """(S,) expected rewards and probabilities of ending at S logged steps, episode by episode.

    Where a model draws endings without saying how likely they were (joint diffusion, retrieval), these are 0 or 1.
    """

    reward: np.ndarray
    ending: np.ndarray


@dataclass(frozen=True)
class LoggedSteps:
    """The S steps of one real episode, as a latent world model sees them: each after its real past.

    Attributes:
        live: S episodes of which each has come to one of the steps. z, after: (S, latent) before and after.
        action: (S, action) vectors. done: (S, past) history after the action. reward: (S,). ended: (S,) bool.
    """

    live: Episodes
    z: Tensor
    after: Tensor
    action: Tensor
    done: Tensor
    reward: Tensor
    ended: Tensor


def logged_steps(reader: LatentReader, t: Trajectory) -> LoggedSteps:
    """The steps of an episode; a last observation that was not recorded counts as an empty text."""
    z = reader.observations([(t.goal, s.observation) for s in t.steps] + [(t.goal, t.final_observation or "")])
    action = reader.actions([(t.goal, s.action) for s in t.steps])
    goal = reader.about([(t.instance, t.goal)])
    past, done = (x[0] for x in reader.model.past(z[None, :-1], action[None], goal))
    live = Episodes(list(range(len(t))), z[:-1], goal.expand(len(t), -1), past, Caches())
    ended = torch.zeros(len(t), dtype=torch.bool)
    ended[-1] = t.terminated
    return LoggedSteps(live, z[:-1], z[1:], action, done, torch.tensor(t.rewards, dtype=torch.float32), ended)


def observed(episodes: Sequence[Trajectory]) -> Heads:
    """What really came of the steps."""
    ending = [float(t.terminated and k == len(t) - 1) for t in episodes for k in range(len(t))]
    return Heads(np.concatenate([t.rewards for t in episodes]), np.array(ending))


@torch.no_grad()
def heads(
    estimator: SimulationEstimator, episodes: Sequence[Trajectory], soft: bool, rng: np.random.Generator
) -> tuple[Heads | None, Heads]:
    """Predictions of a fitted estimator at every step of episodes that it has not seen.

    Args:
        soft: whether a generated latent goes on as it is (soft tokens) or as the text retrieved for it. Neither scale
            of guidance has a part here (omega = 1, eta = 0): the agents that acted were others.

    Returns:
        After the real observation, None for models that do not look at one; and after the model's own.
    """
    if estimator.name == "joint_diffusion":
        return None, _windows(clamped(estimator), episodes, rng)
    world = _unguided(estimator, soft)
    if isinstance(world, LatentWorld):
        return _latent(world, episodes, soft, rng)
    if isinstance(world, TextWorld):
        return _text_real(world, episodes), _text_generated(world, episodes, rng)
    return None, _retrieved(world, episodes, rng)


def _unguided(estimator: SimulationEstimator, soft: bool):
    if not hasattr(estimator, "eta"):
        return estimator.world(None)
    fit = estimator.soft_fit() if soft else estimator.fit_  # other heads may judge what an agent reads as it is
    return DiffusionWorld(fit, estimator.fitted_data(), Guidance(1.0, 0.0), estimator.sampler_steps, None)


def _latent(
    world: LatentWorld, episodes: Sequence[Trajectory], soft: bool, rng: np.random.Generator
) -> tuple[Heads, Heads]:
    model, reader, generator = world.model, world.reader, as_generator(rng)
    found: list[list[tuple[Tensor, Tensor]]] = [[], []]
    for t in episodes:
        steps = logged_steps(reader, t)
        drawn = world.draw(Transition(model, steps.live, steps.done, steps.action), generator)
        if soft:
            own = unit(drawn)
        else:
            texts = world.bank.nearest(drawn, [t.instance] * len(t), [s.action for s in t.steps])
            own = reader.observations([(t.goal, text) for text in texts])
        for part, after in zip(found, (steps.after, own), strict=True):
            part.append(model.events(steps.z, steps.action, after, steps.live.past, steps.done))
    real, generated = (_answers(model, part) for part in found)
    return _corrected(world, episodes, real), _corrected(world, episodes, generated)


def _corrected(world: LatentWorld, episodes: Sequence[Trajectory], said: Heads) -> Heads:
    """What the world itself would pay, where it does not leave that to the heads."""
    if world.new_actions is None:
        return said
    instances, actions = zip(*((t.instance, s.action) for t in episodes for s in t.steps), strict=True)
    reward = world.new_actions.corrected(instances, actions, torch.from_numpy(said.reward)).numpy()
    return Heads(reward, said.ending)


def _answers(model, logits: Sequence[tuple[Tensor, Tensor]]) -> Heads:
    """Of the heads of a model, which both kinds share."""
    reward = torch.cat([model.expected_reward(r) for r, _ in logits])
    return Heads(reward.double().numpy(), torch.cat([e for _, e in logits]).double().sigmoid().numpy())


def _text_real(world: TextWorld, episodes: Sequence[Trajectory]) -> Heads:
    found = []
    for t in episodes:
        for segment in world.language.segments(t):
            batch = TextBatch.of([segment])
            found.append(world.model.events(world.model.read(batch.ids)[batch.row, batch.place]))
    return _answers(world.model, found)


def _text_generated(world: TextWorld, episodes: Sequence[Trajectory], rng: np.random.Generator) -> Heads:
    language, found = world.language, []
    steps = [(t, k) for t in episodes for k in range(len(t))]
    for begin in range(0, len(steps), _ROWS):
        part = steps[begin : begin + _ROWS]
        uniform = rng.random((len(part), language.cap))
        lines = []
        for row, (t, k) in enumerate(part):
            step = t.steps[k]
            guess = world.guesses.first(t.goal, step.observation, step.action)
            lines.append(Line(row, _transcript(world, t, k), guess, uniform[row], []))
        states = write(world.model, RaggedCache(world.model, len(part)), lines, world.guesses.rest)
        found.append(world.model.events(states))
    return _answers(world.model, found)


def _transcript(world: TextWorld, t: Trajectory, k: int) -> list[int]:
    """Everything up to the k-th action, as far as the model can look back."""
    language = world.language
    opening, turns = list(language.opening(t.instance, t.goal)), []
    room = language.window - language.cap - 1 - len(opening)
    for step in reversed(t.steps[: k + 1]):
        turn = [OBS, *language.answer(step.observation), *language.action(step.action)]
        if turns and len(turns) + len(turn) + 1 > room:
            break
        turns = turn + turns
    return [*opening, *turns, OBS]


def _windows(windows: ClampedWindows, episodes: Sequence[Trajectory], rng: np.random.Generator) -> Heads:
    """The first transition of windows that are told the present action alone."""
    windows.generator = as_generator(rng)
    found = [(np.zeros(len(t)), np.zeros(len(t))) for t in episodes]
    for k in range(max(map(len, episodes))):
        rows = [i for i, t in enumerate(episodes) if k < len(t)]
        live = _real_past(windows, [episodes[i] for i in rows], k)
        first = windows.sample_given(live, [[episodes[i].steps[k].action] for i in rows])[:, 0]
        said = zip(windows.units.reward(first).tolist(), windows.units.ended(first).tolist(), strict=True)
        for i, (reward, ended) in zip(rows, said, strict=True):
            found[i][0][k], found[i][1][k] = reward, ended
    return Heads(*(np.concatenate([x[c] for x in found]) for c in range(2)))


def _real_past(windows: ClampedWindows, episodes: Sequence[Trajectory], k: int) -> Live:
    """Real episodes before their k-th action, as the windows' simulator holds its own."""
    reader, starts = windows.reader, [start_of(t) for t in episodes]
    seen = torch.stack([reader.observations([(t.goal, s.observation) for s in t.steps[: k + 1]]) for t in episodes])
    did = torch.zeros(len(episodes), 0, windows.model.size.action)
    if k:
        did = torch.stack([reader.actions([(t.goal, s.action) for s in t.steps[:k]]) for t in episodes])
    history = [tuple((s.observation, s.action) for s in t.steps[:k]) for t in episodes]
    shown = [t.steps[k].observation for t in episodes]
    about = reader.about([(t.instance, t.goal) for t in episodes])
    return Live(list(range(len(episodes))), starts, about, seen, did, history, shown)


def _retrieved(world: LoggedWorld, episodes: Sequence[Trajectory], rng: np.random.Generator) -> Heads:
    """It remembers the last observation alone, so every step is an episode of its own."""
    steps = [(t, s) for t in episodes for s in t.steps]
    world.reset([Start(t.instance, t.goal, s.observation) for t, s in steps], rng)
    answers = world.step([s.action for _, s in steps])
    return Heads(np.array([a.reward for a in answers]), np.array([float(a.ended) for a in answers]))
