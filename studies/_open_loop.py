"""A model's answers against the real episode, depth by depth, with intervals over episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.data import Trajectory
from bench.stats import resample_counts, resampling_scheme
from estimators._world.world import Answer
from studies._comparison import InverseDynamics, TextSpace, same_text, token_f1

REPLICATES = 400
TEXT_MEASURES = ("token_f1", "exact_match", "text_distance", "action_error")
MEASURES = (*TEXT_MEASURES, "reward_error", "return_error", "termination_error", "compared")
Measured = dict[str, np.ndarray]
"""Measure -> (E, H) values of E episodes at depths 1 to H; NaN where there is nothing to measure."""


@dataclass(frozen=True)
class Point:
    """A mean over the episodes that have a value at a depth, and its 95 % interval."""

    depth: int
    mean: float
    low: float
    high: float
    episodes: int


@dataclass(frozen=True)
class _Pair:
    """A generated observation and the real one at depth `depth` of episode `episode`."""

    episode: int
    depth: int
    before: str
    action: str
    text: str
    reference: str


def measure(
    episodes: Sequence[Trajectory],
    answers: Sequence[Sequence[Answer]],
    horizon: int,
    inverse: InverseDynamics,
) -> Measured:
    """Compares what a model answered to the logged actions with what reality did.

    Depth d is what follows the d-th action; real episodes count as long as they have one. Where the model has ended an
    episode though reality went on, this and all later depths are termination errors until reality ends too, its rewards
    after the ending are 0, and it has no text: that counts as the worst there is (F1 and exact match 0, distance 1,
    action not recovered), so that all models are measured on the same episodes. `compared` is the share of episodes
    that still have a text. Where reality has ended and the model has not, that is a termination error from then on:
    there are no more actions to ask it about. A real episode whose last observation was not recorded has no text there.
    """
    found = {name: np.full((len(episodes), horizon), np.nan) for name in MEASURES}
    pairs: list[_Pair] = []
    for i, (t, told) in enumerate(zip(episodes, answers, strict=True)):
        steps = slice(0, len(t))
        over, really_over = np.zeros(len(t), dtype=bool), np.zeros(len(t), dtype=bool)
        over[len(told) :], really_over[-1] = True, t.terminated
        over[: len(told)] = [a.ended for a in told]
        rewards = np.zeros(len(t))
        rewards[: len(told)] = [a.reward for a in told]
        found["termination_error"][i, steps] = over != really_over
        if t.terminated:
            found["termination_error"][i, len(t) :] = not over[-1]
        found["reward_error"][i, steps] = np.abs(rewards - t.rewards)
        found["return_error"][i, steps] = np.abs(np.cumsum(rewards) - np.cumsum(t.rewards))
        found["compared"][i, steps] = ~(over & ~really_over)
        if over[:-1].any():
            found["compared"][i, int(over.argmax()) : len(t)] = 0.0
        pairs += _pairs(i, t, told, found["compared"][i])
        _without_text(i, t, found, inverse)
    _compare(pairs, found, inverse)
    return found


def _without_text(i: int, t: Trajectory, found: Measured, inverse: InverseDynamics) -> None:
    """Enters the worst where the model has ended the i-th episode and so says nothing."""
    seen = [s.observation for s in t.steps[1:]] + [t.final_observation]
    for d in np.flatnonzero(found["compared"][i] == 0):
        if seen[d] is not None:
            found["token_f1"][i, d] = found["exact_match"][i, d] = 0.0
            found["text_distance"][i, d] = 1.0
            found["action_error"][i, d] = 1.0 if t.steps[d].action in inverse.actions else np.nan


def reality(episodes: Sequence[Trajectory], horizon: int, inverse: InverseDynamics) -> np.ndarray:
    """(E, H) action error on the real pairs themselves."""
    answers = [_replayed(t) for t in episodes]
    return measure(episodes, answers, horizon, inverse)["action_error"]


def _replayed(t: Trajectory) -> list[Answer]:
    seen = [s.observation for s in t.steps[1:]] + [t.final_observation or ""]
    last = len(t) - 1
    return [Answer(o, s.reward, k == last and t.terminated) for k, (o, s) in enumerate(zip(seen, t.steps, strict=True))]


def _pairs(i: int, t: Trajectory, told: Sequence[Answer], compared: np.ndarray) -> list[_Pair]:
    real = [s.observation for s in t.steps[1:]] + [t.final_observation]
    before = [t.steps[0].observation, *(str(a.observation) for a in told)]
    return [
        _Pair(i, d, before[d], t.steps[d].action, str(answer.observation), real[d])
        for d, answer in enumerate(told)
        if compared[d] == 1 and real[d] is not None
    ]


def _compare(pairs: Sequence[_Pair], found: Measured, inverse: InverseDynamics) -> None:
    """Enters the measures of text."""
    if not pairs:
        return
    where = (np.array([p.episode for p in pairs]), np.array([p.depth for p in pairs]))
    texts, references = [p.text for p in pairs], [p.reference for p in pairs]
    found["token_f1"][where] = [token_f1(p.text, p.reference) for p in pairs]
    found["exact_match"][where] = [same_text(p.text, p.reference) for p in pairs]
    found["text_distance"][where] = TextSpace().distance(texts, references)
    found["action_error"][where] = inverse.wrong([p.before for p in pairs], [p.action for p in pairs], texts)


def curve(values: np.ndarray, instances: Sequence[str], fixed_instances: bool, rng: np.random.Generator) -> list[Point]:
    """Means over episodes at each depth with bootstrap intervals, pointwise.

    Whole episodes are redrawn, so that a generator in the same state redraws the same ones for every model.

    Args:
        values: (E, H), NaN where an episode has none. instances: (E,) the task instance of each.

    Returns:
        One point for every depth at which some episode has a value.
    """
    _, code = np.unique(np.asarray(instances), return_inverse=True)
    scheme, _ = resampling_scheme(code, fixed_instances)
    counts = resample_counts(code, REPLICATES, rng, scheme)
    there = ~np.isnan(values)
    weight = counts @ there
    sums = counts @ np.where(there, values, 0.0)
    means = np.divide(sums, weight, out=np.full_like(sums, np.nan), where=weight > 0)
    points = []
    for d in np.flatnonzero(there.any(axis=0)).tolist():
        low, high = np.nanquantile(means[:, d], [0.025, 0.975])
        mean, known = float(np.nanmean(values[:, d])), int(there[:, d].sum())
        points.append(Point(d + 1, mean, float(low), float(high), known))
    return points
