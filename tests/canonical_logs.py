"""Small canonical logs, right except for what a test changes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from bench.data import LoggedDataset, Step, Trajectory

EPISODE: dict[str, Any] = {
    "id": "a",
    "instance": "boil/3",
    "goal": "Boil water.",
    "logger": "gpt",
    "terminated": True,
    "truncated": False,
    "steps": [{"observation": "kitchen", "action": "heat", "reward": 1.0}],
}
HEADER: dict[str, Any] = {"format": "ope-log", "version": 1, "task": "boiling", "loggers": ["gpt"]}


def episode(step: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """The episode with changes to it or to its step; None removes."""
    steps = [merged(EPISODE["steps"][0], step or {})]
    return merged({**EPISODE, "steps": steps}, changes)


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in {**base, **changes}.items() if v is not None}


def lines(*values: Any) -> bytes:
    return b"".join((v if isinstance(v, bytes) else json.dumps(v).encode()) + b"\n" for v in values)


COLUMNS: dict[str, Any] = {
    "episode_id": ["a", "a", "b"],
    "turn": [0, 1, 0],
    "instance": ["boil/3"] * 3,
    "goal": ["Boil water."] * 3,
    "logger": ["gpt"] * 3,
    "terminated": [True] * 3,
    "truncated": [False] * 3,
    "observation": ["kitchen"] * 3,
    "action": ["heat"] * 3,
    "reward": [0.0, 1.0, 0.5],
}


def changed(**changes: Any) -> dict[str, Any]:
    return merged(COLUMNS, changes)


def realistic(episodes: int) -> LoggedDataset:
    """Episodes like those of a text environment: few distinct observations, log-probabilities all different."""
    rng = np.random.default_rng(0)
    things = (
        "an apple",
        "a metal pot (containing a substance called water)",
        "a battery",
        "a bee hive. The bee hive door is closed.",
    )
    rooms = [
        f"This room is called the room {i}. In it, you see:\n\t" + "\n\t".join(things[: i % 4 + 1]) for i in range(120)
    ]
    verbs, loggers = ("go to", "focus on", "pick up", "look at"), ("weak", "middling", "strong")
    trajectories = []
    for i in range(episodes):
        steps = []
        for _ in range(rng.integers(8, 20)):
            verb, room = int(rng.integers(4)), int(rng.integers(120))
            logps = tuple(float(np.float32(x)) for x in -rng.exponential(1.0, 3))
            tokens = (10 + verb, 20 + room, 200 + room, 300 + room // 7, 2)
            steps.append(
                Step(
                    rooms[rng.integers(120)],
                    f"{verbs[verb]} room {room}",
                    float(rng.random() < 0.1),
                    tokens,
                    logps[i % 3],
                    logps,
                )
            )
        name = f"find-plant/{i % 50}"
        trajectories.append(
            Trajectory(
                f"log/{i}", name, f"Find {name}.", tuple(steps), rooms[0], bool(i % 2), not i % 2, loggers[i % 3]
            )
        )
    return LoggedDataset("scienceworld", loggers, 1.0, 20, tuple(trajectories))
