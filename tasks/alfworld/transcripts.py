"""ALFWorld episodes as agents leave them behind in text: a room, a task, then actions and what they brought."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.formats.chat import Message

ROOM = "You are in the middle of a room."
_TASK = re.compile(r"^(?:[^\n>]*[.:] )?Your task is to: *([^\n]+)\n?", re.M)
_MEMORY = re.compile(r"^Your memory for the task below:.*?(?=^Here is the task)", re.M | re.S)
_BANNER = re.compile(r"^-= .* =-\s*", re.M)
_THOUGHT = re.compile(r"^\W{0,3}(?:think|thought|reasoning|actionpath)\W*:", re.I)
_LABEL = re.compile(
    r"(?:^[ \t]*(?i:(thought|think|reasoning|action))|\b(THOUGHT|Thought|ACTION|Action))[ \t]*:[ \t]*", re.M
)
_TAG = re.compile(r"<(think|thought|action)>(.*?)</\1>", re.I | re.S)
_ANSWERED = re.compile(r"^\s*Observation[ \t]*:\s*", re.I)
_COMMAND = re.compile(
    r"(?:go to|open|close|take|put|move|toggle|use|clean|heat|cool|slice|examine|look|inventory|help)\b", re.I
)
_ALONE = r"(?=[ \t]*[.!]*[ \t]*$)"
"""A word that says how an episode ended only where nothing but it stands on the line."""
_SUCCESS = (
    rf"congratulations|you (?:have )?w[io]n(?!['’])|success(?:ful)?{_ALONE}|"
    r"task (?:is |has been )?(?:success\w*|complete\w*|done|solved)(?! *\d)|"
    r"you (?:have )?(?:successfully )?(?:completed|finished|solved) (?:the|your) task|"
    r"the task (?:is|has been) (?:successfully )?(?:completed?|finished|done|solved)"
)
_FAILURE = (
    rf"fail(?:ed|ure)?{_ALONE}|task (?:is |has )?fail\w*|you (?:have )?(?:lost|failed){_ALONE}|"
    r"you (?:have )?failed (?:the|your) task|the task (?:is|has) failed"
)
_VALUE = (
    r"(?:final |episode finished, )?(?:reward|score|won|done) ?[:=] ?"
    r"(?P<value>true|false|[01](?:\.\d+)?)(?![\w%/]|\.\d)"
)
_OUTCOME = re.compile(
    rf"(?:^|(?<=[.!?] ))[^\w\n]*(?:(?P<yes>{_SUCCESS})|(?P<no>{_FAILURE})|{_VALUE})(?!\w)[^.!?\n]*[.!?]*",
    re.I | re.M,
)
_EXCLAIMED = re.compile(r"(?:^|(?<=[.!?] ))[^\w\n]*(?:success|failure|failed)[ \t]*[.!]+[ \t]*", re.I | re.M)
"""May be about the episode or about the last action: no outcome, but nothing for a model to read either."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What an agent wrote, and what it was answered.

    Attributes:
        written: the text as it stands.
        thought: its reasoning, or None.
        command: the command alone, or None where the text holds none (a thought that was answered on its own).
        observation: the answer, or None where the log has none.
    """

    written: str
    thought: str | None
    command: str | None
    observation: str | None


@dataclass(frozen=True, slots=True)
class Transcript:
    """One episode.

    Attributes:
        goal: the task.
        opening: the room as first shown, with what an agent remembers of earlier trials before it.
        turns: in order; a last thought that no command followed is left out.
    """

    goal: str
    opening: str
    turns: tuple[Turn, ...]


def has_task(text: str) -> bool:
    """Whether a text states a task."""
    return _TASK.search(text) is not None


def opening_of(text: str) -> tuple[str, str]:
    """Goal and first room of a prompt: of the last task it states, the instructions and examples before it left out."""
    task = list(_TASK.finditer(text))[-1]
    memory = _MEMORY.search(text)
    before = text[: task.start()].rpartition(ROOM)
    stated = text[task.start() : task.start(1)].partition("Your task is to")[0]  # a room on the line of the task
    room = f"{ROOM}{before[2]}{stated}" if before[1] else stated
    shown = [memory[0] if memory else "", room, text[task.end() :]]
    goal = task[1]
    if ROOM in goal:  # all on one line, the task first
        goal, _, rest = goal.partition(ROOM)
        shown.insert(1, ROOM + rest)
    return goal.strip(), "\n".join(part for part in (_BANNER.sub("", s).strip() for s in shown) if part)


def outcome(observation: str | None) -> float | None:
    """The reward that an observation tells, 1 where it says that the episode was won and 0 where it was lost; None
    where it tells none."""
    match = _OUTCOME.search(observation or "")
    if match is None:
        return None
    if match["value"]:
        value = {"true": 1.0, "false": 0.0}.get(match["value"].lower())
        return float(match["value"]) if value is None else value
    return float(match["yes"] is not None)


def without_outcome(observation: str | None) -> str | None:
    """An observation without what it says about the outcome, which no model may read; a bare "Success!" goes, too."""
    return observation if observation is None else _EXCLAIMED.sub("", _OUTCOME.sub("", observation)).strip()


def parse_prompt(text: str) -> Transcript:
    """Parses a ReAct prompt: instructions, examples, the task, then lines `> action` and the answers below them."""
    task = list(_TASK.finditer(text))[-1]
    body = re.search(r"^>", text[task.end() :], re.M)
    start = task.end() + body.start() if body else len(text)
    events: list[tuple[bool, str]] = []
    for line in text[start:].split("\n"):
        if line.startswith(">"):
            events.append((True, line[1:].strip()))
        elif line.strip() and events and not events[-1][0]:
            events[-1] = (False, f"{events[-1][1]}\n{line.rstrip()}")
        elif line.strip():
            events.append((False, line.rstrip()))
    return Transcript(*opening_of(text[:start]), tuple(turns_of(events)))


def turns_of(events: Iterable[tuple[bool, str]]) -> list[Turn]:
    """Turns from a sequence of (the agent wrote it, text).

    Every answer ends a turn, and so does a command that was not answered; thoughts that were not answered belong to the
    command after them. What is answered before the agent has written anything is left out.
    """
    turns: list[Turn] = []
    written: list[str] = []

    def end(observation: str | None) -> None:
        thoughts = [_THOUGHT.sub("", text, count=1).strip() for text in written if _THOUGHT.match(text)]
        command = None if not written or _THOUGHT.match(written[-1]) else written[-1]
        turns.append(Turn("\n".join(written), "\n".join(thoughts) or None, command, observation))
        written.clear()

    for own, text in events:
        if own:
            if written and not _THOUGHT.match(written[-1]):
                end(None)
            written.append(text)
        elif written:
            end(text)
    if written and not _THOUGHT.match(written[-1]):
        end(None)
    return turns


def parse_messages(messages: Sequence[Message]) -> Transcript | None:
    """Parses an episode written as chat: messages of the assistant are turns, what follows them observations.

    Few-shot episodes are cut: the episode begins where the last task is first stated.

    Returns:
        The episode, or None where no message states a task.
    """
    shown = {i: _TASK.findall(message.content) for i, message in enumerate(messages) if message.role != "assistant"}
    stated = {i: tasks[-1] for i, tasks in shown.items() if tasks}
    if not stated:
        return None
    start = max(stated)
    for i in sorted(stated, reverse=True):  # some prompts repeat the task at every turn
        if stated[i] != stated[start]:
            break
        start = i
    goal, opening = opening_of(messages[start].content)
    written: list[list[str]] = []
    answers: list[list[str]] = []
    for message in messages[start + 1 :]:
        if message.role == "assistant":
            if len(written) == 0 or answers[-1]:
                written.append([])
                answers.append([])
            written[-1].append(message.content)
        elif written:
            answers[-1].append(_ANSWERED.sub("", message.content).strip())
        else:
            opening += f"\n{message.content}"
    turns = [_chat_turn("\n".join(w), "\n".join(a) if a else None) for w, a in zip(written, answers, strict=True)]
    return Transcript(goal, opening, tuple(turns))


def _chat_turn(written: str, observation: str | None) -> Turn:
    """A message's thought and command, by tags, labels, or as the bare text."""
    parts: dict[str, list[str]] = {"thought": [], "action": []}
    tags = _TAG.findall(written)
    labels = [] if tags else list(_LABEL.finditer(written))
    for name, text in tags:
        parts["action" if name.lower() == "action" else "thought"].append(text.strip())
    for label, following in zip(labels, [*labels[1:], None], strict=False):
        body = written[label.end() : following.start() if following else None].strip()
        parts["action" if (label[1] or label[2]).lower() == "action" else "thought"].append(body)
    bare = written.strip().removeprefix(">").strip()
    if not tags and not labels and _COMMAND.match(bare) and "\n" not in bare:
        parts["action"].append(bare)
    commands = [command.split("\n")[0].strip() for command in parts["action"]]
    return Turn(
        written=written.strip(),
        thought="\n".join(parts["thought"]) or None,
        command=commands[0] if len(commands) == 1 else None,
        observation=observation,
    )
