"""Writes a results folder as a finished benchmark would leave it: made-up estimators with known errors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.cells import Cell, Record
from bench.rng import rng_for
from bench.store import Store


@dataclass(frozen=True)
class Maker:
    """How one made-up estimator errs, in shares of the range of true values.

    Attributes:
        family: of the estimator.
        bias: of every estimate; noise: standard deviation that falls with the root of the log size.
        pull: share by which estimates are drawn to the mean of the log (1: constant).
        tail: share of cells that are off by a factor of hundreds.
        refuses: share of targets it declines; partial: seeds after the first are missing.
        simulation: its intervals describe simulation noise alone.
    """

    family: str
    bias: float = 0.0
    noise: float = 0.05
    pull: float = 0.0
    tail: float = 0.0
    refuses: float = 0.0
    partial: bool = False
    simulation: bool = False
    seconds: float = 0.05


MAKERS: dict[str, Maker] = {
    "behavior_average": Maker("reference", noise=0.03, pull=1.0, seconds=0.001),
    "behavior_average[matched=true]": Maker("reference", noise=0.025, pull=1.0, seconds=0.001),
    "importance_sampling": Maker("importance weighting", noise=0.4, tail=0.15),
    "importance_sampling[per_decision=true]": Maker("importance weighting", noise=0.3, tail=0.1),
    "importance_sampling[self_normalized=true]": Maker("importance weighting", noise=0.2, pull=0.3),
    "importance_sampling[per_decision=true,self_normalized=true]": Maker("importance weighting", noise=0.15, pull=0.3),
    "importance_sampling[balanced=true,self_normalized=true]": Maker("importance weighting", noise=0.12, refuses=0.3),
    "control_variate": Maker("importance weighting", noise=0.18, pull=0.2),
    "turn_level": Maker("importance weighting", noise=0.1, pull=0.5),
    "reward_regression": Maker("direct", bias=-0.1, noise=0.06, pull=0.4, seconds=1.0),
    "fqe": Maker("direct", bias=-0.06, noise=0.07, pull=0.3, seconds=4.0),
    "prefix_tree": Maker("direct", bias=-0.3, noise=0.05, pull=0.2, seconds=0.4),
    "doubly_robust": Maker("doubly robust", noise=0.3, tail=0.05, seconds=9.0),
    "doubly_robust[weighted=true]": Maker("doubly robust", noise=0.12, pull=0.2, seconds=9.0),
    "magic": Maker("doubly robust", noise=0.1, pull=0.3, seconds=12.0),
    "retrieval": Maker("world model", bias=0.05, noise=0.06, pull=0.25, simulation=True, seconds=20.0),
    "autoregressive_wm": Maker("world model", bias=0.1, noise=0.04, simulation=True, seconds=240.0),
    "gaussian_wm": Maker("world model", bias=0.25, noise=0.05, pull=0.6, simulation=True, seconds=60.0),
    "joint_diffusion": Maker(
        "joint diffusion", bias=0.12, noise=0.07, pull=0.5, simulation=True, partial=True, seconds=150.0
    ),
    "adwm": Maker("diffusion world model", bias=0.06, noise=0.05, pull=0.15, simulation=True, seconds=180.0),
    "adwm[eta=0.0,omega=1.0]": Maker(
        "diffusion world model", bias=0.04, noise=0.05, pull=0.2, simulation=True, seconds=90.0
    ),
    "adwm_dr": Maker("hybrid", noise=0.09, pull=0.1, partial=True, seconds=200.0),
}
"""A leaderboard of the size and the unevenness of the published one."""

TASKS = {"alpha_world": (0.1, 0.9, 0.012), "beta_web": (0.35, 0.62, 0.02)}
"""Lowest and highest true value of each task, and the standard error of the measured ones."""


def write_results(
    folder: Path,
    *,
    makers: Mapping[str, Maker] = MAKERS,
    tasks: Sequence[str] = tuple(TASKS),
    logs: Mapping[str, Mapping[int, Sequence[int]]] | None = None,
    policies: int = 12,
    replicates: int = 400,
) -> Path:
    """Writes cells and true values into `folder`.

    Args:
        logs: log name to log size to seeds; default: `pooled` with three sizes and seeds, `far` with one of each.
    """
    logs = logs or {"pooled": {1000: (0, 1, 2), 300: (0, 1, 2), 100: (0, 1, 2)}, "far": {1000: (0,)}}
    store = Store(folder)
    for task in tasks:
        low, high, stderr = TASKS[task]
        exact = np.linspace(low, high, policies)
        names = [f"agent_{i:02d}" for i in range(policies)]
        truth = _write_truth(folder, task, names, exact)
        for log, sizes in logs.items():
            for n, seeds in sizes.items():
                for seed in seeds:
                    for spec, maker in makers.items():
                        for i, name in enumerate(names):
                            if not (maker.partial and seed > 0):
                                _write_cell(
                                    store,
                                    Cell(
                                        task=task,
                                        log=log,
                                        data="synthetic",
                                        policy=name,
                                        estimator=spec.split("[")[0],
                                        version=1,
                                        params={"spec": spec},
                                        n_trajectories=n,
                                        seed=seed,
                                    ),
                                    spec,
                                    maker,
                                    exact,
                                    i,
                                    truth[name],
                                    replicates,
                                )
    return folder


def _write_truth(folder: Path, task: str, names: Sequence[str], exact: np.ndarray) -> dict[str, tuple[float, float]]:
    """The measured values and standard errors, and the returns behind them: 12 on each of 50 instances."""
    found, content = {}, {}
    for name, value in zip(names, exact, strict=True):
        rng = rng_for("synthetic truth", task, name)
        returns = (rng.random(600) < value).astype(float)
        mean, stderr = float(returns.mean()), float(returns.std() / np.sqrt(600))
        instances = [f"instance_{k // 12:02d}" for k in range(600)]
        content[name] = {"mean": mean, "stderr": stderr, "returns": returns.tolist(), "instances": instances}
        found[name] = (mean, stderr)
    path = Path(folder) / "truth" / f"{task}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return found


def _write_cell(
    store: Store,
    cell: Cell,
    spec: str,
    maker: Maker,
    exact: np.ndarray,
    index: int,
    truth: tuple[float, float],
    replicates: int,
) -> None:
    record = Record(
        cell=cell,
        spec=spec,
        status="done",
        family=maker.family,
        truth=truth[0],
        truth_stderr=truth[1],
        truth_episodes=600,
        policy_tags=["epsilon_sweep"] if index < 3 else [],
        interval="simulation only" if maker.simulation else "sampling",
    )
    rng = rng_for("synthetic cell", cell.task, cell.log, cell.n_trajectories, cell.seed, spec, cell.policy)
    if rng_for("synthetic refusal", cell.task, spec, cell.policy).random() < maker.refuses:
        record.status, record.reason = "unsupported", "zero overlap: all importance weights are 0"
        store.save(record)
        return
    span, harder = float(np.ptp(exact)), 2.0 if cell.log == "far" else 1.0
    sd = span * maker.noise * harder * np.sqrt(1000 / cell.n_trajectories)
    center = exact[index] + maker.pull * (exact.mean() - exact[index]) + maker.bias * span
    if maker.pull == 1.0:  # ignores the policy: one value for all of them
        rng = rng_for("synthetic cell", cell.task, cell.log, cell.n_trajectories, cell.seed, spec)
    record.value = float(center + sd * rng.standard_normal())
    if rng.random() < maker.tail * harder:
        record.value *= float(10 ** rng.uniform(0.5, 3.0))
        sd = abs(record.value) / 2
    drawn = record.value + sd * (0.1 if maker.simulation else 1.0) * rng.standard_normal(replicates)
    record.ci_low, record.ci_high = (float(x) for x in np.quantile(drawn, (0.025, 0.975)))
    record.diagnostics = {"ess": float(rng.uniform(1, 50))} if maker.family == "importance weighting" else {}
    record.fit_seconds, record.estimate_seconds = maker.seconds, 0.3 * maker.seconds * float(rng.uniform(0.8, 1.2))
    record.peak_memory_mb = 200 + 10 * maker.seconds
    record.note = "ignores the policy by design" if maker.family == "reference" else ""
    store.save(record, drawn)
