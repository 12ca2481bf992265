"""How the WebArena-style recording is made: fifteen kinds of task, two mixes, checkpoints from weak to strong.

The agents write actions by role and name, not by element id: see `tasks.webarena.canonical`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from bench.agents.cloning import CloningConfig
from bench.recipe import Recipe, checkpoint, exploring
from tasks.webarena.configs import WebTask
from tasks.webarena.environment import STEP_LIMIT, VERSION, WebEnvironment
from tasks.webarena.exploration import exploratory_actions
from tasks.webarena.generator import TEMPLATES, generate

WORDS = (
    r"Tab \d+ \(current\): |['\"]?\n+\t*\[|\] \w+ ['\"]| focused: \w+| required: \w+|\s['\"]|"
    r"[A-Za-z]+|\d+|[^A-Za-z\d]"
)
"""What the agents' tokenizer takes for words: what every line of a page text repeats, runs of letters or digits.

A word is the same token wherever it stands, after a space or a quotation mark: a small model learns to copy it sooner.
"""
EVALUATION = 50
"""Evaluation instances."""
KINDS = frozenset(("cart", "category", "comment", "upvote", "submit", "reviews", "status", "rating", "cancel"))
"""Kinds of task that are evaluated: what agents of this size learn within minutes. They train on all fifteen."""


def evaluated() -> tuple[WebTask, ...]:
    """The evaluation tasks: the first ones of these kinds."""
    numbers = {template.number for template in TEMPLATES if template.name in KINDS}
    drawn = generate("evaluation", 2 * EVALUATION)
    return tuple(task for task in drawn if task.intent_template_id in numbers)[:EVALUATION]


@dataclass(frozen=True)
class WebArenaRecipe(Recipe):
    """See `Recipe`."""

    task: ClassVar[str] = "webarena"

    @cached_property
    def asked(self) -> tuple[WebTask, ...]:
        """The evaluation tasks."""
        return evaluated()

    def environment(self) -> WebEnvironment:
        """The evaluation tasks on our sites; agents act by role and name."""
        return WebEnvironment(self.asked, np.random.default_rng(), by_name=True)

    def seed(self, environment: WebEnvironment, seed: int) -> None:
        """Element ids are other ones in every episode, as in WebArena, and repeat with its seed."""
        environment.seed(seed)

    def demonstrations(self, mix: str, out: Path, workers: int) -> list[Path]:
        """Train tasks done by an expert with noise; only those that reach the score. Made once."""
        from tasks.webarena.demos import generate as demonstrate

        made = out / f"demos-{mix}.jsonl"
        return [made if made.exists() else demonstrate(out, mix, seed=0)]

    def explore(self, goal: str, observations: Sequence[str]) -> Sequence[str]:
        """See `tasks.webarena.exploration`."""
        return exploratory_actions(goal, observations, named=True)


RECIPE = WebArenaRecipe(
    instances=tuple(task.instance for task in evaluated()),
    step_limit=STEP_LIMIT,
    environment_version=VERSION,
    policies=(
        # loggers
        checkpoint("a", 60),
        checkpoint("b", 60),
        checkpoint("a", 80),
        checkpoint("b", 100, 0.4),
        # targets, from weak to strong within a mix
        checkpoint("a", 30),
        checkpoint("a", 60, 0.4),
        checkpoint("a", 80, 0.4),
        checkpoint("a", 100),
        checkpoint("a", 100, 0.4),
        checkpoint("b", 40),
        checkpoint("b", 80),
        checkpoint("b", 100),
        *map(exploring, (0.25, 0.5, 0.75, 1.0)),
    ),
    logs={
        "pooled": ("a-060", "b-060", "a-080"),
        "far": ("b-100-t040",),
        "pooled-2": ("a-060", "b-060", "a-080"),
    },
    volumes={"pooled": ("pooled", "pooled-2")},
    mixes=("a", "b"),
    cloning=CloningConfig(
        epochs=2.0,
        batch_tokens=1_024,
        learning_rate=2e-3,
        initializer_range=128**-0.5,
        observation_weight=0.5,
        checkpoints=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
    ),
    masked_policy="a-100",
    deterministic=False,  # element ids differ in every episode
    vocabulary=1280,
    words=WORDS,
    max_observation_tokens=160,
    log_episodes={"pooled": 30, "far": 20, "pooled-2": 30},
    truth_episodes=12,
)
