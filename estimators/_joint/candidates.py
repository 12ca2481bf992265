"""The logged actions of an instance: what a generated action can be decoded to, and what the policy is asked about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.data import LoggedDataset
from estimators._joint.units import Units
from estimators._world.reader import LatentReader

_LEAST = 16
"""Instances with fewer distinct actions also get the most frequent ones of the log, until they have this many."""

Place = tuple[str, str]
"""Instance and goal."""


@dataclass(frozen=True)
class Shortlist:
    """The K actions of each of N contexts that the policy is asked about; unused places hold None.

    Attributes:
        texts: N times K. rows: (N, K, actions) standardized embeddings. known: (N, K) bool.
        log_behavior: (N, K) log-probabilities under the behavior model, over all actions of the instance.
    """

    texts: list[list[str | None]]
    rows: Tensor
    known: Tensor
    log_behavior: Tensor


@dataclass(frozen=True)
class _Actions:
    texts: list[str]
    vectors: Tensor
    rows: Tensor


class Pool:
    """The distinct actions logged in each instance, as frozen embeddings."""

    def __init__(self, data: LoggedDataset, reader: LatentReader, units: Units):
        self._reader, self._units = reader, units
        self._frequent = _by_frequency(step.action for t in data.trajectories for step in t.steps)
        steps: dict[str, list[str]] = {}
        for t in data.trajectories:
            steps.setdefault(t.instance, []).extend(step.action for step in t.steps)
        self._logged = {instance: _by_frequency(actions) for instance, actions in steps.items()}
        self._known: dict[Place, _Actions] = {}

    def nearest(self, rows: Tensor, places: Sequence[Place]) -> tuple[list[str], Tensor]:
        """The action nearest to each of (B, actions) standardized ones, and (B,) mean squared distances per axis."""
        texts, distance = [], torch.zeros(len(places))
        for k, place in enumerate(places):
            actions = self._of(place)
            gap = ((actions.rows - rows[k]) ** 2).mean(dim=-1)
            best = int(gap.argmin())
            texts.append(actions.texts[best])
            distance[k] = gap[best]
        return texts, distance

    def likeliest(self, past: Tensor, places: Sequence[Place], most: int) -> Shortlist:
        """The `most` actions of each instance that the behavior model holds likeliest after (N, past) history states.

        The behavior model is the cloning head of the world model: it needs no recorded propensities and answers in
        histories, and for actions, that were never logged together.
        """
        texts: list[list[str | None]] = []
        rows = torch.zeros(len(places), most, self._units.actions)
        log_behavior = torch.full((len(places), most), -torch.inf)
        wanted = self._reader.model.behavior(past)
        for k, place in enumerate(places):
            actions = self._of(place)
            logp = (actions.vectors @ wanted[k]).log_softmax(dim=0)
            best = logp.topk(min(most, len(logp))).indices
            rows[k, : len(best)], log_behavior[k, : len(best)] = actions.rows[best], logp[best]
            texts.append([actions.texts[i] for i in best.tolist()] + [None] * (most - len(best)))
        return Shortlist(texts, rows, log_behavior > -torch.inf, log_behavior)

    def _of(self, place: Place) -> _Actions:
        if place not in self._known:
            instance, goal = place
            texts = list(self._logged[instance])
            own = set(texts)
            texts += [a for a in self._frequent if a not in own][: max(0, _LEAST - len(texts))]
            vectors = self._reader.actions([(goal, text) for text in texts])
            self._known[place] = _Actions(texts, vectors, self._units.action(vectors))
        return self._known[place]


def _by_frequency(actions) -> list[str]:
    """Distinct actions, the most frequent first, ties by alphabet."""
    count = Counter(actions)
    return sorted(count, key=lambda a: (-count[a], a))
