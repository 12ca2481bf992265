"""ReAct's own LoggingWrapper: trajs/*.json, a list of {observations, actions, reward, em, f1, gt_answer, question_idx}.

Observations are one more than actions and begin with the question; thoughts are not stored. An empty `finish[]` is the
harness's own at the step limit: it is no action of the agent, and the episode is truncated.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from bench.errors import DataError
from bench.formats.json_text import checked, documents
from bench.formats.log import Import
from tasks.hotpotqa.agent_files import AgentFiles, json_with
from tasks.hotpotqa.logged import AnswerLog
from tasks.hotpotqa.react_text import Transcript, Turn, command_in, parse_text

FILES = AgentFiles(json_with(b"[", b"observations", b"actions", b"reward"))
sniff = FILES.sniff
_FORCED = "finish[]"


def _as_number(value: Any) -> Any:
    return float(value) if isinstance(value, bool) else value


class _Row(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    observations: list[str] = Field(min_length=1)
    actions: list[str]
    reward: Annotated[float | None, BeforeValidator(_as_number)] = Field(None, ge=0, le=1)
    gt_answer: str | None = None
    question_idx: int | None = None


def read(path: Path) -> Import:
    """Reads them; each file is an agent.

    Raises:
        DataError: naming file, line and record.
    """
    log = AnswerLog("ReAct LoggingWrapper", "em", "the format has no thoughts: actions are commands")
    for member, logger in FILES.read(path, log.builder):
        for where, value in documents(member):
            for number, raw in enumerate(value if isinstance(value, list) else [value]):
                _add(log, raw, logger, f"{where}, record {number}")
    return log.log()


def _add(log: AnswerLog, raw: Any, logger: str, where: str) -> None:
    row = checked(_Row, raw, where)
    if len(row.observations) != len(row.actions) + 1:
        raise DataError(
            f"{where}: {len(row.actions)} actions and {len(row.observations)} observations; there must be one more "
            "observation than actions."
        )
    metadata = {"question_idx": row.question_idx, "success": None if row.reward is None else row.reward == 1}
    log.add(_transcript(row), logger, row.reward, row.gt_answer, row.actions[-1:] == [_FORCED], metadata)


def _transcript(row: _Row) -> Transcript:
    opening = parse_text(row.observations[0])
    played = [(a, o) for a, o in zip(row.actions, row.observations[1:], strict=True) if a != _FORCED]
    turns = tuple(Turn(action, None, command_in(action), observation) for action, observation in played)
    return Transcript(opening.question, opening.opening, turns, False)
