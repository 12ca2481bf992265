"""ALFWorld: household tasks in text, recorded from the real engine (Shridhar et al., ICLR 2021; TextWorld)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.recorded import PURE_EXPLORER, RecordedTask
from bench.task import TaskCard
from tasks.alfworld.actions import exploratory_actions
from tasks.alfworld.live import STEP_LIMIT, VERSION


class ALFWorldTask(RecordedTask):
    """Its six task types in small households of its floor plans; language-model agents cloned from experts."""

    card = TaskCard(
        description="find, take, clean, heat or cool and put away things; success only at the end; free-text commands",
        horizon=STEP_LIMIT,
        gamma=1.0,
        return_range=(0.0, 1.0),
        deterministic=True,
        environment=VERSION.format("older"),
        source="https://github.com/alfworld/alfworld",
        license="MIT",
    )
    folder = Path(__file__).parent / "recorded"
    known_failures = PURE_EXPLORER

    @staticmethod
    def explore(goal: str, observations: Sequence[str]) -> Sequence[str]:
        """See `tasks.alfworld.actions`."""
        return exploratory_actions(goal, observations)
