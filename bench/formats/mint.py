"""MINT-bench results (Wang et al., ICLR 2024): JSON lines with the chat of an episode and how it ended.

Files are called `<model>/<feedback>/.../results.jsonl`. The agent thinks, runs code or proposes a solution; messages of
the user are observations, and for some policies a stronger model's feedback is part of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from bench.data import Step, Trajectory
from bench.formats.building import LogBuilder
from bench.formats.chat import Message
from bench.formats.files import Member, heads, members
from bench.formats.json_text import checked, documents
from bench.formats.log import Extras, Import

FAILED_CALL = "crashed: a model call failed (terminate_reason error; no failure of the agent)"
_NOTES = (
    "reward is 1 at the end of a success, else 0; failures ended at a limit (5 turns, 2 proposals) and are truncated",
    "observations say how many turns are left; policies whose name has feedback (F=...) act in another environment",
    "an empty message of the agent is missing in the log; it reads as an empty action here",
)
_TASK_NAME = re.compile(rb'"task_name":\s*"([^"]*)"')
_MARKS = (b'"agent_action_count"', b'"terminate_reason"')
_RUN = re.compile(r"([^/]+)/(F=[^/]+)/")
_THOUGHT = re.compile(r"<thought>(.*?)</thought>", re.S)
_COMMAND = re.compile(r"<(execute|solution)>(.*?)</\1>", re.S)


class _State(BaseModel):
    model_config = ConfigDict(strict=True)

    history: list[Message]
    success: bool
    terminate_reason: Literal["task_success", "max_steps", "max_propose_steps", "error"]
    agent_action_count: dict[str, int]


class _Task(BaseModel):
    model_config = ConfigDict(strict=True)

    task_name: str
    task_id: int | str
    prompt: str


class _Episode(BaseModel):
    state: _State
    task: _Task


def sniff_mint(path: Path, is_task: Callable[[str, bytes], bool]) -> bool:
    """Whether a file, folder or archive holds such logs of a task.

    Args:
        is_task: tells from MINT's task name and the first bytes of a file.
    """
    return any(_fits(head, is_task) for _, head in heads(path))


def read_mint(
    path: Path, name: str, is_task: Callable[[str, bytes], bool], instance: Callable[[Any, str], str]
) -> Import:
    """Reads such logs; the model and its feedback are the logger.

    Args:
        name: of the task, for people.
        is_task: see `sniff_mint`.
        instance: names the task instance of an episode from MINT's task id and prompt.

    Raises:
        DataError: naming file and line.
    """
    builder = LogBuilder(f"MINT-bench log ({name})", *_NOTES)
    for member in members(path):
        if _fits(member.content, is_task):
            logger = _logger(member)
            for where, value in documents(member):
                _add(builder, checked(_Episode, value, where), logger, instance)
        else:
            builder.pass_over(member.name)
    return builder.log()


def _fits(head: bytes, is_task: Callable[[str, bytes], bool]) -> bool:
    name = _TASK_NAME.search(head)
    if name is None:  # a first line longer than the head: its task stands at its end
        return False
    return all(mark in head for mark in _MARKS) and is_task(name[1].decode("utf-8", "replace"), head)


def _logger(member: Member) -> str:
    """`<model>/<F=feedback>`, or the file's own name where somebody renamed it."""
    file = PurePosixPath(Path(member.name.removesuffix(".gz")).as_posix())
    run = _RUN.search(str(file))
    return f"{run[1]} {run[2]}" if run and file.stem == "results" else file.stem


def _add(builder: LogBuilder, episode: _Episode, logger: str, instance: Callable[[Any, str], str]) -> None:
    state, task = episode.state, episode.task
    if state.terminate_reason == "error":
        return builder.drop(FAILED_CALL)
    observations, actions = [task.prompt], []
    for message in state.history[1:]:  # the first is the prompt: instructions, an example, the task
        if message.role == "assistant":
            actions.append(message.content)
            continue
        if len(actions) < len(observations):
            actions.append("")
        observations.append(message.content)
    if len(actions) < sum(state.agent_action_count.values()):
        actions.append("")
    final = observations.pop() if len(observations) > len(actions) else None
    last = len(actions) - 1
    trajectory = Trajectory(
        id=f"{logger}/{task.task_name}/{task.task_id}",
        instance=instance(task.task_id, task.prompt),
        goal=task.prompt,
        steps=tuple(Step(observations[t], a, float(state.success and t == last)) for t, a in enumerate(actions)),
        final_observation=final,
        terminated=state.success,
        truncated=not state.success,
        logger=logger,
    )
    thoughts = tuple("\n".join(t.strip() for t in _THOUGHT.findall(a)) or None for a in actions)
    commands = tuple(_command(a) for a in actions)
    metadata = {"success": state.success, "terminate_reason": state.terminate_reason, "task_id": task.task_id}
    builder.add(trajectory, Extras(commands, thoughts, metadata))


def _command(action: str) -> str | None:
    """The code that was run or the solution that was proposed, where there is exactly one."""
    found = _COMMAND.findall(action)
    return f"{found[0][0]}: {found[0][1].strip()}" if len(found) == 1 else None
