"""Doubly robust with adwm as its direct part: Q learned once from simulated episodes, corrected by weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from bench.data import LoggedDataset
from bench.errors import BenchError
from bench.estimator import Estimate, Family, mean_of_terms
from bench.policy import Policy
from estimators._averagers import TargetActions, sample_target_actions
from estimators._doubly_robust import (
    corrections,
    doubly_robust_terms,
    self_normalized_doubly_robust,
    self_normalized_terms,
    split_folds,
    too_small,
)
from estimators._weights import weigh, weight_diagnostics
from estimators._world.base import LearnedWorldEstimator
from estimators._world.world import World, answered, starts_of

if TYPE_CHECKING:
    from estimators._world.training import Fit

SAMPLER_STEPS = 8
"""As for adwm."""


@dataclass
class WorldModelDoublyRobust(LearnedWorldEstimator):
    """The doubly robust recursion (Jiang & Li 2016, arXiv 1511.03722, eq. 10) around a Q from adwm's learned kernel.

    Beyond the paper. The world model of each fold is trained on the other episodes; the policy plays in it (omega = 1,
    eta = 0, text), and its simulated returns-to-go are regressed on the text features that FQE uses. Unbiased whatever
    the model is, where the weights are exact; the model takes their variance away where it is good.
    """

    updates: int = 500
    """As for adwm; fewer, because every fold trains a model of its own."""
    encoder_updates: int = 250
    """As for adwm; fewer, likewise."""
    folds: int = 2
    """Parts of the log; each meets a world model that was trained on the others."""
    self_normalized: bool = False
    """Divide by the sum of the weights of each turn instead of n (WDR)."""
    n_actions: int = 4
    """Actions sampled from the policy at every logged step."""
    dimensions: int = 16
    """Size of each text vector of the regression."""
    trees: int = 20
    """Trees of the regression."""
    min_leaf: int = 5
    """Fewest simulated steps in a leaf."""

    quick: ClassVar[bool] = False
    one_world: ClassVar[bool] = False
    family: ClassVar[Family] = "hybrid"
    needs_propensities: ClassVar[bool] = True
    tiny: ClassVar[dict[str, Any]] = LearnedWorldEstimator.tiny | {"dimensions": 8, "trees": 5}

    def unsupported(self, data: LoggedDataset, policy: Policy) -> str | None:
        """See `Estimator`."""
        return super().unsupported(data, policy) or too_small(data)

    def fit(self, data: LoggedDataset, rng: np.random.Generator) -> Self:
        """Trains one world model per fold."""
        self.check()
        if self.folds < 2:
            raise BenchError(f"{self.name}: folds must be at least 2, not {self.folds}: Q is learned elsewhere.")
        if reason := too_small(data):
            raise BenchError(f"{self.name}: {reason}.")
        self.data_ = data
        self.fold_ = split_folds(data, self.folds, rng)
        parts = range(int(self.fold_.max()) + 1)
        self.fits_: dict[int, Fit] = {k: self.train(answered(self._without(data, k))) for k in parts}
        self.fit_ = min(self.fits_.values(), key=lambda fit: fit.facts["gain"])  # whose facts and label are shown
        return self

    def estimate(self, policy: Policy, rng: np.random.Generator) -> Estimate:
        """See `Estimator`."""
        data = self.fitted_data()
        episodes = weigh(data, policy)
        actions = sample_target_actions(policy, data, self.n_actions, rng)
        q, v = self._held_out_q(policy, actions, rng)
        parts = corrections(data, episodes, q, v)
        if self.self_normalized:
            terms, combine = self_normalized_terms(episodes, parts), self_normalized_doubly_robust
        else:
            terms, combine = doubly_robust_terms(episodes, parts), mean_of_terms
        direct = {"direct": float(v[data.columns.offsets[:-1]].mean())}
        diagnostics = weight_diagnostics(episodes) | direct | self.facts()
        return Estimate(terms, combine, episodes.instance, diagnostics, note=self.label())

    def world(self, policy: Policy) -> World:
        """The world model of the first fold."""
        return self._world(0)

    def _world(self, fold: int) -> World:
        from estimators._world.diffusion_world import DiffusionWorld, Guidance

        seen = answered(self._without(self.fitted_data(), fold))
        return DiffusionWorld(self.fits_[fold], seen, Guidance(omega=1.0, eta=0.0), SAMPLER_STEPS, None)

    def _held_out_q(
        self, policy: Policy, actions: TargetActions, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """(S,) Q and (S,) V at every logged step, from the world model that never saw its episode."""
        from estimators._world.model_values import values_from_simulation
        from estimators._world.rollout import simulate

        data = self.fitted_data()
        q, v = np.empty((2, len(data.columns.rewards)))
        settings = (self.dimensions, self.trees, self.min_leaf)
        for fold in self.fits_:
            starts = starts_of(self._without(data, fold), self.rollouts, rng)
            played = simulate(self._world(fold), policy, starts, data.horizon, data.gamma, rng)
            own = self.fold_[data.columns.episode] == fold
            here = data.with_trajectories(t for t, f in zip(data.trajectories, self.fold_, strict=True) if f == fold)
            q[own], v[own] = values_from_simulation(here, played.trajectories(), actions.at(own), settings, rng)
        return q, v

    def _without(self, data: LoggedDataset, fold: int) -> LoggedDataset:
        return data.with_trajectories(t for t, f in zip(data.trajectories, self.fold_, strict=True) if f != fold)
