"""Tasks that ship their own recording: logs, agents, truth, and everything that was computed from them once.

recorded/recording.json            roster, instances, environment version, measurements, hashes of all other files
recorded/agents/tokenizer.json     one tokenizer for all agents of the task
recorded/agents/<checkpoint>/      Hugging Face folders, float16 weights
recorded/logs/<log>.parquet        canonical logs
recorded/log_probs/<log>.parquet   one float32 column per policy, one row per step of the log
recorded/next_actions/<log>.parquet  columns <policy>/<j>: the j-th sampled next action at each step
recorded/truth.parquet             policy, instance, seed, return, length, terminated

A log may have grown: `volumes` of the manifest names the files that continue it. The files of a volume never change,
and blocks that are cut from the first ones, with everything computed from them, stay what they were.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.agents.recorded import RecordedPolicy, Recording
from bench.canonical import read_log
from bench.cells import THEN
from bench.data import LoggedDataset, Trajectory
from bench.errors import DataError, UnknownNameError
from bench.policy import Policy
from bench.task import GroundTruth, PolicyCard, Task

MANIFEST = "recording.json"
VOLUMES = 4
"""Log files of a task that are kept in memory."""
PURE_EXPLORER = {
    "check_every_logged_action_is_possible": "the last policy of the epsilon sweep draws from a finite list alone: "
    "what the loggers wrote beside that list has probability zero under it, and estimators must cope",
}
"""Declared failure (`Task.known_failures`) of tasks with a target that does nothing but explore."""


class RecordedTask(Task):
    """Base of tasks with a `recorded` folder beside their module."""

    folder: ClassVar[Path]

    @staticmethod
    def explore(goal: str, observations: Sequence[str]) -> Sequence[str]:
        """The finite list of actions from which epsilon-mixtures draw; overridden by every task that has such
        agents."""
        raise DataError(
            "this task names no actions to explore, so it cannot have agents with epsilon > 0: override `explore`."
        )

    @cached_property
    def manifest(self) -> dict:
        """The content of `recording.json`."""
        path = self.folder / MANIFEST
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DataError(
                f"task {self.name!r} has no recording at {path}. Check out the repository's recorded data, or make "
                f"your own with `python run_bench.py collect --task {self.name}`."
            ) from None
        except json.JSONDecodeError as error:
            raise DataError(
                f"{path}, line {error.lineno}: {error.msg}. Restore the file from the repository."
            ) from None

    def logs(self) -> tuple[str, ...]:
        """Names of the logs, the default one first."""
        later = {name for names in self.manifest.get("volumes", {}).values() for name in names[1:]}
        return tuple(name for name in self.manifest["logs"] if name not in later)

    def volumes(self, name: str) -> tuple[str, ...]:
        """Names of the files of a log, the oldest first."""
        if name not in self.logs():
            raise UnknownNameError(f"log of task {self.name}", name, self.logs())
        return tuple(self.manifest.get("volumes", {}).get(name, (name,)))

    def log(self, name: str) -> LoggedDataset:
        """A log, whole."""
        return _read_volumes(tuple(self._file("logs", volume) for volume in self.volumes(name)))

    def log_size(self, name: str) -> int:
        """Episodes of a log, as the manifest says."""
        return sum(self.manifest["episodes"][volume] for volume in self.volumes(name))

    def log_fingerprint(self, name: str) -> str:
        """Hash of the log and of everything the policies said about it, volume by volume; reads no episode."""
        return THEN.join(map(self._volume_fingerprint, self.volumes(name)))

    def block_fingerprints(self, name: str, ends: Sequence[int]) -> list[str]:
        """See `Task`."""
        known = [self._volume_fingerprint(volume) for volume in self.volumes(name)]
        begins = np.cumsum([0, *(self.manifest["episodes"][volume] for volume in self.volumes(name))])[:-1]
        return [THEN.join(known[: int((begins < end).sum())]) for end in ends]

    def _volume_fingerprint(self, volume: str) -> str:
        parts = [file_hash(self._file(kind, volume)) for kind in ("logs", "log_probs", "next_actions")]
        return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]

    def instances(self) -> Sequence[str]:
        """The fixed list of evaluation instances."""
        return tuple(self.manifest["instances"])

    def targets(self) -> tuple[PolicyCard, ...]:
        """The policies to be evaluated."""
        return tuple(card for card in self.cards.values() if card.name not in self.manifest["loggers"])

    @cached_property
    def cards(self) -> dict[str, PolicyCard]:
        """Every recorded policy, loggers included."""
        return {raw["name"]: PolicyCard(**raw) for raw in self.manifest["policies"]}

    def policy(self, name: str) -> Policy:
        """A policy by name; recorded log-probabilities and samples are served without loading its model."""
        if name not in self.cards:
            raise UnknownNameError(f"policy of task {self.name}", name, self.cards)
        card = self.cards[name]
        return RecordedPolicy(name, lambda: self._recordings(name), lambda: self.live_policy(card))

    def live_policy(self, card: PolicyCard) -> Policy:
        """The agent itself, its weights read from the recording."""
        from bench.agents.lm_policy import LMPolicy

        return LMPolicy(card.name, self._model(card.checkpoint), card.temperature, card.epsilon, self.explore)

    def truth(self, policy: str) -> GroundTruth:
        """On-policy returns of a target."""
        columns = _read_truth(self._file("", "truth"))
        mine = columns["policy"] == policy
        if not mine.any():
            raise UnknownNameError(f"policy with measured truth in task {self.name}", policy, set(columns["policy"]))
        names = list(self.instances())
        instance = np.array([names.index(x) for x in columns["instance"][mine]])
        return GroundTruth(policy, columns["return"][mine], instance, self.manifest["environment"])

    def _model(self, checkpoint: str):
        from bench.agents.language_model import LanguageModel
        from bench.agents.transcript import Transcript

        limit = self.manifest["max_observation_tokens"]
        transcript = Transcript.load(self.folder / "agents" / "tokenizer.json", limit)
        return LanguageModel.load(self.folder / "agents" / checkpoint, transcript)

    def _recordings(self, policy: str) -> Iterator[Recording]:
        for name in (volume for log in self.logs() for volume in self.volumes(log)):
            episodes = _by_id(self._file("logs", name))
            logp = pq.read_table(self._file("log_probs", name), columns=[policy])[policy].to_numpy()
            split = np.split(logp.astype(float), self._edges(name)[1:-1])
            yield Recording(episodes, dict(zip(episodes, split, strict=True)), partial(self._samples, policy, name))

    def _edges(self, volume: str) -> np.ndarray:
        """Where its episodes begin and end among its steps."""
        return _read_log(self._file("logs", volume)).columns.offsets

    def _samples(self, policy: str, volume: str) -> dict[str, list[tuple[str, ...]]] | None:
        """Recorded next actions of a policy, or None for policies (loggers) that have none."""
        path = self._file("next_actions", volume)
        names = [c for c in pq.read_schema(path).names if c.rpartition("/")[0] == policy]
        if not names:
            return None
        table = pq.read_table(path, columns=names, read_dictionary=names)  # so that equal actions are one object
        steps = list(zip(*(_shared_texts(table[c]) for c in names), strict=True))
        edges = self._edges(volume)
        episodes = _by_id(self._file("logs", volume))
        return {i: steps[a:b] for i, a, b in zip(episodes, edges[:-1], edges[1:], strict=True)}

    def _file(self, kind: str, name: str) -> Path:
        path = self.folder / kind / f"{name}.parquet"
        if not path.exists():
            raise DataError(f"task {self.name!r}: {path} is missing. Restore it from the repository or run `collect`.")
        return path


def file_hash(path: Path) -> str:
    """sha256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@lru_cache(maxsize=VOLUMES)
