"""AgentBoard result logs (Ma et al., NeurIPS 2024): pretty-printed JSON objects one after another, one per episode.

Files are called `<run>/logs/<environment>.jsonl`, though no line of them is JSON. Each turn has the command that was
executed, the observation it led to, and the progress rate, a sub-goal score in [0, 1] that AgentBoard computes itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, Field

from bench.data import Step, Trajectory
from bench.errors import DataError
from bench.formats.building import LogBuilder
from bench.formats.files import Member, heads, members
from bench.formats.json_text import checked, documents
from bench.formats.log import Extras, Import

NO_STEP = "crashed before its first step"
FAILED_CALL = "crashed: a model call failed (an error of the harness, not a failure of the agent)"
_TASK_NAME = re.compile(rb'"task_name":\s*"([^"]*)"')
_MARKS = (b'"trajectory"', b'"Interaction Turn 0"', b'"score_change_record"')
_NOTES = (
    "rewards are changes of AgentBoard's progress rate (its own sub-goal score); returns equal the final progress rate",
    "the format loses the first observation of every episode (the second overwrites it); it reads as empty text here",
    "action is the completion as written where the log has it, action_canonical the command that was executed",
)


class _Turn(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    command: str = Field(alias="Action")
    completion: str | None = Field(None, alias="Origin_Action")
    observation: str | None = Field(None, alias="Observation")
    progress: float | None = Field(None, alias="Progress Rate", ge=0, le=1)


class _Episode(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    id: int
    task_name: str
    goal: str
    is_done: bool
    progress_rate: float
    grounding_acc: float | None = None
    difficulty: str | None = None
    trajectory: dict[str, _Turn]


def is_agentboard(head: bytes, is_task_name: Callable[[str], bool]) -> bool:
    """Whether the first bytes of a file are those of such a log, of an environment that has a task of this name."""
    name = _TASK_NAME.search(head)
    return (
        name is not None and all(mark in head for mark in _MARKS) and is_task_name(name[1].decode("utf-8", "replace"))
    )


def sniff_agentboard(path: Path, is_task_name: Callable[[str], bool]) -> bool:
    """Whether a file, folder or archive holds such logs."""
    return any(is_agentboard(head, is_task_name) for _, head in heads(path))


def read_agentboard(path: Path, environment: str, is_task_name: Callable[[str], bool]) -> Import:
    """Reads such logs, one logger per file.

    Args:
        environment: AgentBoard's name of the environment, which is the stem of the files it writes.
        is_task_name: tells the task names of the environment from others.

    Raises:
        DataError: naming file and line.
    """
    builder = LogBuilder(f"AgentBoard log ({environment})", *_NOTES)
    for member in members(path):
        if is_agentboard(member.content, is_task_name):
            logger = _logger(member, environment)
            for where, value in documents(member):
                _add(builder, checked(_Episode, value, where), logger, where)
        else:
            builder.pass_over(member.name)
    return builder.log()


def _logger(member: Member, environment: str) -> str:
    """The run: `<run>/logs/<environment>.jsonl`, or the file's own name where somebody renamed it."""
    file = PurePosixPath(Path(member.name.removesuffix(".gz")).as_posix())
    if file.stem != environment:
        return file.stem
    return (file.parent.parent if file.parent.name == "logs" else file.parent).name or environment


def _add(builder: LogBuilder, episode: _Episode, logger: str, where: str) -> None:
    turns = list(episode.trajectory.values())
    if not turns or turns[0].progress is None:
        return builder.drop(NO_STEP)
    if any(turn.progress is None or turn.observation is None for turn in turns):
        return builder.drop(FAILED_CALL)
    if turns[-1].progress != episode.progress_rate:
        raise DataError(
            f"{where}: progress_rate {episode.progress_rate} differs from {turns[-1].progress} at the last turn."
        )
    before = ["", *(turn.observation for turn in turns)]
    rates = [0.0, *(turn.progress for turn in turns)]
    steps = tuple(
        Step(before[t], turn.command if turn.completion is None else turn.completion, rates[t + 1] - rates[t])
        for t, turn in enumerate(turns)
    )
    trajectory = Trajectory(
        id=f"{logger}/{episode.id}",
        instance=f"{episode.task_name}/agentboard-{episode.id}",
        goal=episode.goal,
        steps=steps,
        final_observation=before[-1],
        terminated=episode.is_done,
        truncated=not episode.is_done,  # nothing but the step limit ends an unfinished episode
        logger=logger,
    )
    metadata = {
        "success": episode.is_done,
        "progress_rate": episode.progress_rate,
        "grounding_acc": episode.grounding_acc,
        "difficulty": episode.difficulty,
    }
    builder.add(trajectory, Extras(tuple(turn.command for turn in turns), (), metadata))
