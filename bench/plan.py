"""What to compute: profiles and selections become cells, cells become jobs (one fit and the policies it judges)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bench import registry
from bench.cells import Cell, Record
from bench.errors import BenchError, UnknownNameError
from bench.estimator import Estimator
from bench.store import Store
from bench.task import Task

ProfileName = Literal["quick", "published"]


@dataclass(frozen=True)
class Block:
    """Part of a log: `n` episodes for each of `seeds`. `curve`: only for estimators that run on the size curve."""

    n: int
    seeds: tuple[int, ...]
    curve: bool = False


@dataclass(frozen=True)
class Profile:
    """A grid of results.

    Attributes:
        blocks: log name to its blocks; logs of other names are used where a task has none of these, like the first.
        targets: how many targets of each task, spread evenly over its list; None for all.
    """

    blocks: Mapping[str, tuple[Block, ...]]
    targets: int | None = None


PROFILES: dict[ProfileName, Profile] = {
    "quick": Profile({"pooled": (Block(300, (0,)),)}, targets=4),
    "published": Profile(
        {
            "pooled": (Block(1000, (0, 1, 2)), Block(300, (0, 1, 2), curve=True), Block(100, (0, 1, 2), curve=True)),
            "far": (Block(1000, (0,)),),
        }
    ),
}


@dataclass(frozen=True)
class Selection:
    """What the user asked for; empty tuples and None mean whatever the profile says."""

    profile: ProfileName = "quick"
    tasks: tuple[str, ...] = ()
    estimators: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()
    n: int | None = None
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Job:
    """One fit and the cells that share it, in the order of the task's targets."""

    task: str
    log: str
    spec: str
    n: int
    seed: int
    cells: tuple[Cell, ...]

    def label(self, policy: str) -> str:
        """A line that says what is being computed."""
        return f"{self.task} {self.log} n={self.n} seed={self.seed} {self.spec} -> {policy}"


def plan(selection: Selection) -> list[Job]:
    """All jobs of a selection, whether stored or not, in a fixed order: by task, log and block, then estimator.

    Jobs on the same data follow each other, so a worker process keeps one task and few blocks in memory.

    Raises:
        UnknownNameError: a task, log, policy, estimator or parameter that does not exist.
        BenchError: a block that cannot exist.
    """
    if (selection.n is not None and selection.n < 1) or any(seed < 0 for seed in selection.seeds):
        raise BenchError(
            f"--n {selection.n} --seed {selection.seeds}: blocks hold at least 1 episode and count from 0."
        )
    estimators = chosen_estimators(selection.estimators or tuple(profile_estimators(selection.profile)))
    tasks = {name: registry.task(name) for name in selection.tasks or registry.task_names()}
    _check_names("log", selection.logs, (name for task in tasks.values() for name in task.logs()))
    _check_names("policy", selection.policies, (card.name for task in tasks.values() for card in task.targets()))
    jobs = []
    for task in tasks.values():
        targets = chosen_targets(task, selection)
        for log, blocks in chosen_blocks(task, selection).items():
            size = task.log_size(log)
            if selection.n is not None and selection.n > size:
                raise BenchError(f"--n {selection.n}: log {log!r} of task {task.name!r} holds {size:,} episodes.")
            _check_seeds(selection.seeds, task.name, log, size, min(block.n for block in blocks))
            there = [(block, s) for block in blocks for s in block.seeds if block.n * (s + 1) <= size]  # or fewer
            prints = task.block_fingerprints(log, [block.n * (seed + 1) for block, seed in there])
            for (block, seed), data in zip(there, prints, strict=True):
                jobs += [
                    _job(task.name, log, data, spec, estimator, targets, block.n, seed)
                    for spec, estimator in estimators.items()
                    if estimator.size_curve or not block.curve
                ]
    return [job for job in jobs if job.cells]


def too_short(selection: Selection) -> list[str]:
    """A line for each log that does not hold all blocks of the profile: what is left out of the grid."""
    lines = []
    for task in map(registry.task, selection.tasks or registry.task_names()):
        for log, blocks in chosen_blocks(task, selection).items():
            size = task.log_size(log)
            gone = {b.n: [str(s) for s in b.seeds if b.n * (s + 1) > size] for b in blocks}
            words = [f"n = {n:,}, seed {', '.join(seeds)}" for n, seeds in gone.items() if seeds]
            if words:
                lines.append(f"{task.name}, {log} log, holds {size:,} episodes; left out: {'; '.join(words)}")
    return lines