def _read_log(path: Path) -> LoggedDataset:
    return read_log(path)


@lru_cache(maxsize=2)
def _read_volumes(paths: tuple[Path, ...]) -> LoggedDataset:
    """One log of all volumes; of a single one, that itself."""
    parts = [_read_log(path) for path in paths]
    if len(parts) == 1:
        return parts[0]
    for path, part in zip(paths[1:], parts[1:], strict=True):
        if strange := [x for x in ("loggers", "gamma", "horizon") if getattr(part, x) != getattr(parts[0], x)]:
            raise DataError(f"{path}: {', '.join(strange)} differ from those of {paths[0].name}, which it continues.")
    joined = tuple(t for part in parts for t in part.trajectories)
    return replace(parts[0], trajectories=joined, volume_sizes=tuple(map(len, parts)))


@lru_cache(maxsize=4)
def _read_truth(path: Path) -> dict[str, np.ndarray]:
    table = pq.read_table(path)
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}


@lru_cache(maxsize=VOLUMES)
def _by_id(path: Path) -> dict[str, Trajectory]:
    return {t.id: t for t in _read_log(path).trajectories}


def _shared_texts(column: pa.ChunkedArray) -> list[str]:
    """The texts of a dictionary-encoded column; equal ones are the same object."""
    texts = []
    for chunk in column.chunks:
        texts += np.array(chunk.dictionary.to_pylist(), dtype=object)[chunk.indices.to_numpy()].tolist()
    return texts
