"""What a log file says: its header, its episodes, what goes beyond a `Trajectory`, and what had to be left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.data import LoggedDataset, Trajectory
from bench.errors import DataError

AGREE = 0.01
"""Share by which two records of one log-probability may differ: one at sampling time, the other scored again."""
FORMAT = "ope-log"
VERSION = 1
UNKNOWN_TASK = "unknown"


@dataclass(frozen=True)
class Header:
    """What holds for a whole log; None where the file does not say.

    Attributes:
        task: name of the task.
        gamma: discount of the estimand.
        horizon: step limit of the estimand.
        loggers: names of the policies that generated the episodes; fixes the order of `logger_logps`.
        fixed_instances: see `LoggedDataset`.
    """

    task: str | None = None
    gamma: float | None = None
    horizon: int | None = None
    loggers: tuple[str, ...] | None = None
    fixed_instances: bool | None = None


@dataclass(frozen=True, slots=True)
class Extras:
    """What a log knows about one episode beyond what estimators read; kept, never used for an estimate.

    Attributes:
        action_canonical: per step, the action in a normal form (the command that was executed), or None.
        thought: per step, the reasoning written before the action, or None.
        metadata: anything else, as JSON values. `success`, true or false, is the one key with a meaning: it is counted.
    """

    action_canonical: tuple[str | None, ...] = ()
    thought: tuple[str | None, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.metadata) or any(v is not None for v in (*self.action_canonical, *self.thought))


@dataclass(frozen=True)
class Import:
    """A log that was read, and an account of what was not.

    Attributes:
        format: name of the format it was read as.
        episodes: the episodes whose outcome is known, in file order.
        header: what the file says of the whole log.
        extras: by episode id.
        dropped: reason -> number of episodes left out. An episode without an outcome is left out, never scored 0.
        notes: what a reader of the result must know about the format or the file.
    """

    format: str
    episodes: Sequence[Trajectory]
    header: Header = Header()
    extras: Mapping[str, Extras] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    notes: tuple[str, ...] = ()

    def dataset(self) -> LoggedDataset:
        """The episodes as a data set.

        What the header leaves open: task "unknown", gamma 1, horizon the longest episode, loggers sorted by name,
        instances a sample of a wider population (the conservative choice for intervals).

        Raises:
            DataError: no episode is left, an id occurs twice, or two records of a log-probability disagree.
        """
        if not self.episodes:
            reasons = "; ".join(f"{count} dropped: {why}" for why, count in self.dropped.items())
            raise DataError(f"no episode left to estimate from ({reasons or 'the log is empty'}).")
        head = self.header
        for trajectory in self.episodes:
            _check_agreement(trajectory, head.loggers or ())
        return LoggedDataset(
            task=head.task or UNKNOWN_TASK,
            loggers=head.loggers or tuple(sorted({t.logger for t in self.episodes})),
            gamma=1.0 if head.gamma is None else head.gamma,
            horizon=head.horizon or max(len(t) for t in self.episodes),
            trajectories=tuple(self.episodes),
            fixed_instances=bool(head.fixed_instances),
        )


def _check_agreement(trajectory: Trajectory, loggers: Sequence[str]) -> None:
    """What a step says of its own logger, alone and in the list of all, must be the same: one is used for plain weights
    and the other for balanced ones."""
    if trajectory.logger not in loggers:
        return
    own = loggers.index(trajectory.logger)
    for t, step in enumerate(trajectory.steps):
        if step.behavior_logp is None or step.logger_logps is None:
            continue
        told = step.logger_logps[own]
        if abs(told - step.behavior_logp) > AGREE * max(1.0, abs(told)):
            raise DataError(
                f"episode {trajectory.id!r}, steps[{t}]: behavior_logp is {step.behavior_logp}, but logger_logps says "
                f"{told} for the same logger, {trajectory.logger!r}. Which is right?"
            )