def targets_by_task(jobs: Iterable[Job]) -> dict[str, set[str]]:
    """The policies that the jobs judge."""
    found: dict[str, set[str]] = {}
    for job in jobs:
        found.setdefault(job.task, set()).update(cell.policy for cell in job.cells)
    return found


def missing(jobs: Iterable[Job], store: Store, redo: Collection[str] = ()) -> list[Job]:
    """What is left to do: jobs reduced to the cells that are not stored, failed, or whose key is in `redo`."""
    left = []
    for job in jobs:
        open_cells = tuple(cell for cell in job.cells if cell.key in redo or _is_open(store.load(cell)))
        if open_cells:
            left.append(replace(job, cells=open_cells))
    return left


def _is_open(record: Record | None) -> bool:
    return record is None or record.status == "failed"


def matching(jobs: Iterable[Job], specs: Sequence[str]) -> list[Cell]:
    """Cells of the estimators named by `specs`: all variants for a bare name, one for a name with brackets.

    Raises:
        BenchError: a spec that the jobs do not hold.
    """
    jobs = list(jobs)
    found = []
    for spec in specs:
        name, _ = registry.parse_spec(spec)
        exact = registry.spec_of(registry.make_estimator(spec))
        hits = [j for j in jobs if (j.spec == exact if "[" in spec else registry.parse_spec(j.spec)[0] == name)]
        if not hits:
            raise BenchError(
                f"--redo {spec}: the selection holds no such estimator. It holds {sorted({j.spec for j in jobs})}."
            )
        found += [cell for job in hits for cell in job.cells]
    return found


def profile_estimators(profile: ProfileName) -> list[str]:
    """The estimators of a profile: all of them, but for those that leave the quick one."""
    return [name for name in registry.estimator_names() if profile != "quick" or registry.estimator_class(name).quick]


def chosen_estimators(specs: Sequence[str]) -> dict[str, Estimator]:
    """Canonical spec to estimator. A bare name means the variants of the leaderboard, `name[]` the defaults."""
    wanted = []
    for spec in specs or registry.estimator_names():
        variants = (None,) if "[" in spec else registry.estimator_class(registry.parse_spec(spec)[0]).variants
        wanted += [spec if variant is None else f"{spec.strip()}[{variant}]" for variant in variants]
    estimators = map(registry.make_estimator, wanted)
    return {registry.spec_of(estimator): estimator for estimator in estimators}


def chosen_targets(task: Task, selection: Selection) -> tuple[str, ...]:
    """The targets a selection judges; a profile's spread is taken by position in the list, never by value."""
    names = [card.name for card in task.targets()]
    if selection.policies:
        return tuple(name for name in names if name in selection.policies)
    limit = PROFILES[selection.profile].targets
    if limit is None or limit >= len(names):
        return tuple(names)
    return tuple(names[i] for i in np.linspace(0, len(names) - 1, limit).round().astype(int))


def chosen_blocks(task: Task, selection: Selection) -> dict[str, tuple[Block, ...]]:
    """The blocks of each log a selection uses; `n` and `seeds` of the selection replace the profile's."""
    profile = PROFILES[selection.profile]
    first = next(iter(profile.blocks.values()))
    available = task.logs()
    usual = [log for log in available if log in profile.blocks] or list(available)
    logs = [log for log in available if log in selection.logs] if selection.logs else usual
    return {log: _overridden(profile.blocks.get(log, first), selection) for log in logs}


def _overridden(blocks: tuple[Block, ...], selection: Selection) -> tuple[Block, ...]:
    if selection.n is not None:
        blocks = (replace(blocks[0], n=selection.n),)
    if selection.seeds:
        blocks = tuple(replace(block, seeds=tuple(dict.fromkeys(selection.seeds))) for block in blocks)
    return blocks


def _job(
    task: str, log: str, data: str, spec: str, estimator: Estimator, targets: Sequence[str], n: int, seed: int
) -> Job:
    identity = dict(estimator=estimator.name, version=estimator.version, params=estimator.identity(), n_trajectories=n)
    cells = [Cell(task=task, log=log, data=data, policy=policy, seed=seed, **identity) for policy in targets]
    return Job(task, log, spec, n, seed, tuple(cells))


def _check_seeds(asked: Sequence[int], task: str, log: str, size: int, n: int) -> None:
    for seed in asked:
        if n * (seed + 1) > size:
            raise BenchError(
                f"--seed {seed}: log {log!r} of task {task!r} holds {size:,} episodes, blocks 0 to {size // n - 1} of "
                f"n = {n:,}."
            )


def _check_names(kind: str, asked: Sequence[str], known: Iterable[str]) -> None:
    names = set(known)
    for name in asked:
        if name not in names:
            raise UnknownNameError(kind, name, names)
