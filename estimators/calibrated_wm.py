"""Latent diffusion world model without guidance with expected rewards corrected for actions new to the log."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from bench.data import LoggedDataset
from bench.errors import BenchError
from bench.estimator import Family
from bench.policy import Policy
from bench.rng import rng_for
from estimators._world.base import SHORT_TRAINING, LearnedWorldEstimator
from estimators._world.world import World

if TYPE_CHECKING:
    from estimators._world.diffusion_world import DiffusionWorld
    from estimators._world.novelty import NewActions
    from estimators._world.rollout import Simulation


NO_LESS = 0.995
"""A factor above this is announced as none."""


@dataclass
class CalibratedWorldModel(LearnedWorldEstimator):
    """Monte-Carlo value in adwm's learned kernel (omega = 1, eta = 0, the agent reads text), with rewards of new
    actions held to what such actions paid in the log.

    Ours, beyond the adwm paper, against the largest error of its kernel on these logs: actions that it was not trained
    on in an instance are foretold what the loggers' own actions led to. Where the log says that this is too much,
    expected rewards of such actions are drawn to 0: towards what those paid that a single episode took in its instance
    (after Turing, see Good 1953, Biometrika 40, 237-264), over what the model foretells for new ones in the tenth of
    the log that it was not trained on, the nearer to it the more rewards tell so (`estimators._world.novelty`).
    Everything else is `adwm[omega=1,eta=0,reads=text]`, trained once for both; `new_action_change` among the
    diagnostics is what the correction did to the value.
    """

    sampler_steps: int = 8
    """As for adwm."""

    version: ClassVar[int] = 6
    family: ClassVar[Family] = "diffusion world model"
    known_failures: ClassVar[dict[str, str]] = SHORT_TRAINING
    tiny: ClassVar[dict[str, Any]] = LearnedWorldEstimator.tiny | {"sampler_steps": 3}

    def fit(self, data: LoggedDataset, rng: np.random.Generator) -> Self:
        """Trains the world model, or finds it trained, and fits the correction.

        Raises:
            BenchError: a number of steps that cannot be.
        """
        if self.sampler_steps < 2:
            raise BenchError(f"{self.name}: sampler_steps {self.sampler_steps} must be at least 2.")
        from estimators._world.novelty import correction, without

        super().fit(data, rng)
        of = self.config()
        learned, held_out = of.split(len(self.fit_.material))
        alone = without(self.data_, held_out) if len(learned) < len(self.data_) else self.data_
        stream = rng_for("new actions", of.seed())
        self.new_actions_: NewActions = correction(self._kernel(alone), self.fit_, of, self.data_, stream)
        return self

    def world(self, policy: Policy) -> World:
        """See `SimulationEstimator`."""
        world = self._kernel(self.fitted_data())
        world.new_actions = self.new_actions_
        return world

    def simulate(self, policy: Policy, rng: np.random.Generator) -> Simulation:
        """See `SimulationEstimator`; with what the correction did."""
        played = super().simulate(policy, rng)
        effect = self.new_actions_.effect(played, self.fitted_data().gamma)
        return replace(played, diagnostics=played.diagnostics | {f"new_action_{k}": x for k, x in effect.items()})

    def facts(self) -> dict[str, float]:
        """See `SimulationEstimator`; with the correction, and the held-out steps behind it."""
        new = self.new_actions_
        found = {"factor": new.factor, "once": float(new.once), "held_out": float(new.held_out)}
        return super().facts() | {f"new_action_{name}": value for name, value in found.items()}

    def label(self) -> str:
        """See `SimulationEstimator`; and whether nothing is corrected, and why."""
        new = self.new_actions_
        if not new.once or not new.held_out:
            why = "no correction: the log holds no new actions to learn it from"
        elif new.factor > NO_LESS:
            why = "no correction: by the log, new actions are not foretold too much"
        else:
            why = ""
        return "; ".join(filter(None, (super().label(), why)))

    def _kernel(self, data: LoggedDataset) -> DiffusionWorld:
        from estimators._world.diffusion_world import DiffusionWorld, Guidance

        return DiffusionWorld(self.fit_, data, Guidance(omega=1.0, eta=0.0), self.sampler_steps, None)
