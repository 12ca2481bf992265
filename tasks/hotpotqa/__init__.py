"""HotpotQA: questions over several pages, answered in ReAct's Wikipedia environment (Yang et al., EMNLP 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.recorded import PURE_EXPLORER, RecordedTask
from bench.task import TaskCard
from tasks.hotpotqa.actions import exploratory_actions
from tasks.hotpotqa.environment import STEP_LIMIT, VERSION


class HotpotQATask(RecordedTask):
    """Generated questions over ten pages each; language-model agents cloned from two experts that read them."""

    card = TaskCard(
        description="answer bridge and comparison questions by search, lookup and finish; F1 of the answer",
        horizon=STEP_LIMIT,
        gamma=1.0,
        return_range=(0.0, 1.0),
        deterministic=True,
        environment=VERSION,
        source="tasks/hotpotqa; schema of https://hotpotqa.github.io, rules of https://github.com/ysymyth/ReAct",
        license="that of this repository",
    )
    folder = Path(__file__).parent / "recorded"
    known_failures = PURE_EXPLORER

    @staticmethod
    def explore(goal: str, observations: Sequence[str]) -> Sequence[str]:
        """See `tasks.hotpotqa.actions`."""
        return exploratory_actions(goal, observations)
