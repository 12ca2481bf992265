"""A copy of the repository for one test: linked machinery, one tiny task, plug-ins of the test's own."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = """\"\"\"{summary}\"\"\"
from dataclasses import dataclass
import os, signal, time
from pathlib import Path
import numpy as np
from bench.errors import UnsupportedError
from bench.estimator import Estimate, Estimator, mean_of_terms

"""
WEIGHTED = (
    HEADER.format(summary="Weights with noise, so that every random stream shows.")
    + '''
@dataclass
class Weighted(Estimator):
    scale: float = 0.01
    """How much noise."""

    variants = ("", "scale=0.5")

    def fit(self, data, rng):
        self.data_, self.noise_ = data, rng.normal()
        return self

    def estimate(self, policy, rng):
        weights = np.exp([x.sum() for x in policy.log_prob_episodes(self.data_.trajectories)])
        terms = weights + self.scale * (self.noise_ + rng.normal(size=len(weights)))
        return Estimate(terms[:, None], mean_of_terms, self.data_.columns.instance, {"ess": 1.0, "odd": np.nan})
'''
)
"""Source of an estimator that uses everything it is given."""


def constant(body: str = "", fit: str = "", name: str = "Constant") -> str:
    """Source of an estimator that answers with the mean return, after doing what `fit` and `body` say."""
    return (
        HEADER.format(summary="Mean return.")
        + f'''
@dataclass
class {name}(Estimator):
    factor: float = 1.0
    """Multiplies the answer."""

    def fit(self, data, rng):
        {fit or "pass"}
        self.data_ = data
        return self

    def estimate(self, policy, rng):
        {body or "pass"}
        terms = self.factor * self.data_.columns.returns(1.0)[:, None]
        return Estimate(terms, mean_of_terms, self.data_.columns.instance)
'''
    )


@dataclass(frozen=True)
class House:
    """Where the copy is, and how to use its front door."""

    root: Path

    @property
    def results(self) -> Path:
        """Its default results folder."""
        return self.root / "results"

    def write_estimator(self, name: str, source: str) -> None:
        """Adds or replaces `estimators/<name>.py`, also in the eyes of a process that lives here."""
        (self.root / "estimators" / f"{name}.py").write_text(source, encoding="utf-8")
        sys.modules.pop(f"estimators.{name}", None)
        importlib.invalidate_caches()

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts `run_bench.py` in a session of its own, so that signals reach it and its workers only."""
        command = [sys.executable, "run_bench.py", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.root, env=self._environment(), stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )

    def cli(self, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Runs `run_bench.py` to its end and checks the exit code (None: any)."""
        command = [sys.executable, "run_bench.py", *arguments]
        done = subprocess.run(
            command, cwd=self.root, env=self._environment(), capture_output=True, text=True, timeout=600
        )
        assert code is None or done.returncode == code, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done

    def _environment(self) -> dict[str, str]:
        return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {
            "PYTHONDONTWRITEBYTECODE": "1"
        }


def build_house(root: Path, estimators: Mapping[str, str]) -> House:
    """Makes a house with the task `coins`.

    Args:
        estimators: file stem to source, written into its `estimators/`.
    """
    for folder in ("estimators", "tasks"):
        (root / folder).mkdir(parents=True)
        (root / folder / "__init__.py").symlink_to(ROOT / folder / "__init__.py")
    (root / "bench").symlink_to(ROOT / "bench")
    (root / "tasks" / "coins").mkdir()
    (root / "tasks" / "coins" / "__init__.py").symlink_to(ROOT / "tests" / "coins.py")
    (root / "run_bench.py").write_bytes((ROOT / "run_bench.py").read_bytes())  # a link would lead back to the original
    house = House(root)
    for name, source in estimators.items():
        house.write_estimator(name, source)
    return house
