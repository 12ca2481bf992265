"""Writes BrowserGym's pickles without BrowserGym: classes of its names, and everything its steps hold."""

from __future__ import annotations

import datetime
import gzip
import pickle
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

MODULE = "browsergym.experiments.loop"


@contextmanager
def named_classes(module: str, *names: str) -> Iterator[list[type]]:
    """Classes that pickle under another package's name; the package exists only inside the block."""
    classes = [type(name, (), {"__module__": module}) for name in names]
    parts = [module.rsplit(".", k)[0] for k in range(module.count("."), -1, -1)]
    before = {part: sys.modules.get(part) for part in parts}
    for part in parts:
        sys.modules[part] = types.ModuleType(part)
    vars(sys.modules[module]).update(zip(names, classes, strict=True))
    try:
        yield classes
    finally:
        for part, old in before.items():
            sys.modules.pop(part) if old is None else sys.modules.__setitem__(part, old)


def step_info(step: int, text: str | None, action: str | None, reward: Any = 0, **more: Any) -> bytes:
    """One step_<k>.pkl as BrowserGym writes it: numpy arrays and numbers, dates and nested objects included."""
    with named_classes(MODULE, "StepInfo", "StepTimestamps") as (info, timestamps):
        made = info()
        made.profiling = timestamps()
        made.profiling.env_start = 1.5
        seen = {"axtree_txt": text, "active_page_index": np.array([0]), "screenshot": np.zeros((2, 2, 3), np.uint8)}
        made.obs = {"goal": None, "goal_object": None, "extra": {1, 2}, **seen}
        made.step, made.action, made.reward = step, action, reward
        made.terminated, made.truncated = np.bool_(more.get("terminated", False)), more.get("truncated", False)
        made.agent_info = {"think": "I click.", "when": datetime.datetime(2024, 5, 1), "cost": np.float64(0.25)}
        return pickle.dumps(made, protocol=more.get("protocol", 4))


def write_experiment(folder: Path, steps: list[bytes], goal: str) -> None:
    """An experiment folder; exp_args.pkl is one that nobody may open."""
    folder.mkdir(parents=True)
    for number, content in enumerate(steps):
        (folder / f"step_{number}.pkl.gz").write_bytes(gzip.compress(content))
    (folder / "goal_object.pkl.gz").write_bytes(gzip.compress(pickle.dumps(({"type": "text", "text": goal},))))
    (folder / "exp_args.pkl").write_bytes(b"\x80\x04cos\nsystem\n(Vtrue\ntR.")
