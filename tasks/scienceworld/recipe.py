"""How the ScienceWorld recording is made: six tasks, two training mixes, checkpoints from weak to strong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bench.agents.cloning import CloningConfig
from bench.recipe import LOGS, ROSTER, Recipe, listed_instances
from tasks.scienceworld.actions import exploratory_actions
from tasks.scienceworld.live import STEP_LIMIT, VERSION, ScienceWorld

INSTANCES = Path(__file__).parent / "recorded" / "instances.json"


@dataclass(frozen=True)
class ScienceWorldRecipe(Recipe):
    """See `Recipe`."""

    task: ClassVar[str] = "scienceworld"

    def environment(self) -> ScienceWorld:
        """One simulator in its own JVM."""
        return ScienceWorld()

    def demonstrations(self, mix: str, out: Path, workers: int) -> list[Path]:
        """Gold paths of train variations, replayed with noise; only those that reach the full score."""
        from tasks.scienceworld.demos import generate

        generate(out, mix, workers, seed=0)
        return [out / f"demos-{mix}.jsonl"]

    def explore(self, goal: str, observations: Sequence[str]) -> Sequence[str]:
        """See `tasks.scienceworld.actions`."""
        return exploratory_actions(goal, observations)


RECIPE = ScienceWorldRecipe(
    instances=listed_instances(INSTANCES),
    step_limit=STEP_LIMIT,
    environment_version=VERSION,
    policies=ROSTER,
    logs=LOGS,
    mixes=("a", "b"),
    cloning=CloningConfig(),
    masked_policy="a-100",
    deterministic=True,
    log_episodes=60,
    truth_episodes=12,
)
