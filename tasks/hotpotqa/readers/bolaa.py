"""BOLAA JSON lines, which AutoAct and KnowAgent write too: question, answer, correct, reward, halted, error, prompt.

`prompt` is the whole text: instructions, few-shot episodes, then the episode, in ReAct's labels. The reward is the F1
of the answer, `correct` its exact match.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from bench.formats.json_text import checked, documents
from bench.formats.log import Import
from tasks.hotpotqa.agent_files import AgentFiles, json_with
from tasks.hotpotqa.logged import CRASHED, AnswerLog
from tasks.hotpotqa.react_text import after_examples, parse_text

FILES = AgentFiles(json_with(b"{", b"question", b"answer", b"correct", b"reward", b"halted", b"error", b"prompt"))
sniff = FILES.sniff


class _Row(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    question: str
    answer: str
    correct: bool
    reward: float = Field(ge=0, le=1)
    halted: bool
    error: bool
    prompt: str


def read(path: Path) -> Import:
    """Reads them; each file is an agent.

    Raises:
        DataError: naming file and line.
    """
    log = AnswerLog("BOLAA JSON lines", "f1", "few-shot episodes of the prompt are not read as steps")
    for member, logger in FILES.read(path, log.builder):
        for where, value in documents(member):
            row = checked(_Row, value, where)
            if row.error:
                log.builder.drop(CRASHED)
                continue
            episode = parse_text(after_examples(row.prompt, row.question))
            metadata = {"success": row.correct, "halted": row.halted}
            log.add(episode, logger, row.reward, row.answer, row.halted, metadata)
    return log.log()
