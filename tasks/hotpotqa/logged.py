"""From parsed transcripts to logged episodes: outcomes as recorded, checked against the official scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from bench.data import Step, Trajectory
from bench.errors import DataError
from bench.formats.building import LogBuilder
from bench.formats.log import Extras, Import
from tasks.hotpotqa.answers import exact_match, f1
from tasks.hotpotqa.react_text import Transcript, without_outcome

NO_STEP = "crashed before its first step"
CRASHED = "crashed: the log says that an error ended it (an error of the harness, not a failure of the agent)"
NO_OUTCOME = "no outcome: neither a reward nor an answer to compare with"
NO_ANSWER = "no outcome: no reward, the agent gave no answer, and nothing says that a limit ended the episode"
Measure = Literal["em", "f1"]
_NAMES = {"em": "exact match", "f1": "F1"}


class AnswerLog:
    """Gathers question answering episodes.

    Args:
        kind: name of the format.
        measure: what its rewards are.
        notes: what a reader must know.
    """

    def __init__(self, kind: str, measure: Measure | None, *notes: str):
        self.builder = LogBuilder(
            kind,
            *([f"rewards are the {_NAMES[measure]} of the answer, at the last step"] if measure else []),
            "actions are all the agent wrote, reasoning included; action_canonical is the command alone",
            "what the last observation says about the outcome is left out",
            *notes,
        )
        self.measure = measure
        self._checked = self._differing = 0

    def add(
        self,
        episode: Transcript,
        logger: str,
        reward: float | None,
        answer: str | None,
        halted: bool = False,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Takes an episode.

        Args:
            episode: as parsed.
            logger: the agent.
            reward: as recorded; None where it is not, and then the episode is dropped.
            answer: the right answer, where the log has it; the reward is checked against it.
            halted: the log says that a limit ended it.
            metadata: what else is known.
        """
        if not episode.turns:
            return self.builder.drop(NO_STEP)
        if reward is None:
            return self.builder.drop(NO_OUTCOME if answer is None else NO_ANSWER)
        scores = {} if answer is None else self._scores(episode.answer, answer, reward)
        trajectory = Trajectory(
            id=f"{logger}/{episode.question}",
            instance=episode.question,
            goal=episode.question,
            steps=_steps(episode, reward),
            final_observation=without_outcome(episode.turns[-1].observation),
            terminated=episode.ended and not halted,
            truncated=halted or not episode.ended,
            logger=logger,
        )
        commands, thoughts = zip(*((turn.command, turn.thought) for turn in episode.turns), strict=True)
        self.builder.add(trajectory, Extras(commands, thoughts, {**scores, **(metadata or {})}))

    def _scores(self, said: str | None, answer: str, reward: float) -> dict[str, Any]:
        """The answer and its official scores, 0 where none was given; counts where the recorded reward is another."""
        scores = {"em": said is not None and exact_match(said, answer), "f1": 0.0 if said is None else f1(said, answer)}
        if self.measure is not None:
            self._checked += 1
            self._differing += abs(float(scores[self.measure]) - reward) > 1e-9
        return {"answer": answer, **scores}

    def log(self) -> Import:
        """What was gathered."""
        if self.measure is not None and self._checked:
            self.builder.notes.append(
                f"recomputed {_NAMES[self.measure]} equals the recorded reward in {self._checked - self._differing} of "
                f"{self._checked} episodes"
            )
        return self.builder.log()


def _steps(episode: Transcript, reward: float) -> tuple[Step, ...]:
    shown = [episode.opening, *(turn.observation or "" for turn in episode.turns)]
    last = len(episode.turns) - 1
    return tuple(Step(shown[t], turn.written, reward if t == last else 0.0) for t, turn in enumerate(episode.turns))


def number(value: Any, name: str, where: str) -> float:
    """A recorded score as a number between 0 and 1.

    Raises:
        DataError: it is not one.
    """
    if isinstance(value, (bool, int, float)) and 0 <= value <= 1:
        return float(value)
    raise DataError(f"{where}: {name} {value!r} is not a number between 0 and 1.")
