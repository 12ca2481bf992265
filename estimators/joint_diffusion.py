"""Joint diffusion of actions, observations and rewards over windows of an episode, guided by the policy."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np

from bench.data import LoggedDataset
from bench.errors import BenchError
from bench.estimator import Family
from bench.policy import Policy
from estimators._world.base import LearnedWorldEstimator
from estimators._world.rollout import Simulation
from estimators._world.world import starts_of

if TYPE_CHECKING:
    from estimators._joint.rollout import WindowSimulator

NEGATIVE_SHARE = 0.5
"""lambda / alpha in the STITCH form: the largest that the paper uses by default, in the middle of its best values."""

LARGEST_UNIQUE_SHARE = 0.9
"""Logs in which more of the actions than this are never repeated are declined."""


@dataclass
class JointDiffusion(LearnedWorldEstimator):
    """Monte-Carlo value of episodes generated window by window, each window one reverse diffusion over W transitions.

    `form=pgd` adds alpha grad log pi_e to the score (policy-guided diffusion, Jackson et al. 2024, arXiv 2404.06356);
    `form=stitch` also subtracts lambda grad log pi_b (STITCH-OPE, Goli et al. 2025, arXiv 2505.20781). Windows are
    stitched at their last state. Actions are text: they enter as frozen embeddings e_v of logged actions, and the
    gradient is that of log sum_v softmax_v(-|a - e_v|^2 / tau) pi(v | h) over `candidates` of them, with pi_e exact. It
    is taken at the denoised estimate and goes through the denoiser, so that what follows an action moves with it.
    pi_b is the cloning head of the world model, which needs no recorded propensities and answers in any history.

    Per rollout and window the policy scores at most W x `candidates` actions, once, at an early noise level: at each
    position after what precedes it in the window's estimate. What changes afterwards is reported (stale_context_share).
    The candidates are those the cloning head holds likeliest; candidate_mass is what pi_e puts on them.

    alpha = .5 is the upper end of STITCH-OPE's range, lambda = alpha / 2; policy-guided diffusion publishes no default
    (its code has 0), so both forms share alpha and differ by the negative term alone. tau = .5 makes the softmax over
    two candidates agree to first order with the shares that an estimate between them stands for. alpha, lambda and W
    were set before any true value was looked at. tau and `candidates` were not: both were changed, for the reasons
    given, low candidate mass and cost, after development runs had printed true values of toy_chain and ScienceWorld.
    """

    form: Literal["pgd", "stitch"] = "pgd"
    """pgd: policy term alone; stitch: minus the behavior term, half as strong."""
    scale: float = 0.5
    """alpha, of the policy term; 0 generates the behavior policy's episodes."""
    window: int = 4
    """Transitions per window."""
    candidates: int = 16
    """Logged actions per context that the policy is asked about."""
    tau: float = 0.5
    """Temperature of the candidate softmax, as a share of the mean squared distance between two logged actions."""
    window_updates: int = 2500
    """Updates of the denoiser of windows, at most; training stops early when held-out losses stop falling."""
    action_axes: int = 16
    """Largest number of principal axes that stand for an action."""

    quick: ClassVar[bool] = False
    family: ClassVar[Family] = "joint diffusion"
    variants: ClassVar[tuple[str, ...]] = ("", "form=stitch")
    tiny: ClassVar[dict[str, Any]] = {**LearnedWorldEstimator.tiny, "window_updates": 300}
    known_failures: ClassVar[dict[str, str]] = {
        "check_episodes_that_end_early": "guidance aims between the logger and the policy (alpha = .5: pi_b pi_e^.5), "
        "and what the policy earns by four equal decisions in a row lies far beyond that",
        "check_error_falls_as_the_log_grows": "the error is that of the guidance, which aims between the logger and "
        "the policy however large the log is",
    }

    def unsupported(self, data: LoggedDataset, policy: Policy) -> str | None:
        """See `Estimator`."""
        count = Counter(step.action for t in data.trajectories for step in t.steps)
        once = sum(n == 1 for n in count.values()) / count.total()
        if once > LARGEST_UNIQUE_SHARE:
            return (
                f"{once:.0%} of the logged actions are texts that occur once: generated actions are decoded to logged "
                "ones, which must stand for something the policy would write too"
            )
        return super().unsupported(data, policy)

    def fit(self, data: LoggedDataset, rng: np.random.Generator) -> Self:
        """Trains world model and windows, or finds them trained; see `LearnedWorldEstimator.fit`."""
        from estimators._joint.training import WindowConfig, WindowTraining
        from estimators._world.fits import fitted

        self._check()
        super().fit(data, rng)
        windows = WindowTraining(self.window, self.action_axes, self.window_updates)
        self.windows_ = fitted(self.data_, WindowConfig(self.config(), windows))
        return self

    def world(self, policy: Policy) -> WindowSimulator:
        """What generates episodes: whole windows, actions included, so that no agent acts in it step by step."""
        from estimators._joint.guidance import GuidanceScales
        from estimators._joint.rollout import WindowSimulator

        apart = 2 * self.windows_.model.units.actions  # mean squared distance of two whitened actions
        negative = NEGATIVE_SHARE * self.scale if self.form == "stitch" else 0.0
        scales = GuidanceScales(self.scale, negative, self.tau * apart)
        return WindowSimulator(self.fit_, self.windows_, self.fitted_data(), scales, self.candidates)

    def simulate(self, policy: Policy, rng: np.random.Generator) -> Simulation:
        """See `SimulationEstimator`."""
        starts = starts_of(self.fitted_data(), self.rollouts, rng)
        return self.world(policy).play(policy, starts, rng)

    def facts(self) -> dict[str, float]:
        """See `SimulationEstimator`."""
        return {**super().facts(), **{f"window_{name}": value for name, value in self.windows_.facts.items()}}

    def label(self) -> str:
        """See `SimulationEstimator`."""
        gain = self.windows_.facts["gain"]
        windows = (
            "" if gain > 0 else f"undertrained: the state does not lower the held-out loss of windows ({gain:+.1%})"
        )
        return "; ".join(filter(None, (super().label(), windows)))

    def _check(self) -> None:
        if self.form not in ("pgd", "stitch"):
            raise BenchError(f"{self.name}: form is {self.form!r}; choose pgd or stitch.")
        for name in ("window", "candidates", "rollouts", "window_updates", "action_axes"):
            if getattr(self, name) < 1:
                raise BenchError(f"{self.name}: {name} must be at least 1, not {getattr(self, name)}.")
        if self.scale < 0 or self.tau <= 0:
            raise BenchError(f"{self.name}: scale {self.scale} must not be negative, tau {self.tau} must be positive.")
        of_guidance = ("form", "candidates", "tau")
        idle = [
            f"{name} {getattr(self, name)}" for name in of_guidance if getattr(self, name) != getattr(type(self), name)
        ]
        if self.scale == 0 and idle:
            raise BenchError(f"{self.name}: scale 0 switches guidance off, and {', '.join(idle)} would do nothing.")
