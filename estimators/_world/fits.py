"""Trained world models on disk, by content: one fit serves every estimator and every variant that needs the same.

The seed of a fit is a function of the log and of the configuration, not of the generator given to `Estimator.fit`, which
differs between estimators: they would otherwise be compared on differently trained models, and each train its own.
Another training of the same configuration is asked for by `fit_seed`.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from bench.data import LoggedDataset
from bench.rng import rng_for
from estimators._world.material import Material
from estimators._world.model import SIZES, WorldModel
from estimators._world.training import Fit, Training, train_world

VERSION = 1
"""Bump when training or architecture changes: old fits no longer count."""
COMMITTED = Path(__file__).parents[2] / "results" / "fits"
CACHE = Path(__file__).parents[2] / ".cache" / "fits"
REFIT = "OPE_REFIT"
"""Environment variable: if set, committed and cached fits are not used."""


@dataclass(frozen=True)
class FitConfig:
    """What decides a fit besides the log."""

    size: str
    training: Training
    goal_relation: bool
    fit_seed: int

    def key(self, data: LoggedDataset) -> str:
        """16 hex digits."""
        text = json.dumps([VERSION, data.fingerprint, asdict(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def fitted(data: LoggedDataset, config: FitConfig) -> Fit:
    """The fit of a configuration to a log: committed, cached, or trained now and cached.

    Weights are rounded to half precision in every case, so that the three give the same numbers.
    """
    key = config.key(data)
    for folder in () if os.environ.get(REFIT) else (COMMITTED, CACHE):
        path = folder / f"{key}.safetensors"
        if path.exists():
            return _read(path, data, config)
    fit = train_world(data, config.size, config.training, config.goal_relation, rng_for("world model", key))
    path = CACHE / f"{key}.safetensors"
    _write(path, fit)
    return _read(path, data, config)


def _write(path: Path, fit: Fit) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")
    weights = {name: w.to(torch.float16).contiguous() if w.is_floating_point() else w for name, w in fit.model.state_dict().items()}
    weights["rewards"] = fit.model.rewards  # exact: they are data, not weights
    save_file(weights, part, metadata={"facts": json.dumps(fit.facts)})
    part.replace(path)


def _read(path: Path, data: LoggedDataset, config: FitConfig) -> Fit:
    size = SIZES[config.size]
    with safe_open(path, "pt") as file:
        weights = {name: file.get_tensor(name).float() for name in file.keys()}
        facts = json.loads(file.metadata()["facts"])
    with torch.random.fork_rng(devices=[]):
        model = WorldModel(size, weights["rewards"], config.goal_relation)
    model.load_state_dict(weights)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return Fit(model.eval(), Material(data, size.vocabulary, size.max_tokens), facts)
