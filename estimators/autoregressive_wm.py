"""World model that writes the next observation token by token: a small language model trained on the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from bench.data import LoggedDataset
from bench.errors import BenchError
from bench.estimator import Family
from bench.policy import Policy
from estimators._world.base import SimulationEstimator
from estimators._world.world import World

if TYPE_CHECKING:
    from estimators._autoregressive.text_fits import TextFitConfig
    from estimators._autoregressive.training import TextFit


@dataclass
class AutoregressiveWorldModel(SimulationEstimator):
    """Monte-Carlo value in a text world model: a language model as simulator (Wang et al. 2024, arXiv 2406.06485),
    trained on the log alone, until held-out episodes become no likelier or `updates` are over (then the note says so).
    The opponent of adwm, with four times its updates: a fair opponent is one that has converged.

    The transcript is the context, so what the goal says and what the episode has shown before are there to be copied by
    attention; no relation to the goal is built in. Observations are drawn at temperature 1.

    Reward and ending are read off the state after the observation, by a head and not as tokens: the expected reward
    then takes the place of a drawn one. Neither agent nor model reads rewards: the mean is the same, the noise less.
    """

    hidden: int = 128
    """Width of the model, a multiple of 32."""
    layers: int = 3
    """Depth of the model."""
    updates: int = 4800
    """Updates of the training, at most; it stops early when held-out likelihood stops rising."""
    batch_tokens: int = 2048
    """Tokens of each update."""
    max_observation_tokens: int = 256
    """Longer observations lose their tail."""
    window: int = 2048
    """Tokens the model can look back on."""
    knows_instance: bool = True
    """The name of the instance stands before the goal, where the log visits a fixed list of instances."""
    fit_seed: int = 0
    """Another training of the same configuration."""

    quick: ClassVar[bool] = False
    family: ClassVar[Family] = "world model"
    tiny: ClassVar[dict[str, Any]] = {
        "rollouts": 60,
        "hidden": 32,
        "layers": 2,
        "updates": 120,
        "batch_tokens": 512,
        "max_observation_tokens": 32,
        "window": 512,
    }
    known_failures: ClassVar[dict[str, str]] = {
        "check_error_falls_as_the_log_grows": "a second of training ends long before convergence, on a large log as on "
        "a small one; trained for longer it comes close to the truth (tests/test_autoregressive_wm.py)",
    }

    def fit(self, data: LoggedDataset, rng: np.random.Generator) -> Self:
        """Trains the model, or finds it trained; see `estimators._world.fits` for why `rng` has no part in it."""
        from estimators._world.fits import fitted

        self.check()
        self.data_ = data
        self.fit_: TextFit = fitted(data, self.config(data))
        return self

    def config(self, data: LoggedDataset) -> TextFitConfig:
        """What decides the model besides the log."""
        from estimators._autoregressive.model import Shape
        from estimators._autoregressive.text_fits import TextFitConfig
        from estimators._autoregressive.training import TextTraining

        shape, training = Shape(self.hidden, self.layers, VOCABULARY), TextTraining(self.updates, self.batch_tokens)
        known = self.knows_instance and data.fixed_instances
        return TextFitConfig(shape, training, self.max_observation_tokens, self.window, known, self.fit_seed)

    def world(self, policy: Policy) -> World:
        """See `SimulationEstimator`."""
        from estimators._autoregressive.text_world import TextWorld

        return TextWorld(self.fit_, self.fitted_data())

    def facts(self) -> dict[str, float]:
        """See `SimulationEstimator`."""
        return {f"fit_{name}": value for name, value in self.fit_.facts.items()}

    def label(self) -> str:
        """See `SimulationEstimator`."""
        facts = self.fit_.facts
        if facts["gain"] <= 0:
            return (
                f"undertrained: held-out answers are no likelier than by their shares in the log ({facts['gain']:+.1%})"
            )
        if facts["best_update"] == self.updates:
            return (
                f"training ended at its limit; the held-out loss fell by {facts['last_fall']:.1%} in its last twelfth"
            )
        return ""

    def check(self) -> None:
        """See `SimulationEstimator`."""
        super().check()
        if self.hidden < 32 or self.hidden % 32 or self.layers < 1 or min(self.updates, self.batch_tokens) < 1:
            raise BenchError(
                f"{self.name}: hidden {self.hidden} must be a multiple of 32, layers {self.layers}, updates "
                f"{self.updates} and batch_tokens {self.batch_tokens} at least 1."
            )
        if self.max_observation_tokens < 1 or self.window < 4 * self.max_observation_tokens + 256:
            raise BenchError(
                f"{self.name}: window {self.window} must hold four observations of {self.max_observation_tokens} "
                "tokens and 256 tokens more."
            )


VOCABULARY = 2048
"""Tokens of the transcript, at most: small logs have fewer different words."""
