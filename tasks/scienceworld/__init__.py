"""ScienceWorld: household science in text, recorded from the real simulator (Wang et al., EMNLP 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.recorded import PURE_EXPLORER, RecordedTask
from bench.task import TaskCard
from tasks.scienceworld.actions import exploratory_actions
from tasks.scienceworld.live import STEP_LIMIT, VERSION


class ScienceWorldTask(RecordedTask):
    """Six of its tasks from three kinds (find, lifespan, power); language-model agents cloned from its gold paths."""

    card = TaskCard(
        description="find things, compare lifespans, wire a circuit; free-text actions in the real simulator",
        horizon=STEP_LIMIT,
        gamma=1.0,
        return_range=(0.0, 1.0),
        deterministic=True,
        environment=VERSION,
        source="https://github.com/allenai/ScienceWorld",
        license="Apache-2.0",
    )
    folder = Path(__file__).parent / "recorded"
    known_failures = PURE_EXPLORER

    @staticmethod
    def explore(goal: str, observations: Sequence[str]) -> Sequence[str]:
        """See `tasks.scienceworld.actions`."""
        return exploratory_actions(goal, observations)
