"""Thought, Action, Observation: the text that ReAct agents and their descendants leave behind, tolerantly parsed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.formats.chat import Message

END_OF_EXAMPLES = "(END OF EXAMPLES)"
_LABEL = re.compile(r"^[ \t]*(Thought|ActionPath|Action|Observation)(?:[ \t]*(\d+))?[ \t]*:[ \t]?", re.M | re.I)
_COMMAND = re.compile(r"\s*([A-Za-z_]+)\s*\[(.*)\]", re.S)
_QUESTION = re.compile(r"^[ \t]*Question[ \t]*:[ \t]*", re.M)
_OUTCOME = re.compile(
    r"Answer is (?P<word>CORRECT|INCORRECT)|"
    r"(?:Episode finished, )?reward = (?P<number>True|False|[01](?:\.\d+)?)(?![\w%]|\.\d)"
)
_OBSERVED = re.compile(r"\s*Observation(?:[ \t]*\d+)?[ \t]*:", re.I)
_REFLECTING = re.compile(r"You have attempted to answer following question before|^Reflections?:", re.M)


@dataclass(frozen=True, slots=True)
class Turn:
    """What an agent wrote, and what it was answered.

    Attributes:
        written: the text as it stands, labels included.
        thought: its reasoning, or None.
        command: the action in the normal form `verb[argument]`, verb in lower case; None where the text holds no
            action of that form, or several.
        observation: the answer, or None where the log ends before it.
    """

    written: str
    thought: str | None
    command: str | None
    observation: str | None


@dataclass(frozen=True, slots=True)
class Transcript:
    """One episode.

    Attributes:
        question: the question.
        opening: everything the agent was shown before it first wrote; begins with the question.
        turns: its turns, a last thought without an action left out.
        cut: there is such a last thought, or an action that was not answered.
    """

    question: str
    opening: str
    turns: tuple[Turn, ...]
    cut: bool

    @property
    def ended(self) -> bool:
        """The agent gave an answer, or the environment said how it ended."""
        return self.answer is not None or any(outcome(turn.observation) is not None for turn in self.turns[-1:])

    @property
    def answer(self) -> str | None:
        """What the agent answered last."""
        return next((a for a in (finished(turn.command) for turn in reversed(self.turns)) if a is not None), None)


def command_in(action: str) -> str | None:
    """The normal form of an action, or None where it is not of the form `verb[argument]`."""
    match = _COMMAND.match(action)
    return f"{match[1].lower()}[{match[2].strip()}]" if match else None


def finished(command: str | None) -> str | None:
    """The answer that a command gives, or None."""
    verb, _, rest = (command or "").partition("[")
    return rest[:-1] if verb == "finish" else None


def outcome(observation: str | None) -> float | None:
    """The reward that an observation tells, 1 for a right answer and 0 for a wrong one; None where it tells none."""
    match = _OUTCOME.search(observation or "")
    if match is None:
        return None
    if match["word"]:
        return float(match["word"] == "CORRECT")
    return {"True": 1.0, "False": 0.0}.get(match["number"]) if match["number"][0] in "TF" else float(match["number"])


def without_outcome(observation: str | None) -> str | None:
    """An observation without what it says about the outcome, which no model may read."""
    return observation if observation is None else _OUTCOME.sub("", observation).strip(" \n,")


def after_examples(text: str, question: str | None = None) -> str:
    """A prompt without its few-shot episodes.

    Args:
        question: the one that is asked, where the log names it: the episode begins where it first stands. Else it
            begins at the first question after the last marker of examples, or at the last one where there is no marker.
    """
    _, marker, rest = text.rpartition(END_OF_EXAMPLES)
    starts = list(_QUESTION.finditer(rest))
    named = [m.start() for m in starts if question and rest[m.end() :].lstrip().startswith(question.strip())]
    if named:
        return rest[named[0] :]
    return rest[starts[0 if marker else -1].start() :] if starts else rest


def split_questions(text: str) -> list[str]:
    """The episodes of a text, each from its `Question:` to the next; few-shot examples before the marker left out."""
    text = text.rpartition(END_OF_EXAMPLES)[2]
    starts = [match.start() for match in _QUESTION.finditer(text)]
    return [text[a:b] for a, b in zip(starts, [*starts[1:], None], strict=False)]


def parse_text(text: str) -> Transcript:
    """Parses one episode written as one text: `Question: ...`, then labels, numbered or not."""
    labels = _labels(text)
    while labels and labels[0][1].lower() == "observation":  # shown before the agent first wrote
        del labels[0]
    opening = text[: labels[0].start()] if labels else text
    turns: list[Turn] = []
    start, kinds, answered = len(opening), set[str](), False
    for label, following in zip(labels, [*labels[1:], None], strict=False):
        kind = label[1].lower()
        if kind != "observation":
            if answered:
                start, kinds, answered = label.start(), set(), False
            kinds.add(kind)
            continue
        body = text[label.end() : following.start() if following else None].strip()
        if answered:  # an observation in two parts
            turns[-1] = replace(turns[-1], observation=f"{turns[-1].observation}\n{body}")
        else:
            turns.append(_turn(text[start : label.start()], body))
            answered = True
    rest = "" if answered or not labels else text[start:]
    if "action" in kinds and rest:
        turns.append(_turn(rest, None))
    return Transcript(_question(opening), _opening(opening), tuple(turns), bool(rest.strip()))


def parse_messages(messages: Sequence[Message]) -> Transcript:
    """Parses one episode written as chat: assistant messages are turns, what follows them observations.

    Few-shot episodes are cut: the episode begins where the last question is first asked (some prompts repeat it at
    every turn), or at the first message of the user where none has the word. Observations ask nothing.
    """
    users = [i for i, m in enumerate(messages) if m.role == "user"]
    asking = [i for i in users if _QUESTION.search(messages[i].content) and not _OBSERVED.match(messages[i].content)]
    start = (asking or users or [0])[-1 if asking else 0]
    question = _asked(messages[start].content) if asking else ""
    for i in reversed(asking):
        other = _asked(messages[i].content)
        if not (question.startswith(other) or other.startswith(question)):
            break
        start, question = i, min(question, other, key=len)  # what follows a repeated one can stand on its line
    opening = after_examples(messages[start].content) if messages else ""
    written: list[list[str]] = []
    observations: list[list[str]] = []
    for message in messages[start + 1 :]:
        if message.role == "assistant":
            if len(written) == len(observations):
                written.append([])
                observations.append([])
            elif observations[-1]:
                written.append([])
                observations.append([])
            written[-1].append(message.content)
        elif written:
            observations[-1].append(_LABEL.sub("", _without_question(message.content, question), count=1).strip())
        else:
            opening += f"\n{message.content}"
    turns = tuple(
        _turn("\n".join(texts), "\n".join(answers) if answers else None)
        for texts, answers in zip(written, observations, strict=True)
    )
    cut = bool(turns) and turns[-1].observation is None and finished(turns[-1].command) is None
    return Transcript(_question(opening), _opening(opening), turns, cut)


def _asked(content: str) -> str:
    """The line of the last question of a message."""
    return _QUESTION.split(content)[-1].partition("\n")[0].strip()


def _without_question(content: str, question: str) -> str:
    """A message without a repeated question and what stands before it."""
    repeated = question and _QUESTION.search(content) and not _OBSERVED.match(content)
    return content.partition(question)[2] or content if repeated else content


def _labels(text: str) -> list[re.Match[str]]:
    """The labels of a text; where the first action is numbered, only numbered ones (pages may contain the words)."""
    found = list(_LABEL.finditer(text))
    first = next((label for label in found if label[1].lower() == "action"), None)
    if first is None:
        return found
    return [label for label in found if (label[2] is None) == (first[2] is None)]


def _turn(written: str, observation: str | None) -> Turn:
    parts: dict[str, list[str]] = {}
    labels = _labels(written)
    for label, following in zip(labels, [*labels[1:], None], strict=False):
        body = written[label.end() : following.start() if following else None].strip()
        parts.setdefault(label[1].lower(), []).append(body)
    actions = parts.get("action", [])
    return Turn(
        written=written.strip(),
        thought="\n".join(parts["thought"]) if "thought" in parts else None,
        command=command_in(actions[0]) if len(actions) == 1 else None,
        observation=observation,
    )


def _opening(text: str) -> str:
    text = text.strip()
    return text if _QUESTION.match(text) else f"Question: {text}"


def _question(opening: str) -> str:
    """The question alone, without the reflections that some agents add to it."""
    asked = _QUESTION.split(opening)[-1]
    reflecting = _REFLECTING.search(asked)
    return " ".join((asked[: reflecting.start()] if reflecting else asked).split())
