"""Do nominal 95 % intervals cover 95 %? Simulated logs of known value, estimators and bootstrap of the benchmark.

    python -m benchmarks.interval_coverage --replications 1000

writes results/simulations/interval_coverage.json and .md. The process: 50 instances of different difficulty, visited
equally often; T turns, each a choice between two actions; each turn pays a Bernoulli reward / T whose mean rises with
the second action. The logger picks it with probability 1/2, the target more often. The value has a closed form.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tyro
from tabulate import tabulate

from bench.data import LoggedDataset, Step, Trajectory
from bench.estimator import Estimate
from bench.metrics import wilson_interval
from bench.registry import make_estimator
from bench.rng import rng_for
from bench.stats import percentile_interval, resample_counts, resampling_scheme
from estimators._weights import WeightedEpisodes, effective_sample_size

OUT = Path(__file__).resolve().parent.parent / "results" / "simulations"
INSTANCES = 50
EFFECT = 0.4
"""How much the second action adds to the mean reward of its turn, times T."""
BEHAVIOR_AVERAGE = "behavior_average"
"""Scored against the value of the logger, which is what it estimates."""
WEIGHTED = (
    "importance_sampling",
    "importance_sampling[self_normalized=true]",
    "importance_sampling[per_decision=true]",
    "importance_sampling[per_decision=true,self_normalized=true]",
    "control_variate",
)


@dataclass(frozen=True)
class Setting:
    """One kind of log: `turns` choices, which the target makes with probability `target`."""

    name: str
    turns: int
    target: float


LIGHT, HEAVY = Setting("light tails", 4, 0.6), Setting("heavy tails", 12, 0.85)


@dataclass(frozen=True)
class Result:
    """Coverage of one estimator in one setting; `low` and `high` are its Wilson interval, `ess_share` is ESS / n."""

    setting: str
    n: int
    estimator: str
    replications: int
    coverage: float
    low: float
    high: float
    mean_width: float
    mean_error: float
    ess_share: float


def draw_log(setting: Setting, n: int, rng: np.random.Generator) -> WeightedEpisodes:
    """n logged episodes, equally many on each instance."""
    instance = np.arange(n) % INSTANCES
    action = rng.random((n, setting.turns)) < 0.5
    mean = _difficulty()[instance][:, None] + EFFECT * (action - 0.5)
    reward = (rng.random(mean.shape) < mean) / setting.turns
    ratio = np.where(action, np.log(setting.target / 0.5), np.log((1 - setting.target) / 0.5))
    return WeightedEpisodes(np.cumsum(ratio, axis=1), reward, np.full(n, setting.turns), instance)


def _difficulty() -> np.ndarray:
    return np.linspace(0.25, 0.75, INSTANCES)


def value(probability: float) -> float:
    """True value of choosing the second action with this probability."""
    return float(_difficulty().mean() + EFFECT * (probability - 0.5))


def estimates(log: WeightedEpisodes) -> Iterator[tuple[str, Estimate, bool]]:
    """Every estimator on one log: spec, estimate, and whether it estimates the value of the target."""
    for spec in WEIGHTED:
        yield spec, make_estimator(spec).from_weights(log), True
    steps = [(Step("", "", float(g)),) for g in log.returns]
    episodes = tuple(Trajectory(str(i), f"{log.instance[i]:03d}", "", s, logger="logger") for i, s in enumerate(steps))
    data = LoggedDataset("simulated", ("logger",), 1.0, 1, episodes)
    average = make_estimator(BEHAVIOR_AVERAGE).fit(data, np.random.default_rng(0))
    yield BEHAVIOR_AVERAGE, average.estimate(None, np.random.default_rng(0)), False  # ignores the policy by design


def simulate(setting: Setting, n: int, replications: int, resamples: int = 400) -> list[Result]:
    """Coverage of every estimator over independent logs of n episodes (a multiple of the number of instances)."""
    hits: dict[str, list[bool]] = {}
    widths: dict[str, list[float]] = {}
    misses: dict[str, list[float]] = {}
    shares = []
    for k in range(replications):
        log = draw_log(setting, n, rng_for("coverage", setting.name, n, k))
        shares.append(effective_sample_size(log.log_weight[:, -1:])[0] / n)
        scheme, _ = resampling_scheme(log.instance, fixed_instances=True)
        counts = resample_counts(log.instance, resamples, rng_for("resample", setting.name, n, k), scheme)
        for spec, estimate, of_target in estimates(log):
            truth = value(setting.target if of_target else 0.5)
            low, high = percentile_interval(
                estimate.combine(estimate.terms, counts)
            )  # what `bootstrap` does, drawn once
            hits.setdefault(spec, []).append(low <= truth <= high)
            widths.setdefault(spec, []).append(high - low)
            misses.setdefault(spec, []).append(abs(estimate.value - truth))
    return [
        Result(
            setting.name,
            n,
            spec,
            replications,
            float(np.mean(hits[spec])),
            *wilson_interval(sum(hits[spec]), replications),
            float(np.mean(widths[spec])),
            float(np.mean(misses[spec])),
            float(np.mean(shares)),
        )
        for spec in hits
    ]


def markdown(results: list[Result], seconds: float) -> str:
    """The table, and what it says.

    Args:
        seconds: processor time it took.
    """
    rows = [
        [
            r.setting,
            f"{r.n:,}",
            f"{r.ess_share:.3f}",
            f"`{r.estimator}`",
            f"{100 * r.coverage:.1f} % [{100 * r.low:.1f}, {100 * r.high:.1f}]",
            f"{r.mean_width:.3f}",
            f"{r.mean_error:.3f}",
        ]
        for r in results
    ]
    header = ["setting", "n", "ESS / n", "estimator", "covers [95 %]", "mean width", "mean abs. error"]
    about = (
        f"Written by `python -m benchmarks.interval_coverage`: {results[0].replications:,} simulated logs per row, "
        f"{seconds:.0f} s of processor time. `{BEHAVIOR_AVERAGE}` is scored against the value of the logger, which is "
        "what it estimates; the others against that of the target."
    )
    table = tabulate(rows, header, tablefmt="github", disable_numparse=True)
    return "\n\n".join(["# Coverage of nominal 95 % intervals", about, verdict(results), table]) + "\n"


def verdict(results: list[Result]) -> str:
    """What the table says about light and about heavy tails."""
    light = [r for r in results if r.setting == LIGHT.name and r.n >= 200]
    outside = [
        f"{100 * r.coverage:.1f} % (`{r.estimator}`, n = {r.n:,})" for r in light if not 0.93 <= r.coverage <= 0.97
    ]
    text = f"Light tails, n >= 200: {len(light) - len(outside)} of {len(light)} rows cover between 93 and 97 %"
    text += f"; not {', '.join(outside)}." if outside else "."
    heavy = [r for r in results if r.setting == HEAVY.name and r.estimator in WEIGHTED]
    if not heavy:
        return text
    lowest = min(heavy, key=lambda r: r.coverage)
    return (
        f"{text} Heavy tails: down to {100 * lowest.coverage:.1f} % (`{lowest.estimator}`, n = {lowest.n:,}). Where a "
        "handful of episodes carries all the weight, resampling them knows nothing of weights that were never seen: "
        "there an interval is only as good as the effective sample size beside it."
    )


def main(replications: int = 1000, n: tuple[int, ...] = (200, 500), out: Path = OUT) -> None:
    """Simulates both settings and writes the results.

    Args:
        replications: simulated logs per setting and size.
        n: log sizes, multiples of 50.
        out: folder of interval_coverage.json and .md.
    """
    begun = time.process_time()
    results = [r for setting in (LIGHT, HEAVY) for size in n for r in simulate(setting, size, replications)]
    out.mkdir(parents=True, exist_ok=True)
    content = {
        "instances": INSTANCES,
        "effect": EFFECT,
        "settings": [asdict(LIGHT), asdict(HEAVY)],
        "results": [asdict(r) for r in results],
    }
    (out / "interval_coverage.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (out / "interval_coverage.md").write_text(markdown(results, time.process_time() - begun), encoding="utf-8")


if __name__ == "__main__":
    tyro.cli(main)
