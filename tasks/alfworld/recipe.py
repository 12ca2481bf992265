"""How the ALFWorld recording is made: six task types, two training mixes, checkpoints from weak to strong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bench.agents.cloning import CloningConfig
from bench.recipe import Recipe, checkpoint, exploring
from tasks.alfworld.actions import exploratory_actions
from tasks.alfworld.live import STEP_LIMIT, VERSION, ALFWorld

INSTANCES = Path(__file__).parent / "recorded" / "instances.json"


@dataclass(frozen=True)
class ALFWorldRecipe(Recipe):
    """See `Recipe`."""

    task: ClassVar[str] = "alfworld"

    def environment(self) -> ALFWorld:
        """One player of its own; engines and translations are shared within a process."""
        return ALFWorld(step_limit=self.step_limit)

    def demonstrations(self, mix: str, out: Path, workers: int) -> list[Path]:
        """Searches in train households, played with noise; only those that solve the task."""
        from tasks.alfworld.demos import generate

        return [generate(out, mix, workers, seed=0)]

    def explore(self, goal: str, observations: Sequence[str]) -> Sequence[str]:
        """See `tasks.alfworld.actions`."""
        return exploratory_actions(goal, observations)


def _instances() -> tuple[str, ...]:
    raw = json.loads(INSTANCES.read_text(encoding="utf-8"))["instances"]
    return tuple(one["id"] for one in raw)


RECIPE = ALFWorldRecipe(
    instances=_instances(),
    step_limit=STEP_LIMIT,
    environment_version=VERSION.format("older"),
    policies=(
        # loggers
        checkpoint("a", 35),
        checkpoint("b", 50),
        checkpoint("a", 70),
        checkpoint("b", 100, 0.4),
        # targets, from weak to strong within a mix
        checkpoint("a", 35, 0.4),
        checkpoint("a", 50),
        checkpoint("a", 100),
        checkpoint("a", 100, 0.4),
        checkpoint("b", 20),
        checkpoint("b", 35),
        checkpoint("b", 70),
        checkpoint("b", 100),
        *map(exploring, (0.25, 0.5, 0.75, 1.0)),
    ),
    logs={
        "pooled": ("a-035", "b-050", "a-070"),
        "far": ("b-100-t040",),
        "pooled-2": ("a-035", "b-050", "a-070"),
    },
    volumes={"pooled": ("pooled", "pooled-2")},
    mixes=("a", "b"),
    cloning=CloningConfig(hidden=96, feed_forward=192, epochs=10.0, batch_tokens=2_048),
    masked_policy="a-100",
    deterministic=True,
    vocabulary=768,
    log_episodes=30,
    truth_episodes=12,
)
