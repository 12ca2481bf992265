"""BrowserGym and AgentLab experiment folders: step_<k>.pkl.gz or steps_info_<k>.json, with summary_info.json.

Record k holds the page and the action chosen there; the reward of that action stands in record k + 1. The last record's
action was never executed. Pickles are read as data only (`tasks.webarena.pickled`); exp_args.pkl is not opened at all,
the folder's name says agent and task.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from bench.data import Step, Trajectory
from bench.errors import DataError
from bench.formats.building import LogBuilder
from bench.formats.files import Member, heads, members
from bench.formats.json_text import checked, documents
from bench.formats.log import Extras, Import
from tasks.webarena.canonical import canonical_browsergym, thought_of
from tasks.webarena.logged import CRASHED, NO_OUTCOME, NO_STEP, place, task_key
from tasks.webarena.outcomes import Outcomes
from tasks.webarena.pickled import Record, number, unpickled

_STEP = re.compile(r"^steps?(?:_info)?_(\d+)\.(?:pkl|json)(?:\.gz)?$")
_FOLDER = re.compile(r"^(?:\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_)?(?P<agent>.+?)_on_(?P<task>.+?)(?:_(?P<seed>\d+))?$")
_SUMMARY = "summary_info.json"
_SEEN = ("axtree_txt", "pruned_html", "dom_txt")
_NOTES = (
    "BrowserGym scores after every action and ends an episode once the score is above 0; WebArena itself scores once, "
    "at stop: do not pool the two",
    "actions are all the agent wrote, reasoning included; action_canonical has role and name of the elements",
    "observations are the accessibility tree (axtree_txt), or the page's HTML where an agent used that",
)


def _texts(value: Any) -> Any:
    """The text of a goal that comes in typed parts."""
    if isinstance(value, (list, tuple)):
        return "\n".join(p["text"] for p in value if isinstance(p, dict) and isinstance(p.get("text"), str))
    return value


def _plain(value: Any) -> Any:
    """What a pickle has instead of JSON's values: numpy's numbers, records instead of objects."""
    plain = number(value)
    return plain.attributes if isinstance(plain, Record) else plain


class _Seen(BaseModel):
    """An observation, as far as it is text."""

    model_config = ConfigDict(strict=True)

    goal: Annotated[str | None, BeforeValidator(_texts)] = None
    goal_object: Annotated[str | None, BeforeValidator(_texts)] = None
    axtree_txt: str | None = None
    pruned_html: str | None = None
    dom_txt: str | None = None


class _Record(BaseModel):
    """One step of an experiment."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    obs: Annotated[_Seen | None, BeforeValidator(_plain)] = None
    reward: Annotated[float | None, BeforeValidator(_plain)] = None
    terminated: Annotated[bool | None, BeforeValidator(_plain)] = None
    truncated: Annotated[bool | None, BeforeValidator(_plain)] = None
    action: Annotated[str | None, BeforeValidator(_plain)] = None
    agent_info: Annotated[dict[Any, Any] | None, BeforeValidator(_plain)] = None

    @property
    def text(self) -> str | None:
        """The page."""
        return next((t for t in (getattr(self.obs, key) for key in _SEEN) if t is not None), None) if self.obs else None


