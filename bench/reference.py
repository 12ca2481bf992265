"""The reference that needs no log: what error would m real episodes of each target have given?

From `results/truth/<task>.json`. The on-policy episodes of each target are split in two halves, every instance
alternating: one half stands for the episodes a user would run, drawn at random without replacement; the other gives
the true value they are scored against. So the two are disjoint, as they would be in life.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.errors import DataError
from bench.rng import rng_for

SHOWN = (1, 5, 10, 50)
"""Numbers of real episodes printed and drawn as reference lines."""


@dataclass(frozen=True)
class RealEpisodes:
    """Expected absolute error of the mean of m real episodes, for m = 1..M: (M,) per policy, in units of the return."""

    errors: dict[str, np.ndarray]

    def mae(self, policies: Collection[str]) -> np.ndarray:
        """(M,) mean over policies of the expected absolute error; empty where one of them has no episodes."""
        if not policies or not set(policies) <= set(self.errors):
            return np.zeros(0)
        chosen = [self.errors[p] for p in sorted(policies)]
        return np.mean([e[: min(map(len, chosen))] for e in chosen], axis=0)

    def break_even(self, mae: float, policies: Collection[str]) -> int | None:
        """How many real episodes err as much: the smallest m whose expected error is at most `mae`.

        0 where even a single one errs less; None where even the largest m errs more, or nothing is known.
        """
        errors = self.mae(policies)
        enough = np.flatnonzero(errors <= mae)
        if not len(enough):
            return None
        return 0 if errors[0] < mae else int(enough[0]) + 1


def real_episodes(results_dir: Path, task: str, redraws: int = 2000) -> RealEpisodes | None:
    """Reads the on-policy episodes of a task; None where the file is absent.

    Raises:
        DataError: the file is not what it should be.
    """
    path = Path(results_dir) / "truth" / f"{task}.json"
    if not path.exists():
        return None
    try:
        policies = json.loads(path.read_text(encoding="utf-8"))
        found = {
            name: _expected_errors(
                one["returns"], one["instances"], one["mean"] if one["stderr"] == 0 else None, task, name, redraws
            )
            for name, one in sorted(policies.items())
            if len(one["returns"]) >= 2
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} does not hold on-policy returns ({type(error).__name__}: {error}). It should map each policy to "
            "mean, stderr, returns and instances; delete it and run the benchmark again to write it anew."
        ) from error
    return RealEpisodes(found)


def halves(instances: Sequence[object]) -> np.ndarray:
    """(m,) bool, the episodes to draw from: every other one of each instance, the first or the second in turn."""
    draws, seen = np.zeros(len(instances), dtype=bool), dict[object, int]()
    for i, instance in enumerate(instances):
        turn = seen.setdefault(instance, len(seen) % 2)
        draws[i] = turn % 2 == 0
        seen[instance] = turn + 1
    return draws


def _expected_errors(
    returns: Sequence[float], instances: Sequence[object], exact: float | None, task: str, policy: str, redraws: int
) -> np.ndarray:
    """(M,) mean over random orders of |mean of the first m drawn episodes - true value|."""
    values = np.asarray(returns, dtype=float)
    if len(values) != len(instances) or not np.isfinite(values).all():
        raise ValueError(
            f"{policy}: {len(values)} returns and {len(instances)} instances, all must be finite and match"
        )
    drawn = np.ones(len(values), dtype=bool) if exact is not None else halves(instances)
    truth = (
        exact
        if exact is not None
        else _instance_mean(values[~drawn], [x for x, d in zip(instances, drawn, strict=True) if not d])
    )
    orders = rng_for("real episodes", task, policy).permuted(np.tile(values[drawn], (redraws, 1)), axis=1)
    means = np.cumsum(orders, axis=1) / np.arange(1, drawn.sum() + 1)
    return np.abs(means - truth).mean(axis=0)


def _instance_mean(values: np.ndarray, instances: Sequence[object]) -> float:
    _, code = np.unique(np.array([str(x) for x in instances]), return_inverse=True)
    return float(np.mean(np.bincount(code, weights=values) / np.bincount(code)))
