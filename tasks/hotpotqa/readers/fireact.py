"""FireAct trajectories: {question index: {reward, em, f1, gt, pred, traj}}, chat messages or one text per episode.

The reward is the exact match. `gt` and `pred` are normalized already. Observations come from a web search.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from bench.errors import DataError
from bench.formats.chat import messages_of
from bench.formats.json_text import checked, documents
from bench.formats.log import Import
from tasks.hotpotqa.agent_files import AgentFiles, json_with
from tasks.hotpotqa.logged import AnswerLog
from tasks.hotpotqa.react_text import Transcript, parse_messages, parse_text

_MARK = re.compile(rb'^\s*\{\s*"[^"]*":\s*\{\s*"reward":')
_has_keys = json_with(b"{", b"em", b"f1", b"gt", b"pred", b"traj")
FILES = AgentFiles(lambda head: _MARK.match(head) is not None and _has_keys(head))
sniff = FILES.sniff
_ALPACA = re.compile(r"^.*?### Instruction:\s*(.*?)\s*### Response:\s*", re.S)
_ACTION = re.compile(r"^Action:", re.M)


class _Row(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    reward: bool
    em: bool
    f1: float = Field(ge=0, le=1)
    gt: str
    pred: str
    traj: str | list[dict[str, Any]]


def read(path: Path) -> Import:
    """Reads them; each file is an agent.

    Raises:
        DataError: naming file, line and question.
    """
    log = AnswerLog("FireAct trajectories", "em")
    several = 0
    for member, logger in FILES.read(path, log.builder):
        for where, value in documents(member):
            for index, raw in _rows(value, where):
                row = checked(_Row, raw, f"{where}, question {index!r}")
                episode = _episode(row, f"{where}, question {index!r}")
                several += sum(len(_ACTION.findall(turn.written)) > 1 for turn in episode.turns)
                metadata = {"success": row.em, "recorded_f1": row.f1, "index": index}
                log.add(episode, logger, float(row.reward), row.gt, metadata=metadata)
    if several:
        log.builder.notes.append(f"{several} turns hold several actions; the log does not say which was carried out")
    return log.log()


def _rows(value: Any, where: str) -> list[tuple[str, Any]]:
    """The episodes of a file by question index."""
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected an object of episodes by question index, found a {type(value).__name__}.")
    return list(value.items())


def _episode(row: _Row, where: str) -> Transcript:
    if isinstance(row.traj, str):
        return parse_text(_ALPACA.sub(r"Question: \1\n", row.traj))
    return parse_messages(messages_of(row.traj, where) or [])