class _Summary(BaseModel):
    """How an experiment went."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    n_steps: int | None = Field(None, ge=0)
    cum_reward: float | None = None
    err_msg: str | None = None


@dataclass
class _Experiment:
    """The files of one folder."""

    steps: dict[int, _Record] = field(default_factory=dict)
    summary: _Summary | None = None
    goal: str = ""


def sniff(path: Path) -> bool:
    """Whether `path` holds such folders."""
    return any(_is_step(name, head) or _is_summary(name, head) for name, head in heads(path))


def _is_step(name: str, head: bytes) -> bool:
    known = _STEP.match(place(name).name) is not None
    return known and (head[:1] == b"\x80" or (head[:1] == b"{" and b'"obs"' in head))


def _is_summary(name: str, head: bytes) -> bool:
    return place(name).name == _SUMMARY and b'"n_steps"' in head


def read(path: Path) -> Import:
    """Reads them; agents are told apart by the folder's name or the folder above.

    Raises:
        DataError: naming file and place.
    """
    builder, outcomes = LogBuilder("BrowserGym / AgentLab experiments", *_NOTES), Outcomes()
    found: dict[PurePosixPath, _Experiment] = {}
    for member in members(path):
        folder = place(member.name).parent
        if _is_step(member.name, member.content):
            step = int(_STEP.match(place(member.name).name)[1])
            found.setdefault(folder, _Experiment()).steps[step] = _record(member)
        elif _is_summary(member.name, member.content):
            where, value = next(documents(member))
            found.setdefault(folder, _Experiment()).summary = checked(_Summary, value, where)
        elif place(member.name).name.startswith("goal_object.pkl"):
            found.setdefault(folder, _Experiment()).goal = _goal(member)
        elif not outcomes.add(member):
            builder.pass_over(member.name)
    for folder, experiment in found.items():
        _add(builder, folder, experiment, outcomes)
    return builder.log()


def _goal(member: Member) -> str:
    goal = _texts(unpickled(member.content, member.name))
    if not isinstance(goal, str):
        raise DataError(f"{member.name}: holds a {type(goal).__name__}, not the text of a goal.")
    return goal


def _record(member: Member) -> _Record:
    content = member.content
    if content[:1] != b"\x80":
        where, value = next(documents(Member(member.name, content)))
        return checked(_Record, value, where)
    value = unpickled(content, member.name)
    if not isinstance(value, Record) or value.name.name != "StepInfo":
        raise DataError(f"{member.name}: holds a {getattr(value, 'name', type(value).__name__)}, not a StepInfo.")
    return checked(_Record, value.attributes, member.name)


def _add(builder: LogBuilder, folder: PurePosixPath, experiment: _Experiment, outcomes: Outcomes) -> None:
    steps, summary = experiment.steps, experiment.summary
    if summary is not None and summary.err_msg:
        return builder.drop(CRASHED)
    if len(steps) < 2:
        return builder.drop(NO_STEP)
    if sorted(steps) != list(range(len(steps))):
        raise DataError(f"{folder}: step {next(k for k in range(len(steps)) if k not in steps)} is missing.")
    records = [steps[k] for k in range(len(steps))]
    if not (records[-1].terminated or records[-1].truncated):
        return builder.drop(NO_OUTCOME if summary is None else CRASHED)
    if any(record.reward is None for record in records[1:]):
        return builder.drop(NO_OUTCOME)
    _check(folder, records, summary)
    task, agent, run = _names(folder)
    texts = [_text(folder, k, record) for k, record in enumerate(records[:-1])]
    trajectory = Trajectory(
        id="/".join(filter(None, (agent, task, run))),
        instance=task,
        goal=experiment.goal or (records[0].obs.goal or records[0].obs.goal_object or "" if records[0].obs else ""),
        steps=tuple(Step(texts[k], r.action or "", records[k + 1].reward) for k, r in enumerate(records[:-1])),
        final_observation=records[-1].text,
        terminated=bool(records[-1].terminated),
        truncated=not records[-1].terminated,
        logger=agent,
    )
    labelled = outcomes.reward(folder, task, agent)
    metadata = {"success": bool(trajectory.rewards.sum() >= 1)}
    metadata |= {} if labelled is None else {"labelled_reward": labelled}
    commands = tuple(canonical_browsergym(r.action or "", texts[k]) for k, r in enumerate(records[:-1]))
    builder.add(trajectory, Extras(commands, tuple(map(_thought, records[:-1])), metadata))


def _check(folder: PurePosixPath, records: list[_Record], summary: _Summary | None) -> None:
    """Raises a DataError where the steps do not add up to the summary."""
    total = sum(record.reward for record in records[1:])
    if summary is None:
        return
    if summary.n_steps not in (None, len(records) - 1):
        raise DataError(f"{folder / _SUMMARY}: n_steps is {summary.n_steps}, but there are {len(records) - 1} steps.")
    if summary.cum_reward is not None and abs(total - summary.cum_reward) > 1e-6:
        raise DataError(f"{folder / _SUMMARY}: cum_reward is {summary.cum_reward}, but the steps add up to {total}.")


def _text(folder: PurePosixPath, step: int, record: _Record) -> str:
    if record.text is None:
        raise DataError(
            f"{folder}, step {step}: no page as text ({', '.join(_SEEN)}). Log with an observation preprocessor "
            "that keeps one of them."
        )
    return record.text


def _thought(record: _Record) -> str | None:
    noted = (record.agent_info or {}).get("think")
    return noted if isinstance(noted, str) else thought_of(record.action or "")


def _names(folder: PurePosixPath) -> tuple[str, str, str]:
    """Task, agent and seed of an experiment: `<date>_<agent>_on_<task>_<seed>`, or `<agent>/<task>` without a seed."""
    named = _FOLDER.match(folder.name)
    task = named["task"] if named else folder.name
    above = _FOLDER.match(folder.parent.name)
    agent = named["agent"] if named else above["agent"] if above else folder.parent.name
    key = task_key(task)
    return f"webarena.{key}" if key.isdigit() else task, agent or "unknown", named["seed"] or "" if named else ""
