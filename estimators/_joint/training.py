"""Trains the denoiser of windows on the frozen latents of a world model, until held-out windows stop getting better."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from bench.data import LoggedDataset
from bench.rng import rng_for
from estimators._joint.denoiser import WindowDenoiser
from estimators._joint.units import BUFFERS, Units
from estimators._joint.windows import Windows, transitions_of, windows_of
from estimators._world.devices import moved, seeded, training_device
from estimators._world.fits import FitConfig, Recipe, fitted
from estimators._world.reader import LatentReader
from estimators._world.training import Fit

log = logging.getLogger(__name__)

VERSION = 1
"""Bump when training or architecture changes: old fits no longer count."""
_MEASURED = 2048
"""Held-out windows measured together."""


@dataclass(frozen=True)
class WindowTraining:
    """How long and how fast, and on what.

    Attributes:
        length: transitions per window.
        axes: largest number of principal axes that stand for an action.
        updates: at most.
        batch: windows per update. levels: noise levels at which each of them is denoised in one update.
        learning_rate: peak, cosine decay.
        held_out: share of episodes kept apart. measure_every: updates between two looks at them.
        patience: looks without a better held-out loss before stopping.
    """

    length: int
    axes: int
    updates: int
    batch: int = 64
    levels: int = 4
    learning_rate: float = 2e-3
    held_out: float = 0.1
    measure_every: int = 100
    patience: int = 5


@dataclass(frozen=True)
class WindowFit:
    """A trained denoiser in evaluation mode, and what is known of it.

    `facts`: held-out losses, `gain` (share of the loss of a model that ignores the start which knowing it removes),
    updates, seconds, parameters, `on_gpu`.
    """

    model: WindowDenoiser
    facts: dict[str, float]


@dataclass(frozen=True)
class WindowConfig(Recipe[WindowFit]):
    """A denoiser of windows on the latents of a world model."""

    world: FitConfig
    training: WindowTraining

    exact: ClassVar[tuple[str, ...]] = tuple(f"units.{name}" for name in BUFFERS)

    def identity(self) -> tuple[object, ...]:
        """See `Recipe`."""
        return ("windows", VERSION, *self.world.identity())

    def train(self, data: LoggedDataset) -> WindowFit:
        """See `Recipe`."""
        rng = rng_for("windows", self.seed())
        return train_windows(data, fitted(data, self.world), self.training, self.world.size, rng)

    def rebuild(
        self, data: LoggedDataset, weights: dict[str, Tensor], facts: dict[str, float], texts: Mapping[str, str]
    ) -> WindowFit:
        """See `Recipe`."""
        action, axes = weights["units.project"].shape
        units = Units(axes, len(weights["units.mean"]) - 2, action)
        with torch.random.fork_rng(devices=[]):
            model = WindowDenoiser(units, self.training.length, weights["start.0.weight"].shape[1], self.world.size)
        model.load_state_dict(weights)
        return WindowFit(model.requires_grad_(False).eval(), facts)


def train_windows(
    data: LoggedDataset, fit: Fit, training: WindowTraining, size: str, rng: np.random.Generator
) -> WindowFit:
    """Fits the denoiser; the same log, world model and generator give the same weights."""
    started, device = time.perf_counter(), training_device()
    steps = transitions_of(data, LatentReader(fit.model, fit.material))
    units = Units.of(steps, training.axes)
    windows = windows_of(steps, units.rows(steps), units.absorbing(), training.length)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(rng.integers(2**62)))
        model = WindowDenoiser(units, training.length, steps.start.shape[1], size)
    generator = seeded(device, int(rng.integers(2**62)))
    facts = _Loop(model.to(device), moved(windows, device), training, generator).run(rng, len(data))
    model.cpu()
    parameters = float(sum(p.numel() for p in model.parameters()))
    facts |= {"seconds": time.perf_counter() - started, "parameters": parameters, "on_gpu": float(device.type != "cpu")}
    return WindowFit(model.requires_grad_(False).eval(), facts)


class _Loop:
    def __init__(
        self, denoiser: WindowDenoiser, windows: Windows, training: WindowTraining, generator: torch.Generator
    ):
        self.denoiser, self.windows, self.training, self.generator = denoiser, windows, training, generator
        self.device = generator.device
        self.average = AveragedModel(denoiser, multi_avg_fn=get_ema_multi_avg_fn(0.99))
        self.optimizer = torch.optim.AdamW(denoiser.parameters(), lr=training.learning_rate, weight_decay=1e-3)

    def run(self, rng: np.random.Generator, episodes: int) -> dict[str, float]:
        """Trains; the weights with the best held-out loss stay."""
        training, best, kept, waited, done = self.training, math.inf, None, 0, 0
        learned, held_out = self._split(rng.permutation(episodes))
        while done < training.updates and waited < training.patience:
            self._set_rate(done / training.updates)
            rows = rng.choice(learned, min(training.batch, len(learned)), replace=False)
            self._update(torch.from_numpy(rows).to(self.device))
            done += 1
            if done % training.measure_every and done < training.updates:
                continue
            waited, facts = waited + 1, self.measure(torch.from_numpy(held_out).to(self.device))
            log.info("windows, update %d of %d: %s", done, training.updates, {k: round(v, 3) for k, v in facts.items()})
            if facts["denoising"] < best:
                facts |= {"best_update": float(done)}
                best, kept, waited = facts["denoising"], (copy.deepcopy(self.average.module.state_dict()), facts), 0
        weights, facts = kept
        self.denoiser.load_state_dict(weights)
        return facts | {"updates": float(done)}

    def _split(self, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Windows of the episodes learned from and of those held out; of the same where there is one episode."""
        apart = order[: max(1, round(self.training.held_out * len(order)))]
        held = np.isin(self.windows.episode.cpu().numpy(), apart)
        learned = np.flatnonzero(~held) if len(order) > 1 else np.arange(len(held))
        return learned, np.flatnonzero(held)

    def _set_rate(self, progress: float) -> None:
        warm = min(1.0, 20 * progress + 0.02)
        for group in self.optimizer.param_groups:
            group["lr"] = self.training.learning_rate * warm * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * progress)))

    def _update(self, rows: Tensor) -> None:
        w, rows = self.windows, rows.repeat(self.training.levels)
        self.optimizer.zero_grad(set_to_none=True)
        self.denoiser.loss(w.rows[w.index[rows]], w.start[rows], w.real[rows], self.generator).mean().backward()
        torch.nn.utils.clip_grad_norm_(self.denoiser.parameters(), 1.0)
        self.optimizer.step()
        self.average.update_parameters(self.denoiser)

    @torch.no_grad()
    def measure(self, rows: Tensor) -> dict[str, float]:
        """Held-out losses of the averaged weights, with the same noise every time."""
        w, model, totals = self.windows, self.average.module, np.zeros(2)
        for start, part in enumerate(rows.split(_MEASURED)):
            for k, dropped in enumerate((False, True)):
                noise = seeded(self.device, start)
                ignored = torch.full((len(part),), dropped, device=self.device)
                totals[k] += float(model.loss(w.rows[w.index[part]], w.start[part], w.real[part], noise, ignored).sum())
        given, free = (totals / len(rows)).tolist()
        return {"denoising": given, "unconditional": free, "gain": 1 - given / free}
