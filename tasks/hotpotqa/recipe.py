"""How the HotpotQA recording is made: generated questions, two training mixes, checkpoints from weak to strong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from bench.agents.cloning import CloningConfig
from bench.recipe import LOGS, ROSTER, Recipe
from tasks.hotpotqa.actions import exploratory_actions
from tasks.hotpotqa.environment import STEP_LIMIT, VERSION, WikipediaEnvironment
from tasks.hotpotqa.generator import generate
from tasks.hotpotqa.questions import Question

EVALUATION = 50
"""Evaluation questions: 39 bridge questions (8 of them over three pages) and 11 comparisons."""


@dataclass(frozen=True)
class HotpotQARecipe(Recipe):
    """See `Recipe`."""

    task: ClassVar[str] = "hotpotqa"

    @cached_property
    def asked(self) -> tuple[Question, ...]:
        """The evaluation questions."""
        return generate("evaluation", len(self.instances))

    def environment(self) -> WikipediaEnvironment:
        """The evaluation questions in ReAct's dialect; the reward is the F1 of the answer."""
        return WikipediaEnvironment(self.asked)

    def demonstrations(self, mix: str, out: Path, workers: int) -> list[Path]:
        """Train questions answered by an expert with noise; only those whose answer is exact."""
        from tasks.hotpotqa.demos import generate as demonstrate

        return [demonstrate(out, mix, seed=0)]

    def explore(self, goal: str, observations: Sequence[str]) -> Sequence[str]:
        """See `tasks.hotpotqa.actions`."""
        return exploratory_actions(goal, observations)


RECIPE = HotpotQARecipe(
    instances=tuple(question.id for question in generate("evaluation", EVALUATION)),
    step_limit=STEP_LIMIT,
    environment_version=VERSION,
    policies=ROSTER,
    logs=LOGS,
    mixes=("a", "b"),
    # Copying names never seen before is most of what there is to learn. Trials of three minutes on mix a (128 wide)
    # ended at
    # a loss of 1.26 nats with the defaults, .92 with wider initial weights, .48 with batches of 2,048 as well, .40
    # with the loss on observations, which repeat names, as well.
    cloning=CloningConfig(
        hidden=96,
        feed_forward=192,
        epochs=1.5,
        batch_tokens=1_536,
        initializer_range=96**-0.5,
        observation_weight=0.5,
    ),
    masked_policy="a-100",
    deterministic=True,
    log_episodes=60,
    truth_episodes=12,
)
