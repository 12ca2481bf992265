"""What simulated and real episodes have in common: length, success, and whether asking twice gives the same answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.data import LoggedDataset
from bench.errors import DataError
from bench.recorded import RecordedTask
from bench.stats import percentile_interval, resample_counts, resampling_scheme
from bench.task import Task

LOOKS = re.compile(r"(look|inventory|examine|read)\b", re.IGNORECASE)
"""Actions that change nothing, by how they begin."""
REPLICATES = 400


@dataclass(frozen=True)
class Played:
    """(N,) returns, lengths, whether they ended before the step limit, and instances of on-policy episodes."""

    returns: np.ndarray
    lengths: np.ndarray
    ended: np.ndarray
    instances: np.ndarray


def really_played(task: Task, policy: str) -> Played:
    """The episodes behind the ground truth of a target.

    Raises:
        DataError: the task did not keep how long they were.
    """
    if task.name == "toy_chain":
        from tasks.toy_chain.record import TRUTH_EPISODES_PER_INSTANCE, play

        instances = [name for name in task.instances() for _ in range(TRUTH_EPISODES_PER_INSTANCE)]
        episodes = play(policy, instances, "truth")
        columns = [(t.rewards.sum(), len(t), t.terminated, t.instance) for t in episodes]
        return Played(*(np.array(c) for c in zip(*columns, strict=True)))
    if not isinstance(task, RecordedTask):
        raise DataError(f"task {task.name!r} keeps no episodes behind its truth: their lengths cannot be compared.")
    rows = pq.read_table(task.folder / "truth.parquet").filter(pc.field("policy") == policy)
    names = ("return", "length", "terminated", "instance")
    return Played(*(rows[name].to_numpy(zero_copy_only=False) for name in names))


@dataclass(frozen=True)
class Repeats:
    """How often an action was given again with nothing but looks, or itself, in between, and the answer was another.

    Attributes:
        asked, differ: number of such repeats, and of those answered otherwise than before.
        looked, looked_differ: the same of the actions that are looks themselves.
    """

    asked: int
    differ: int
    looked: int
    looked_differ: int


def repeats(episodes: Iterable[Sequence[tuple[str, str]]]) -> Repeats:
    """Counts in episodes of (observation, action) steps; an answer is the observation of the step that follows.

    Even in reality not all answers are the same: an action may change something the first time, and chance may have a
    part. So the share means something beside that of the real log alone.
    """
    counts = np.zeros(4, dtype=int)
    for steps in episodes:
        answers: dict[str, str] = {}
        for (_, action), (answer, _) in zip(steps[:-1], steps[1:], strict=True):
            look = bool(LOOKS.match(action))
            if not look:
                answers = {a: seen for a, seen in answers.items() if a == action}
            if action in answers:
                other = answers[action].split() != answer.split()
                counts += [1, other, look, look and other]
            answers[action] = answer
    return Repeats(*counts.tolist())


def repeats_in(data: LoggedDataset) -> Repeats:
    """Of a real log."""
    return repeats([(s.observation, s.action) for s in t.steps] for t in data.trajectories)


def success_gap(simulated: Played, real: Played, least: float, rng: np.random.Generator) -> tuple[float, float, float]:
    """Share of simulated episodes with a return of at least `least`, minus the share of real ones; 95 % interval.

    Episodes are redrawn within instances, simulated and real ones apart; whole instances where some were played once.
    What another training of the model would have said is not in the interval.
    """
    gap, low_high = 0.0, np.zeros(REPLICATES)
    for sign, played in ((1, simulated), (-1, real)):
        success = (played.returns >= least - 1e-6).astype(float)
        _, code = np.unique(played.instances, return_inverse=True)
        scheme, _ = resampling_scheme(code, True)
        counts = resample_counts(code, REPLICATES, rng, scheme)
        gap += sign * float(success.mean())
        low_high += sign * (counts @ success / counts.sum(axis=1))
    return gap, *percentile_interval(low_high)
