"""From parsed transcripts to logged episodes: one reward at the end, and only where the log says how it ended."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from bench.data import Step, Trajectory
from bench.formats.building import LogBuilder
from bench.formats.log import Extras, Import
from tasks.alfworld.transcripts import Transcript, without_outcome

NO_STEP = "crashed before its first step"
CRASHED = "crashed: the log says that an error ended it (an error of the harness, not a failure of the agent)"
NO_OUTCOME = "no outcome: the log does not say whether the task was done"
CUT_OFF = "no outcome: the log ends, or goes on with another episode, before it says how this one ended"
GAME = re.compile(r"((?:pick|look)_[a-z_]+-\w+-\w+-\w+-\d+/trial_T\d+_\d+_\d+)")
"""An official game: task type, object, parent object, receptacle and scene, then the trial."""


class EpisodeLog:
    """Gathers ALFWorld episodes.

    Args:
        kind: name of the format.
        notes: what a reader must know.
    """

    def __init__(self, kind: str, *notes: str):
        self.builder = LogBuilder(
            kind,
            "reward is 1 at the end of a success, else 0; nothing but a limit ends the rest, so they are truncated",
            "goal is the task alone; the first observation is the room; instructions and examples are left out",
            "what the last observation says about the outcome is left out",
            *notes,
        )

    def add(
        self,
        episode: Transcript,
        logger: str,
        instance: str,
        reward: float | None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Takes an episode.

        Args:
            episode: as parsed.
            logger: the agent.
            instance: the game.
            reward: as recorded, 1 for a success; None where it is not, and then the episode is dropped.
            metadata: what else is known.
        """
        if not episode.turns:
            return self.builder.drop(NO_STEP)
        if reward is None:
            return self.builder.drop(NO_OUTCOME)
        shown = [episode.opening, *(turn.observation or "" for turn in episode.turns)]
        last = len(episode.turns) - 1
        trajectory = Trajectory(
            id=f"{logger}/{instance}",
            instance=instance,
            goal=episode.goal,
            steps=tuple(
                Step(shown[t], turn.written, reward if t == last else 0.0) for t, turn in enumerate(episode.turns)
            ),
            final_observation=without_outcome(episode.turns[-1].observation),
            terminated=reward == 1,
            truncated=reward != 1,
            logger=logger,
        )
        commands, thoughts = zip(*((turn.command, turn.thought) for turn in episode.turns), strict=True)
        self.builder.add(trajectory, Extras(commands, thoughts, {"success": reward == 1, **(metadata or {})}))

    def log(self) -> Import:
        """What was gathered."""
        return self.builder.log()


def instance_of(episode: Transcript) -> str:
    """A name for a game that the log does not name: its task, and a short hash of the room."""
    return f"{episode.goal.rstrip('.')}/{hashlib.sha256(episode.opening.encode()).hexdigest()[:8]}"
