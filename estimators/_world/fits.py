"""Trained world models on disk, by content: one fit serves every estimator and every variant that needs the same.

The seed of a fit is a function of the configuration, not of the generator given to `Estimator.fit`, which differs
between estimators: they would otherwise be compared on differently trained models, and each train its own. It does not
depend on the log either, so that a log with all rewards doubled trains the same model in another currency. Another
training of the same configuration is asked for by `fit_seed`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import ClassVar, Generic, Protocol, TypeVar

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from bench.data import LoggedDataset
from bench.rng import rng_for
from estimators._world.material import Material
from estimators._world.model import SIZES, WorldModel
from estimators._world.training import Fit, Training, split, train_world

VERSION = 4
"""Bump when training or architecture changes: old fits no longer count."""
COMMITTED = Path(__file__).parents[2] / "results" / "fits"
CACHE = Path(__file__).parents[2] / ".cache" / "fits"
REFIT = "OPE_REFIT"
"""Environment variable, seconds since 1970: fits from before then are not used (`run --refit`)."""
KEEP = "OPE_KEEP_FITS"
"""Environment variable: if set, every fit that is used is copied to `results/fits` too (`run --keep-fits`)."""


class Trained(Protocol):
    """A model and what is known of its training."""

    model: nn.Module
    facts: dict[str, float]


F = TypeVar("F", bound=Trained)


class Recipe(ABC, Generic[F]):
    """What decides a fit besides the log: a frozen dataclass of strict JSON values that can train it and rebuild it."""

    exact: ClassVar[tuple[str, ...]] = ()
    """Entries of the model's state that are data, not weights: they are not rounded."""

    def key(self, data: LoggedDataset) -> str:
        """16 hex digits."""
        text = json.dumps([*self.identity(), data.fingerprint, self.settings()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def settings(self) -> dict[str, object]:
        """The fields that decide the fit, as strict JSON; those marked `material` are what it is made from."""
        chosen = [f.name for f in fields(self) if not f.metadata.get("material")]
        values = {name: getattr(self, name) for name in chosen}
        return {name: asdict(value) if is_dataclass(value) else value for name, value in values.items()}

    def seed(self) -> str:
        """What names the random stream of the training: the settings, whatever the log."""
        return json.dumps([*self.identity(), self.settings()], sort_keys=True)

    @abstractmethod
    def identity(self) -> tuple[object, ...]:
        """Kind and version."""

    @abstractmethod
    def train(self, data: LoggedDataset) -> F:
        """Trains now."""

    def texts(self, fit: F) -> dict[str, str]:
        """What must be stored beside weights and facts."""
        return {}

    @abstractmethod
    def rebuild(
        self, data: LoggedDataset, weights: dict[str, Tensor], facts: dict[str, float], texts: Mapping[str, str]
    ) -> F:
        """The stored fit, in evaluation mode and without gradients."""


@dataclass(frozen=True)
class FitConfig(Recipe[Fit]):
    """The latent world models."""

    size: str
    training: Training
    goal_relation: bool
    knows_instance: bool
    fit_seed: int

    exact: ClassVar[tuple[str, ...]] = ("rewards",)

    def identity(self) -> tuple[object, ...]:
        """See `Recipe`."""
        return (VERSION,)

    def train(self, data: LoggedDataset) -> Fit:
        """See `Recipe`."""
        return train_world(data, self.size, self.training, self.goal_relation, self.knows_instance, self._rng())

    def split(self, episodes: int) -> tuple[np.ndarray, np.ndarray]:
        """Which episodes of the log `train` learns from and which it holds out: the first draw of `train_world`."""
        return split(episodes, self.training.held_out, self._rng())

    def _rng(self) -> np.random.Generator:
        return rng_for("world model", self.seed())

    def rebuild(
        self, data: LoggedDataset, weights: dict[str, Tensor], facts: dict[str, float], texts: Mapping[str, str]
    ) -> Fit:
        """See `Recipe`."""
        size = SIZES[self.size]
        material = Material(data, size.vocabulary, size.max_tokens, self.knows_instance)
        with torch.random.fork_rng(devices=[]):
            model = WorldModel(size, weights["rewards"], self.goal_relation, len(material.instances))
        model.load_state_dict(weights)
        return Fit(model.requires_grad_(False).eval(), material, facts)


def fitted(data: LoggedDataset, config: Recipe[F]) -> F:
    """The fit of a configuration to a log: committed, cached, or trained now and cached.

    Weights are rounded to half precision in every case, so that the three give the same numbers.
    """
    name = f"{config.key(data)}.safetensors"
    since = float(os.environ.get(REFIT, 0))
    if not since and (COMMITTED / name).exists():
        return _read(COMMITTED / name, data, config)
    with _alone(CACHE / name):  # another process may be training the same: wait for it instead
        if not (CACHE / name).exists() or (CACHE / name).stat().st_mtime < since:
            with torch.enable_grad():  # whoever asks for a fit may be only simulating
                _write(CACHE / name, config.train(data), config)
    if os.environ.get(KEEP):
        COMMITTED.mkdir(parents=True, exist_ok=True)
        part = COMMITTED / f"{name}.{os.getpid()}.part"
        shutil.copyfile(CACHE / name, part)
        part.replace(COMMITTED / name)  # at once: another process may be about to read it
    return _read(CACHE / name, data, config)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Holds the right to write a file; whoever else wants it waits. A process that dies lets go of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_suffix(".lock")
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
        lock.unlink(missing_ok=True)


def _write(path: Path, fit: F, config: Recipe[F]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    weights = fit.model.state_dict()
    for name, w in weights.items():
        if w.is_floating_point() and name not in config.exact:
            weights[name] = w.to(torch.float16).contiguous()
    save_file(weights, part, metadata={"facts": json.dumps(fit.facts), **config.texts(fit)})
    part.replace(path)


def _read(path: Path, data: LoggedDataset, config: Recipe[F]) -> F:
    with safe_open(path, "pt") as file:
        weights = {name: file.get_tensor(name).float() for name in file.keys()}
        texts = file.metadata()
    return config.rebuild(data, weights, json.loads(texts["facts"]), texts)
