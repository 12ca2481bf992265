"""WebArena-style: tasks on small sites of our own (shop, forum, admin), in WebArena's page text, actions and scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.recorded import PURE_EXPLORER, RecordedTask
from bench.task import TaskCard
from tasks.webarena.environment import STEP_LIMIT, VERSION
from tasks.webarena.exploration import exploratory_actions


class WebArenaTask(RecordedTask):
    """Nine kinds of task (look up, buy, post, administer); language-model agents cloned from scripted experts.

    Values are not comparable with published ones: the sites are ours, and much smaller than WebArena's.
    """

    card = TaskCard(
        description="WebArena-style: look up, buy, post and administer on small sites of our own; pages as text",
        horizon=STEP_LIMIT,
        gamma=1.0,
        return_range=(0.0, 1.0),
        deterministic=False,  # element ids are drawn anew in every episode
        environment=VERSION,
        source="this repository, after https://github.com/web-arena-x/webarena",
        license="Apache-2.0",
    )
    folder = Path(__file__).parent / "recorded"
    known_failures = PURE_EXPLORER

    @staticmethod
    def explore(goal: str, observations: Sequence[str]) -> Sequence[str]:
        """See `tasks.webarena.exploration`."""
        return exploratory_actions(goal, observations, named=True)
