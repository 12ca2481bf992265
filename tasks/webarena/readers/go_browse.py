"""Go-Browse step records, one JSON object per step: {step_idx, step_data, traj_reward, next_step_idx, ...}.

An episode is the chain from step number 0 along `next_step_idx` to -1. The agent behind it is not recorded.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, Field

from bench.data import Step, Trajectory
from bench.errors import DataError
from bench.formats.building import LogBuilder
from bench.formats.files import heads, members
from bench.formats.json_text import checked, documents
from bench.formats.log import Extras, Import
from tasks.webarena.canonical import canonical_browsergym
from tasks.webarena.logged import NO_OUTCOME, place

BROKEN = "broken chain: one of its steps is missing"
_KEYS = (b'"step_idx"', b'"step_data"')
_NOTES = (
    "rewards are traj_reward at the last step",
    "the agent behind an episode is not recorded: the log is a mixture under one name",
)


class _Data(BaseModel):
    model_config = ConfigDict(strict=True)

    goal: str
    axtree_txt: str
    thought: str | None = None
    action: str


class _Row(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    step_idx: int
    step_data: _Data
    traj_reward: float | None = Field(None, ge=0, le=1)
    next_step_idx: int
    traj_length: int
    step_number: int


_Rows = dict[tuple[PurePosixPath, int], _Row]


def _fits(head: bytes) -> bool:
    return head.lstrip()[:1] == b"{" and all(key in head for key in _KEYS)


def sniff(path: Path) -> bool:
    """Whether `path` holds such records."""
    return any(_fits(head) for _, head in heads(path))


def read(path: Path) -> Import:
    """Reads them; the folder of a record is its web site.

    Raises:
        DataError: naming file and line.
    """
    builder = LogBuilder("Go-Browse step records", *_NOTES)
    rows: _Rows = {}
    for member in members(path):
        if not _fits(member.content):
            builder.pass_over(member.name)
            continue
        for where, value in documents(member):
            row = checked(_Row, value, where)
            key = place(member.name).parent, row.step_idx
            if key in rows:
                raise DataError(f"{where}: another record of this folder has step_idx {row.step_idx}, too.")
            rows[key] = row
    for (folder, _), row in rows.items():
        if row.step_number == 0:
            _add(builder, folder, row, rows)
    for _ in range(_without_beginning(rows)):
        builder.drop(BROKEN)
    if all(row.traj_reward in (1, None) for row in rows.values()):
        builder.notes.append("every episode is a success: the set was filtered, its mean is no value of any agent")
    return builder.log()


def _without_beginning(rows: _Rows) -> int:
    """Chains whose first step is not there: steps after the first to which no other leads."""
    reached = {(folder, row.next_step_idx) for (folder, _), row in rows.items()}
    return sum(row.step_number > 0 and key not in reached for key, row in rows.items())


def _add(builder: LogBuilder, folder: PurePosixPath, first: _Row, rows: _Rows) -> None:
    chain = [first]
    while chain[-1].next_step_idx != -1 and len(chain) <= first.traj_length:
        following = rows.get((folder, chain[-1].next_step_idx))
        if following is None:
            break
        chain.append(following)
    if len(chain) != first.traj_length or chain[-1].next_step_idx != -1:
        return builder.drop(BROKEN)
    reward = chain[-1].traj_reward
    if reward is None:
        return builder.drop(NO_OUTCOME)
    site, last = folder.name or "unknown", len(chain) - 1
    data = [row.step_data for row in chain]
    trajectory = Trajectory(
        id=f"{site}/{first.step_idx}",
        instance=f"{site}/{data[0].goal}",
        goal=data[0].goal,
        steps=tuple(Step(d.axtree_txt, d.action, reward if i == last else 0.0) for i, d in enumerate(data)),
        logger="go-browse",
    )
    commands = tuple(canonical_browsergym(d.action, d.axtree_txt) for d in data)
    metadata = {"success": reward == 1, "site": site}
    builder.add(trajectory, Extras(commands, tuple(d.thought for d in data), metadata))
