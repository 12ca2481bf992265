"""Chat JSON or JSONL (messages, conversations) with ReAct actions, or plain ReAct transcripts (Question, Thought, ...).

The outcome is looked for in the record (reward, f1, em, score, correct, success), then in what the last observation
says, then computed as F1 from a recorded right answer (gt_answer, gt, gold, label, correct_answer, and answer where
none of these is there: ReAct's own records hold the agent's under that name), 0 for an episode that a limit ended
before it gave one. Without any of these an episode has none and is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.errors import DataError
from bench.formats.chat import messages_of
from bench.formats.files import Member
from bench.formats.json_text import decoded, documents
from bench.formats.log import Import
from tasks.hotpotqa.agent_files import AgentFiles
from tasks.hotpotqa.answers import f1
from tasks.hotpotqa.logged import CRASHED, AnswerLog, number
from tasks.hotpotqa.react_text import Transcript, after_examples, outcome, parse_messages, parse_text, split_questions
from tasks.hotpotqa.readers import bolaa, fireact

_ACTION = re.compile(rb"Action(?: ?\d+)?: *(?:search|lookup|retrieve|bingsearch|finish) ?\[", re.I)
_CHAT = re.compile(rb'"(?:messages|conversations|trajectory|traj|transcript|prompt)" *:')
_PLAIN = re.compile(rb"^[ \t]*Question *:", re.M)
_OTHERS = (b'"agent_action_count"', b"BEGIN TRIAL ")
"""What marks logs of MINT and Reflexion, which have readers of their own."""
_REWARDS = ("reward", "f1", "em", "score", "correct", "success")
_ANSWERS = ("gt_answer", "gt", "gold", "label", "correct_answer", "answer")
_TEXTS = ("trajectory", "traj", "transcript", "prompt")
_ANSWER_LINE = re.compile(r"^Correct answer:[ \t]*(.+)$", re.M)


def _is_json(head: bytes) -> bool:
    return head.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] in (b"{", b"[")


def _fits(head: bytes) -> bool:
    another = any(mark in head for mark in _OTHERS) or bolaa.FILES.fits(head) or fireact.FILES.fits(head)
    if another or not _ACTION.search(head):
        return False
    return _CHAT.search(head) is not None if _is_json(head) else _PLAIN.search(head) is not None


FILES = AgentFiles(_fits)
sniff = FILES.sniff


def read(path: Path) -> Import:
    """Reads them; each file is an agent unless its records name one (model, agent, policy).

    Raises:
        DataError: naming file and line.
    """
    log = AnswerLog(
        "ReAct chat or transcript",
        None,
        "rewards are as recorded: reward, else F1, exact match or what the last observation says (metadata.outcome)",
        "few-shot episodes are not read as steps",
    )
    for member, logger in FILES.read(path, log.builder):
        for where, record, episode in _episodes(member):
            if record.get("error"):
                log.builder.drop(CRASHED)
                continue
            answer = next((record[key] for key in _ANSWERS if isinstance(record.get(key), str)), None)
            halted = any(record.get(key) is True for key in ("halted", "truncated"))
            reward, source = _outcome(record, episode, answer, halted, where)
            named = (record[key] for key in ("model", "agent", "policy") if isinstance(record.get(key), str))
            log.add(episode, next(named, logger), reward, answer, halted, {"outcome": source})
    return log.log()


def _episodes(member: Member) -> Iterator[tuple[str, Mapping[str, Any], Transcript]]:
    """Place, record and transcript of every episode of a file."""
    if not _is_json(member.content):
        text = decoded(member)
        for episode in split_questions(text):
            answers = _ANSWER_LINE.findall(episode)
            record = {"correct_answer": answers[-1].strip()} if answers else {}
            yield member.name, record, parse_text(_ANSWER_LINE.sub("", episode))
        return
    for where, value in documents(member):
        if messages := messages_of(value, where) if isinstance(value, list) else None:
            yield where, {}, parse_messages(messages)
            continue
        for number_, record in enumerate(value if isinstance(value, list) else [value]):
            place = f"{where}, record {number_}" if isinstance(value, list) else where
            yield place, *_parsed(record, place)


def _parsed(record: Any, where: str) -> tuple[Mapping[str, Any], Transcript]:
    if not isinstance(record, dict):
        raise DataError(f"{where}: expected an object with messages, found a {type(record).__name__}.")
    messages = messages_of(record, where)
    for key in _TEXTS if messages is None else ():
        if isinstance(record.get(key), list):
            messages = messages_of(record[key], f"{where}, {key}")
        elif isinstance(record.get(key), str):
            text = after_examples(record[key])
            asked = record.get("question")
            known = text.lstrip().startswith("Question") or not isinstance(asked, str)
            return record, parse_text(text if known else f"Question: {asked}\n{text}")
    if messages is None:
        raise DataError(f"{where}: holds neither messages nor conversations nor a text under {', '.join(_TEXTS)}.")
    return record, parse_messages(messages)


def _outcome(
    record: Mapping[str, Any], episode: Transcript, answer: str | None, halted: bool, where: str
) -> tuple[float | None, str | None]:
    """The reward and where it was found; None where it is nowhere."""
    for key in _REWARDS:
        if record.get(key) is not None:
            return number(record[key], key, where), key
    said = outcome(episode.turns[-1].observation) if episode.turns else None
    if said is not None:
        return said, "observation"
    if answer is not None and episode.answer is not None:
        return f1(episode.answer, answer), "computed f1"
    if answer is not None and halted:
        return 0.0, "computed f1, no answer"
    return None, None
