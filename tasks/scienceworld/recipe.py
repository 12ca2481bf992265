"""How the ScienceWorld recording is made: six tasks, two training mixes, checkpoints from weak to strong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.agents.cloning import CloningConfig
from bench.recipe import Recipe
from bench.task import PolicyCard
from tasks.scienceworld.actions import exploratory_actions
from tasks.scienceworld.live import STEP_LIMIT, VERSION, ScienceWorld

RECORDED = Path(__file__).parent / "recorded"


@dataclass(frozen=True)
class ScienceWorldRecipe(Recipe):
    """See `Recipe`."""

    task = "scienceworld"

    def environment(self) -> ScienceWorld:
        """One simulator in its own JVM."""
        return ScienceWorld()

    def demonstrations(self, mix: str, out: Path, workers: int) -> list[Path]:
        """Gold paths of train variations, replayed with noise; only those that reach the full score."""
        from tasks.scienceworld.demos import generate

        return [generate(out, mix, workers)]

    def explore(self, goal: str, observations: Sequence[str]) -> Sequence[str]:
        """See `tasks.scienceworld.actions`."""
        return exploratory_actions(goal, tuple(observations))
