"""What an off-policy estimator is: a dataclass of hyper-parameters that fits a log and judges a policy."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import numpy as np

from bench.data import LoggedDataset
from bench.errors import NotFittedError
from bench.policy import Policy

Combine = Callable[[np.ndarray, np.ndarray], np.ndarray]
Family = Literal[
    "reference",
    "importance weighting",
    "direct",
    "doubly robust",
    "world model",
    "joint diffusion",
    "diffusion world model",
    "hybrid",
    "other",
]


def mean_of_terms(terms: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Plain average of the first column: (n, k) terms, (B, n) counts -> (B,)."""
    return counts @ terms[:, 0] / counts.sum(axis=1)


def ratio_of_sums(terms: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Self-normalized average, sum of column 0 over sum of column 1: (n, 2) terms, (B, n) counts -> (B,)."""
    return (counts @ terms[:, 0]) / (counts @ terms[:, 1])


@dataclass(frozen=True)
class Estimate:
    """An estimate together with what its interval needs.

    Attributes:
        terms: (n, k) what each unit (logged or simulated episode) contributes.
        combine: a module-level function (terms, counts (B, n)) -> (B,) values; it renormalizes inside each resample.
        clusters: (n,) int, the task instance of each unit.
        diagnostics: numbers worth keeping beside the value (ess, max_weight_share, ...); finite or NaN.
        interval: "sampling" where resampling the units describes the error of the estimate; "simulation only" where it
            describes Monte-Carlo noise alone (a world model's rollouts) and must be left out of coverage.
        note: announced fallbacks and labels, empty when there is nothing to say.
    """

    terms: np.ndarray
    combine: Combine
    clusters: np.ndarray
    diagnostics: Mapping[str, float] = field(default_factory=dict)
    interval: str = "sampling"
    note: str = ""

    @property
    def value(self) -> float:
        """The point estimate: every unit counted once."""
        return float(self.combine(self.terms, np.ones((1, len(self.terms))))[0])


class Estimator(ABC):
    """Base of all estimators. Subclasses are dataclasses whose fields are hyper-parameters and nothing else.

    Fitted attributes end in an underscore. `fit` never sees the policy under evaluation, so one fit serves all of them
    and cannot leak; what depends on the policy happens in `estimate`. An estimator holds no environment and no truth.
    """

    name: ClassVar[str] = ""
    """The file stem; set by the registry."""
    version: ClassVar[int] = 1
    """Bump when numbers change; part of the identity of every result."""
    added: ClassVar[dict[str, Any]] = {}
    """Parameters that came after results had been stored, each with the value that means what was done before: with it
    they are not part of the identity of a result, and what is stored stays valid. To be emptied when `version` is
    bumped."""
    tiny: ClassVar[dict[str, Any]] = {}
    """Parameters for one-second tests."""
    known_failures: ClassVar[dict[str, str]] = {}
    """Conformance checks it fails by design, each with the reason; run as strict expected failures."""
    family: ClassVar[Family] = "other"
    """Groups estimators in tables and figures; importance weighting, direct and doubly robust count as classical."""
    variants: ClassVar[tuple[str, ...]] = ("",)
    """What the leaderboard runs: the inside of a spec, `key=value,key=value`, one entry per row; "" is the default."""
    size_curve: ClassVar[bool] = True
    """Also runs on the smaller blocks of the size curve; costly estimators switch it off."""
    quick: ClassVar[bool] = True
    """Also in the quick profile; estimators that train for minutes on every log are not, unless they are asked for."""
    needs_propensities: ClassVar[bool] = False
    """Uses the log-probabilities of logged actions under the loggers and under the policy."""

    def params(self) -> dict[str, Any]:
        """The hyper-parameters, as strict JSON values."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def identity(self) -> dict[str, Any]:
        """The hyper-parameters that tell its results from others: all but those of `added` at the value given there."""
        return {k: v for k, v in self.params().items() if k not in self.added or v != self.added[k]}

    def unsupported(self, data: LoggedDataset, policy: Policy) -> str | None:
        """Why this estimator cannot judge `policy` from `data`, or None."""
        if self.needs_propensities and not data.has_propensities:
            return "the log has no behavior log-probabilities, which this estimator needs"
        return None

    @abstractmethod
    def fit(self, data: LoggedDataset, rng: np.random.Generator) -> Self:
        """Learns from the log; returns self. A second call forgets the first."""

    def prepare(self, policy: Policy) -> None:  # noqa: B027 (most have nothing to prepare)
        """Trains whatever `estimate` needs for this policy and will be kept for other estimates: nothing, unless a
        subclass says otherwise. `estimate` does it itself where nobody has; the runner asks first, so that it is timed
        apart from what every estimate costs anew."""

    @abstractmethod
    def estimate(self, policy: Policy, rng: np.random.Generator) -> Estimate:
        """Judges `policy`. Raises NotFittedError before `fit`."""

    def fitted_data(self) -> LoggedDataset:
        """The log given to `fit`."""
        data = getattr(self, "data_", None)
        if data is None:
            raise NotFittedError(f"{type(self).__name__}.estimate was called before fit(data, rng).")
        return data
