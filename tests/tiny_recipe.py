"""A recipe small enough for a test: a corridor of doors in text, agents of a few thousand parameters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from bench.agents.cloning import CloningConfig
from bench.recipe import Recipe
from bench.task import PolicyCard

DOORS = ("red", "blue", "green")
INSTANCES = tuple(f"house/{i}" for i in range(4))
STEP_LIMIT = 4


class Corridor:
    """The goal names a color, every room shows which door has it; two right doors reach the end."""

    def reset(self, instance: str) -> tuple[str, str]:
        self.turn, self.key = 0, int(instance.rpartition("/")[2])
        return f"take the {DOORS[self.key % 3]} doors", self._look()

    def step(self, action: str) -> tuple[str, float, bool]:
        right = action == f"open {self._right()}"
        self.turn += right
        return self._look(), 0.5 * right, self.turn == 2

    def close(self) -> None:
        pass

    def _right(self) -> str:
        return ("left", "right")[(self.key + self.turn) % 2]

    def _look(self) -> str:
        return f"room {self.turn}: the {DOORS[self.key % 3]} door is on the {self._right()}"


@dataclass(frozen=True)
class TinyRecipe(Recipe):
    """See `Recipe`."""

    task: ClassVar[str] = "tiny"

    def environment(self) -> Corridor:
        return Corridor()

    def demonstrations(self, mix: str, out: Path, workers: int) -> list[Path]:
        out.mkdir(parents=True, exist_ok=True)
        path = out / f"demos-{mix}.jsonl"
        with path.open("w") as file:
            for key in range(4, 16):
                env, steps, done = Corridor(), [], False
                goal, seen = env.reset(f"house/{key}")
                while not done:
                    action = f"open {env._right()}"
                    after, reward, done = env.step(action)
                    steps.append({"observation": seen, "action": action, "clone": True, "reward": reward})
                    seen = after
                file.write(
                    json.dumps({"instance": f"house/{key}", "goal": goal, "steps": steps, "final_observation": seen})
                    + "\n"
                )
        return [path]

    def explore(self, goal: str, observations: Sequence[str]) -> Sequence[str]:
        return ("open left", "open right", "wait")


RECIPE = TinyRecipe(
    instances=INSTANCES,
    step_limit=STEP_LIMIT,
    environment_version="corridor 1",
    policies=(
        PolicyCard("a-050", "", "a-050"),
        PolicyCard("a-100", "", "a-100"),
        PolicyCard("a-100-t050", "", "a-100", temperature=0.5),
        PolicyCard("a-100-eps050", "", "a-100", epsilon=0.5, epsilon_sweep=True),
    ),
    logs={"pooled": ("a-050",)},
    mixes=("a",),
    cloning=CloningConfig(
        hidden=16, layers=1, heads=2, feed_forward=16, epochs=30, batch_tokens=256, checkpoints=(0.5, 1.0)
    ),
    masked_policy="a-100",
    deterministic=True,
    vocabulary=280,
    max_observation_tokens=64,
    log_episodes=4,
    truth_episodes=4,
    next_actions=2,
)
