"""browser-use histories, as WebArena-Infinity keeps them: <app>/results/<run>/<task>/{history,result}.json.

A turn is a list of actions. What the agent saw is the `<browser_state>` of its message and what its last actions gave
back; the rest of the message repeats goal and history. The harness's own first navigation is no turn of the agent.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from bench.data import Step, Trajectory
from bench.formats.building import LogBuilder
from bench.formats.files import Member, heads, members
from bench.formats.json_text import checked, documents
from bench.formats.log import Extras, Import
from tasks.webarena.canonical import canonical_browser_use
from tasks.webarena.logged import NO_OUTCOME, NO_STEP, place
from tasks.webarena.outcomes import Outcomes

NO_HISTORY = "no record of its steps: result.json without history.json (the run was cut off by the harness)"
_HISTORY = re.compile(rb'^\s*\{\s*"history"\s*:\s*\[.*"model_output"', re.S)
_RESULT = re.compile(rb'^\s*\{.*"passed"\s*:\s*(?:true|false)', re.S)
_STATE = re.compile(r"<browser_state>\n?(.*?)\n?</browser_state>", re.S)
_REQUEST = re.compile(r"<user_request>\n?(.*?)\n?</user_request>", re.S)
_NOTES = (
    "rewards are the verifier's verdict (1 passed, 0 not) at the last step",
    "actions are the turn's list of actions as JSON; action_canonical has role and name of the elements they touched",
    "observations are the browser state of each turn and what the actions before it gave back",
)


class _Output(BaseModel):
    action: list[dict[str, dict[str, Any] | None]]
    thinking: str | None = None


class _Result(BaseModel):
    is_done: bool | None = None
    extracted_content: str | None = None
    error: str | None = None


class _State(BaseModel):
    interacted_element: list[dict[str, Any] | None] = Field(default_factory=list)


class _Turn(BaseModel):
    model_output: _Output | None
    result: list[_Result]
    state: _State
    state_message: str | None = None

    @property
    def said(self) -> str:
        """What its actions gave back."""
        return "\n".join(text for r in self.result for text in (r.extracted_content, r.error) if text)


class _History(BaseModel):
    history: list[_Turn]


class _Verdict(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    task_id: str
    instruction: str
    passed: bool
    difficulty: str | None = None
    verifier_message: str | None = None


@dataclass
class _Episode:
    """The two files of a folder; each may be missing."""

    turns: list[_Turn] | None = None
    verdict: _Verdict | None = None


def sniff(path: Path) -> bool:
    """Whether `path` holds such histories."""
    return any(_HISTORY.match(head) for _, head in heads(path))


def read(path: Path) -> Import:
    """Reads them; application and run are the agent.

    Raises:
        DataError: naming file and line.
    """
    builder, outcomes = LogBuilder("browser-use history", *_NOTES), Outcomes()
    found: dict[PurePosixPath, _Episode] = {}
    for member in members(path):
        folder = place(member.name).parent
        if _HISTORY.match(member.content):
            found.setdefault(folder, _Episode()).turns = _only(_History, member).history
        elif place(member.name).name == "result.json" and _RESULT.match(member.content):
            found.setdefault(folder, _Episode()).verdict = _only(_Verdict, member)
        elif not outcomes.add(member):
            builder.pass_over(member.name)
    failed = sum(_add(builder, folder, episode, outcomes) for folder, episode in found.items())
    if failed:
        builder.notes.append(f"{failed} model calls failed and were tried again; they are no turns of the agent")
    return builder.log()


def _only(model: type[BaseModel], member: Member) -> Any:
    where, value = next(documents(member))
    return checked(model, value, where)


def _add(builder: LogBuilder, folder: PurePosixPath, episode: _Episode, outcomes: Outcomes) -> int:
    """Adds or drops an episode; returns how many of its turns were failed model calls."""
    app, run = _names(folder)
    logger = f"{app}/{run}"
    verdict, task = episode.verdict, episode.verdict.task_id if episode.verdict else folder.name
    reward = float(verdict.passed) if verdict else outcomes.reward(folder, task, logger)
    turns = [] if episode.turns is None else _turns(episode.turns)
    if not turns or reward is None:
        builder.drop(NO_HISTORY if episode.turns is None else NO_STEP if not turns else NO_OUTCOME)
        return 0
    goal = verdict.instruction if verdict else _part(_REQUEST, turns[0][1].state_message)
    done = any(result.is_done for result in turns[-1][1].result)
    last = len(turns) - 1
    trajectory = Trajectory(
        id=f"{logger}/{task}",
        instance=f"{app}/{task}: {goal}",
        goal=goal,
        steps=tuple(Step(seen, _written(turn), reward if i == last else 0.0) for i, (seen, turn) in enumerate(turns)),
        terminated=done,
        truncated=not done,
        logger=logger,
    )
    metadata = {"success": reward == 1, "task_id": task}
    if verdict:
        metadata |= {"difficulty": verdict.difficulty, "verifier_message": verdict.verifier_message}
    canonical = tuple(canonical_browser_use(t.model_output.action, t.state.interacted_element) for _, t in turns)
    builder.add(trajectory, Extras(canonical, tuple(t.model_output.thinking for _, t in turns), metadata))
    return sum(turn.model_output is None for turn in episode.turns)


def _turns(history: list[_Turn]) -> list[tuple[str, _Turn]]:
    """The agent's own turns, each with what it saw."""
    turns, said = [], ""
    for number, turn in enumerate(history):
        own = turn.model_output is not None and not (number == 0 and turn.state_message is None)
        if own:
            page = _part(_STATE, turn.state_message)
            turns.append((f"{said}\n{page}" if said else page, turn))
        said = turn.said
    return turns


def _part(pattern: re.Pattern[str], message: str | None) -> str:
    found = pattern.search(message or "")
    return found[1] if found else ""


def _written(turn: _Turn) -> str:
    return json.dumps(turn.model_output.action, ensure_ascii=False)


def _names(folder: PurePosixPath) -> tuple[str, str]:
    """Application and run: `<app>/results/<run>/<task>` or `<app>/<run>/<task>`."""
    run = folder.parent
    app = run.parent.parent if run.parent.name == "results" else run.parent
    return app.name or "unknown", run.name or "unknown"
