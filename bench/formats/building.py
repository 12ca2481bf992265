"""Gathers the episodes of somebody's log: ids kept unique, duplicates found, everything left out counted by reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from bench.data import Step, Trajectory
from bench.formats.files import clean_text
from bench.formats.log import Extras, Import

DUPLICATE = "duplicate (the same episode with the same content)"


class LogBuilder:
    """What a reader fills, episode by episode.

    Args:
        kind: name of the format.
        notes: what a reader of the result must know about the format.
    """

    def __init__(self, kind: str, *notes: str):
        self.kind, self.notes = kind, list(notes)
        self._episodes: dict[str, tuple[Trajectory, Extras]] = {}
        self._copies: dict[str, list[tuple[Trajectory, Extras]]] = {}
        self._dropped: Counter[str] = Counter()
        self._passed_over: list[str] = []

    def add(self, episode: Trajectory, extras: Extras) -> None:
        """Takes an episode. Where its id is taken, the same content is a duplicate, another a repetition ("id#2")."""
        entry = _clean_episode(episode), _clean(extras)
        copies = self._copies.setdefault(episode.id, [])
        if entry in copies:
            self._dropped[DUPLICATE] += 1
            return
        copies.append(entry)
        name, k = episode.id, len(copies)
        while name in self._episodes:  # another episode may be called "id#2" already
            name, k = f"{episode.id}#{max(k, 2)}", k + 1
        self._episodes[name] = replace(entry[0], id=name), entry[1]

    def drop(self, reason: str) -> None:
        """Counts an episode that is left out."""
        self._dropped[reason] += 1

    def pass_over(self, name: str) -> None:
        """Notes a file that is not of this format."""
        self._passed_over.append(name)

    def log(self) -> Import:
        """What was gathered."""
        notes = list(self.notes)
        repeated = sum(len(copies) - 1 for copies in self._copies.values())
        if repeated:
            notes.append(f"{repeated} episodes repeat the id of another with other content; kept, numbered #2, #3, ...")
        if self._passed_over:
            notes.append(f"passed over {len(self._passed_over)} files of other formats, {self._passed_over[0]} first")
        return Import(
            format=self.kind,
            episodes=[episode for episode, _ in self._episodes.values()],
            extras={name: extras for name, (_, extras) in self._episodes.items() if extras},
            dropped=self._dropped,
            notes=tuple(notes),
        )


def _clean_episode(t: Trajectory) -> Trajectory:
    steps = tuple(Step(_clean(s.observation), _clean(s.action), s.reward) for s in t.steps)
    return replace(t, goal=_clean(t.goal), final_observation=_clean(t.final_observation), steps=steps)


def _clean(value: Any) -> Any:
    """The value with every text in it fit to be written (see `clean_text`)."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, Extras):
        return Extras(_clean(value.action_canonical), _clean(value.thought), _clean(value.metadata))
    if isinstance(value, dict):
        return {_clean(k): _clean(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_clean(v) for v in value)
    return value
