"""Identity and content of one result. Identity is hashed into the key; provenance is recorded beside it, never
compared."""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

THEN = "+"
"""Between the fingerprints of the volumes of a log that has grown."""


def same_recording(data: str, other: str) -> bool:
    """Whether two fingerprints of blocks are of one log, of which one may have seen more volumes."""
    return all(a == b for a, b in zip(data.split(THEN), other.split(THEN), strict=False))


class Cell(BaseModel):
    """What was asked: one estimator, on one part of one log, about one policy.

    Attributes:
        task, log, policy, estimator: registered names.
        data: fingerprint of the log; of one that has grown, of its volumes up to the end of the block
            (`Task.block_fingerprints`).
        version, params: of the estimator; `Estimator.identity`.
        n_trajectories, seed: which block of the log (`LoggedDataset.subset`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    log: str
    data: str
    policy: str
    estimator: str
    version: int
    params: dict[str, Any]
    n_trajectories: int
    seed: int

    @cached_property
    def key(self) -> str:
        """First 16 hex digits of the hash of the identity."""
        text = json.dumps(self.model_dump(), sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Provenance(BaseModel):
    """Where a result came from; recorded, never compared."""

    model_config = ConfigDict(extra="forbid")

    commit: str | None
    dirty: bool | None
    command: str
    started: str
    python: str
    platform: str
    packages: dict[str, str]
    source: str
    """sha256 of the estimator's source files; `status` lists cells whose source has changed since."""
    computed_as: str = ""
    """Version and spec under which it was computed, where its parameters have been renamed since."""


class Record(BaseModel):
    """What came out. `value` is None unless `status` is done; NaN and infinity never occur."""

    model_config = ConfigDict(extra="forbid")

    cell: Cell
    spec: str
    status: Literal["done", "unsupported", "failed"]
    value: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    interval: Literal["sampling", "simulation only"] = "sampling"
    truth: float | None = None
    truth_stderr: float | None = None
    truth_episodes: int | None = None
    policy_tags: list[str] = []
    """What the target belongs to, e.g. "epsilon_sweep" (`PolicyCard.epsilon_sweep`); ranking is also scored without
    it."""
    family: str = "other"
    """`Estimator.family`: decides colors in figures and who counts as classical."""
    diagnostics: dict[str, float | None] = {}
    note: str = ""
    reason: str = ""
    """Why unsupported, or the traceback of a failure."""
    fit_seconds: float | None = None
    """Of this run: next to nothing where a trained model was read from a file."""
    prepare_seconds: float | None = None
    """Of this run, for this policy alone and before its estimate (`Estimator.prepare`): next to nothing where what it
    needs was read from a file. None in cells of before it was timed apart, whose `estimate_seconds` hold it."""
    estimate_seconds: float | None = None
    peak_memory_mb: float | None = None
    provenance: Provenance | None = None

    @property
    def training_seconds(self) -> float | None:
        """What fitting costs from nothing: `fit_seconds`, or what the trainings behind the estimate took when they were
        made (diagnostics that end in `_seconds`) where that is more."""
        made = sum(value or 0.0 for name, value in self.diagnostics.items() if name.endswith("_seconds"))
        return max(self.fit_seconds or 0.0, made) if made else self.fit_seconds

    @property
    def preparation_seconds(self) -> float | None:
        """What preparing for this policy costs from nothing: what its trainings took when they were made (diagnostics
        that end in `_seconds_per_policy`), or `prepare_seconds` where none is known."""
        made = [value for name, value in self.diagnostics.items() if name.endswith("_seconds_per_policy")]
        return sum(value or 0.0 for value in made) if made else self.prepare_seconds

    @property
    def on_gpu(self) -> bool:
        """Some of the training was done on a GPU (diagnostics that end in `_on_gpu`)."""
        return any(value for name, value in self.diagnostics.items() if name.endswith("_on_gpu"))
