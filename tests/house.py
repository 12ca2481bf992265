"""A copy of the repository for one test: linked machinery, one small task, plug-ins of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class House:
    """Where the copy is, and how to use its front door."""

    root: Path

    @property
    def cells(self) -> Path:
        """The stored cells of its default results folder."""
        return self.root / "results" / "cells"

    def write_estimator(self, name: str, source: str) -> Path:
        """Adds or replaces `estimators/<name>.py`."""
        path = self.root / "estimators" / f"{name}.py"
        path.write_text(source, encoding="utf-8")
        return path

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
        done = subprocess.run(command, cwd=self.root, env=self._environment(), capture_output=True, text=True, timeout=120)
        assert code is None or done.returncode == code, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done

    def _environment(self) -> dict[str, str]:
        return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"PYTHONDONTWRITEBYTECODE": "1"}


def build_house(root: Path, estimators: Mapping[str, str], registered: bool) -> House:
    """Makes a house.

    Args:
        estimators: file stem to source, written into its `estimators/`.
        registered: whether the estimators of the repository live there too.
    """
    for folder in ("estimators", "tasks"):
        (root / folder).mkdir(parents=True)
        (root / folder / "__init__.py").symlink_to(ROOT / folder / "__init__.py")
    (root / "bench").symlink_to(ROOT / "bench")
    (root / "tasks" / "toy_chain").symlink_to(ROOT / "tasks" / "toy_chain")
    (root / "run_bench.py").write_bytes((ROOT / "run_bench.py").read_bytes())  # a link would lead back to the original
    if registered:
        for path in (ROOT / "estimators").glob("*.py"):
            if path.name != "__init__.py":
                (root / "estimators" / path.name).symlink_to(path)
    house = House(root)
    for name, source in estimators.items():
        house.write_estimator(name, source)
    return house
