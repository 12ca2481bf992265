"""Scales of guidance for one task that were chosen on others: what `adwm[tuned=true]` uses."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError

CHOSEN = Path(__file__).parents[2] / "results" / "studies" / "tuned_scales.json"
"""Written by `python -m studies.ablation table`; committed."""


@dataclass(frozen=True)
class TunedScales:
    """A pair of scales, the tasks it was chosen on, and the spec without scales whose errors there chose it; see
    `estimators._world.diffusion_world.Guidance`."""

    omega: float
    eta: float
    others: tuple[str, ...]
    estimator: str

    def __str__(self) -> str:
        where = ", ".join(self.others)
        return f"omega {self.omega:g} and eta {self.eta:g} did best on {where}, as scales of {self.estimator}"


def tuned_scales(task: str, gradient: bool) -> TunedScales:
    """The scales for a task; true values of the task itself had no part in them.

    Args:
        task: its name; one that the study does not know gets what did best on all of those it knows.
        gradient: whether the agent gives one; without, only pairs with eta = 0 are meant.

    Raises:
        BenchError: the study has not been run, or no pair was complete on the other tasks.
    """
    if not CHOSEN.exists():
        raise BenchError(
            f"tuned=true needs {CHOSEN}, which is not there. Make it with `python -m studies.ablation run` and then "
            "`python -m studies.ablation table`."
        )
    content = json.loads(CHOSEN.read_text(encoding="utf-8"))
    found = content["tasks"].get(task, content["elsewhere"])
    chosen = found["chosen" if gradient else "chosen_without_gradient"]
    if chosen is None:
        raise BenchError(
            f"{CHOSEN} holds no scales for task {task!r}: none was complete on "
            f"{', '.join(found['others']) or 'any other'}. Run `python -m studies.ablation run` for another task, "
            "then `python -m studies.ablation table`."
        )
    return TunedScales(chosen["omega"], chosen["eta"], tuple(found["others"]), content["estimator"])
