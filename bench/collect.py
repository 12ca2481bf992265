"""Makes a task's recording from live environments, in resumable parts. See `bench.recorded` for what comes out."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.errors import BenchError
from bench.recipe import Recipe
from bench.recorded import MANIFEST
from bench.recording.agents import make_agents, make_demonstrations
from bench.recording.episodes import make_episodes
from bench.recording.manifest import make_manifest
from bench.recording.scores import make_log_probs, make_next_actions
from bench.registry import task_names

_MAKERS: dict[str, Callable[[Recipe, Path, Path, int, Sequence[str]], None]] = {
    "demonstrations": make_demonstrations,
    "agents": make_agents,
    "episodes": make_episodes,
    "log_probs": make_log_probs,
    "next_actions": make_next_actions,
    "manifest": make_manifest,
}
PARTS = tuple(_MAKERS)
MADE_BEFORE = ("demonstrations", "agents")
"""Parts that a recording has before a log is added to it."""


def collect(
    task: str,
    out: Path | None = None,
    parts: Sequence[str] = PARTS,
    workers: int = 2,
    logs: Sequence[str] = (),
) -> Path:
    """Carries out a task's recipe; what an earlier run finished is not made again.

    Args:
        out: folder of the recording; default `tasks/<task>/recorded`.
        parts: which of `PARTS` to make, in that order; each needs the ones before it.
        workers: processes.
        logs: only these logs, by the agents that are in `out` already; empty: everything.

    Raises:
        BenchError: the task has no recipe, or a part or a log is unknown.
    """
    work = Path(".cache") / "collect" / task
    return carry_out(_recipe(task), out or Path("tasks") / task / "recorded", work, parts, workers, logs)


def carry_out(
    recipe: Recipe,
    out: Path,
    work: Path,
    parts: Sequence[str] = PARTS,
    workers: int = 2,
    logs: Sequence[str] = (),
) -> Path:
    """The same for a recipe at hand; `work` keeps what a later run goes on from."""
    unknown = set(parts) - set(PARTS)
    if unknown:
        raise BenchError(f"unknown part {sorted(unknown)} of a recording. Known: {', '.join(PARTS)}.")
    if logs:
        _check_growth(recipe, out, parts, logs)
        parts = [part for part in parts if part not in MADE_BEFORE]
    work.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        if part in parts:
            print(f"collect {recipe.task}: {part}", flush=True)
            _MAKERS[part](recipe, work, out, workers, tuple(logs or recipe.logs))
    return out


def _check_growth(recipe: Recipe, out: Path, parts: Sequence[str], logs: Sequence[str]) -> None:
    """Before hours of play: are these logs, and is the recording that they are added to all there?"""
    if strangers := set(logs) - set(recipe.logs):
        raise BenchError(f"unknown log {sorted(strangers)} of task {recipe.task!r}. Known: {', '.join(recipe.logs)}.")
    if set(logs) == set(recipe.logs):
        raise BenchError(f"--log names every log of task {recipe.task!r}: leave it out to record the task anew.")
    if set(parts) <= set(MADE_BEFORE):
        raise BenchError(f"a log has no {' and '.join(parts)}: leave out --log, or --part.")
    others = [out / "logs" / f"{log}.parquet" for log in recipe.logs if log not in logs]
    agents = [out / "agents" / card.checkpoint for card in recipe.policies]
    if lost := [path for path in (out / MANIFEST, *agents, *others) if not path.exists()]:
        raise BenchError(f"{lost[0]} is missing, and --log adds to a recording: collect the whole task first.")


def _recipe(task: str) -> Recipe:
    if task not in task_names():
        raise BenchError(f"unknown task {task!r}. Known: {', '.join(task_names())}.")
    try:
        return importlib.import_module(f"tasks.{task}.recipe").RECIPE
    except ModuleNotFoundError as error:
        if error.name == f"tasks.{task}.recipe":
            raise BenchError(f"task {task!r} is computed, not recorded: there is nothing to collect.") from None
        raise
