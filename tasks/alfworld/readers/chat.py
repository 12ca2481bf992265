"""Chat JSON or JSONL (ShareGPT conversations, OpenAI messages, FastChat) of ALFWorld agents, training sets included.

The outcome is looked for in the record or its meta (success, won, is_success, reward, score), then in what the last
observation says. Without it, as in most training sets, an episode has none and is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.errors import DataError
from bench.formats.chat import Message, messages_of
from bench.formats.files import heads, members
from bench.formats.json_text import documents
from bench.formats.log import Import
from bench.formats.loggers import loggers_by_file
from tasks.alfworld.logged import CRASHED, GAME, EpisodeLog, instance_of
from tasks.alfworld.readers import knowagent
from tasks.alfworld.transcripts import ROOM, Transcript, outcome, parse_messages

NO_TASK = "another environment's, or damaged: no message states a task of ALFWorld"
_CHAT = (b'"messages"', b'"conversations"', b'"role"')
_OTHERS = (b'"agent_action_count"', b'"Interaction Turn 0"')
"""What marks logs of MINT and AgentBoard, which have readers of their own."""
_INSIDE = ("meta", "metadata", "info")
_REWARDS = ("success", "won", "is_success", "reward", "score")
_NAMES = ("model", "agent", "policy")


def _fits(head: bytes) -> bool:
    return (
        head.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] in (b"{", b"[")
        and any(key in head for key in _CHAT)
        and ROOM.encode() in head
        and not any(mark in head for mark in _OTHERS)
        and not knowagent.fits(head)
    )


def sniff(path: Path) -> bool:
    """Whether `path` holds such logs."""
    return any(_fits(head) for _, head in heads(path))


def read(path: Path) -> Import:
    """Reads them; each file is an agent unless its records name one (model, agent, policy).

    Raises:
        DataError: naming file, line and record.
    """
    log = EpisodeLog("ALFWorld chat", "an instance is the game where the record names it, else its task and room")
    loggers = loggers_by_file([name for name, head in heads(path) if _fits(head)])
    for member in members(path):
        if member.name not in loggers:
            log.builder.pass_over(member.name)
            continue
        for where, value in documents(member):
            for place, record, messages in _episodes(value, where):
                _add(log, record, messages, loggers[member.name], place)
    return log.log()


def _episodes(value: Any, where: str) -> Iterator[tuple[str, Mapping[str, Any], list[Message]]]:
    """Place, record and messages of every episode of a document."""
    if isinstance(value, list) and all(isinstance(one, dict) and ("role" in one or "from" in one) for one in value):
        yield where, {}, messages_of(value, where) or []
        return
    for number, record in enumerate(value if isinstance(value, list) else [value]):
        place = f"{where}, record {number}" if isinstance(value, list) else where
        if not isinstance(record, dict):
            raise DataError(f"{place}: expected an object with messages, found a {type(record).__name__}.")
        messages = messages_of(_named_roles(record), place)
        if messages is None:
            raise DataError(f"{place}: holds neither messages nor conversations.")
        yield place, record, messages


def _named_roles(record: dict[str, Any]) -> dict[str, Any]:
    """FastChat's own dump has messages as pairs of a name and a text; the first name is the user's."""
    pairs = record.get("messages")
    if not isinstance(pairs, list) or not pairs or not all(isinstance(p, list) and len(p) == 2 for p in pairs):
        return record
    names = record.get("roles") or [pairs[0][0]]
    roles = [("user" if name == names[0] else "assistant", text) for name, text in pairs if text is not None]
    return {**record, "messages": [{"role": role, "content": text} for role, text in roles]}


def _add(log: EpisodeLog, record: Mapping[str, Any], messages: list[Message], logger: str, where: str) -> None:
    known = _flat(record)
    error = known.get("error")
    if error and not (isinstance(error, str) and GAME.search(error)):  # some write the game's path there
        return log.builder.drop(CRASHED)
    episode = parse_messages(messages)
    if episode is None:
        return log.builder.drop(NO_TASK)
    reward, source = _outcome(known, episode, where)
    named = next((known[key] for key in _NAMES if isinstance(known.get(key), str)), logger)
    texts = (text for text in known.values() if isinstance(text, str))
    game = next((found[1] for text in texts if (found := GAME.search(text))), None)
    reason = known.get("terminate_reason")
    metadata = {"outcome": source, **({"terminate_reason": reason} if isinstance(reason, str) else {})}
    log.add(episode, named, game or instance_of(episode), reward, metadata)


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record and of its meta."""
    flat = dict(record)
    for key in _INSIDE:
        if isinstance(record.get(key), dict):
            flat = {**record[key], **flat}
    return flat


def _outcome(known: Mapping[str, Any], episode: Transcript, where: str) -> tuple[float | None, str | None]:
    """The reward and where it was found; None where it is nowhere."""
    for key in _REWARDS:
        value = known.get(key)
        if value is not None:
            if not isinstance(value, (bool, int, float)) or not 0 <= value <= 1:
                raise DataError(f"{where}: {key} {value!r} is not a number between 0 and 1.")
            return float(value), key
    said = outcome(episode.turns[-1].observation) if episode.turns else None
    return (None, None) if said is None or said > 1 else (said, "observation")
