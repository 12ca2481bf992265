"""The world models under study, and how each is led along given actions without an agent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from bench.data import LoggedDataset, Trajectory
from bench.errors import BenchError, DataError, UnsupportedError
from bench.registry import make_estimator
from bench.rng import rng_for
from estimators._world.base import SimulationEstimator
from estimators._world.world import Answer, Start, World
from tasks.toy_chain.world import ToyChainEnvironment

STEPWISE = "one step at a time"
"""Marks joint diffusion that sees the present action alone."""
REDRAWN = "reality, drawn again"
"""The environment itself under the same actions: what a perfect model would score where chance has a part."""
NOBODY = SimpleNamespace(name="nobody")
"""In the place of the agent: none of what is led along given actions may need one."""
ENVIRONMENTS = {"toy_chain": ToyChainEnvironment}
"""Stochastic environments that are at hand wherever the repository is."""


@dataclass(frozen=True)
class Driver:
    """One line of the horizon curve.

    Attributes:
        label: its name. spec: of the estimator, empty for the environment itself.
        ahead: actions that a window of joint diffusion is told; 0: all of the window.
    """

    label: str
    spec: str
    ahead: int = 0


def drivers(specs: Sequence[str], task: str) -> list[Driver]:
    """Every spec once, joint diffusion twice, and the environment where chance has a part in it."""
    found = []
    for spec in specs:
        found.append(Driver(spec, spec))
        if make_estimator(spec).name == "joint_diffusion":
            found.append(Driver(f"{spec}, {STEPWISE}", spec, ahead=1))
    return found + ([Driver(REDRAWN, "")] if task in ENVIRONMENTS else [])


def simulator(spec: str) -> SimulationEstimator:
    """A world-model estimator by spec.

    Raises:
        BenchError: the estimator has no world, or more than one.
    """
    estimator = make_estimator(spec)
    if not isinstance(estimator, SimulationEstimator):
        raise BenchError(
            f"{spec} is no world model: it cannot be led along actions. Choose an estimator that simulates."
        )
    if not estimator.one_world:
        raise BenchError(f"{spec} plays in several world models: none of them can be studied as its own.")
    return estimator


def held_out(data: LoggedDataset, n: int, seed: int, episodes: int) -> list[Trajectory]:
    """Episodes outside the `seed`-th block of `n`: the next ones in the order in which blocks are cut, then those
    before it, and only then volumes that the block does not reach: they stay the same when the log grows.

    Raises:
        DataError: the log holds too few.
    """
    order, end = data.block_order, n * (seed + 1)
    reached = next((edge for edge in np.cumsum(data.volume_sizes) if edge >= end), len(data))
    rest = order[end:reached] + order[: n * seed] + order[reached:]
    if len(rest) < episodes:
        raise DataError(
            f"log of task {data.task!r}: {episodes} episodes outside block {seed} of {n} were asked for, there are "
            f"{len(rest)}. Use fewer episodes or a smaller n."
        )
    return [data.trajectories[i] for i in rest[:episodes]]


def start_of(trajectory: Trajectory) -> Start:
    """Where an episode began."""
    return Start(trajectory.instance, trajectory.goal, trajectory.steps[0].observation)


def follow(
    world: World, starts: Sequence[Start], actions: Sequence[Sequence[str]], rng: np.random.Generator
) -> list[list[Answer]]:
    """Leads a world along given actions, on its own observations.

    Returns:
        For each episode the answers to its actions; fewer where the world ended it early.
    """
    world.reset(starts, rng)
    answers: list[list[Answer]] = [[] for _ in starts]
    for t in range(max(map(len, actions))):
        going = [
            row[t] if t < len(row) and not (told and told[-1].ended) else None
            for row, told in zip(actions, answers, strict=True)
        ]
        if all(action is None for action in going):
            break
        for told, answer in zip(answers, world.step(going), strict=True):
            if answer is not None:
                told.append(answer)
    return answers


def drive(
    driver: Driver, block: LoggedDataset, episodes: Sequence[Trajectory], seed: int
) -> tuple[list[list[Answer]], str]:
    """Fits what the driver needs and leads it along the episodes' actions from their first observations.

    Returns:
        The answers, see `follow`, and what a reader must know of the fit; empty if nothing.

    Raises:
        UnsupportedError: the estimator declines the log.
    """
    starts, actions = [start_of(t) for t in episodes], [[s.action for s in t.steps] for t in episodes]
    rng = rng_for("open loop", block.task, driver.label, seed)
    if not driver.spec:
        return follow(EnvironmentWorld(ENVIRONMENTS[block.task]), starts, actions, rng), ""
    estimator = simulator(driver.spec)
    reason = estimator.unsupported(block, NOBODY)
    if reason is not None:
        raise UnsupportedError(reason)
    estimator.fit(block, rng_for("fit", block.task, driver.spec, seed))
    if estimator.name == "joint_diffusion":
        windows = clamped(estimator)
        return windows.follow(starts, actions, driver.ahead or windows.length, rng), estimator.label()
    return follow(estimator.world(NOBODY), starts, actions, rng), estimator.label()


def clamped(estimator):
    """The windows of a fitted joint diffusion, with their action block held where actions are given."""
    from estimators._joint.clamped import ClampedWindows
    from estimators._joint.guidance import GuidanceScales

    scales = GuidanceScales(0.0, 0.0, 1.0)  # nobody guides
    return ClampedWindows(estimator.fit_, estimator.windows_, estimator.fitted_data(), scales, estimator.candidates)


class EnvironmentWorld(World):
    """The environment itself, one copy per episode."""

    def __init__(self, environment: type[ToyChainEnvironment]):
        self.environment = environment

    def reset(self, starts: Sequence[Start], rng: np.random.Generator) -> None:
        """See `World`."""
        self.copies = [self.environment(child) for child in rng.spawn(len(starts))]
        for copy, start in zip(self.copies, starts, strict=True):
            copy.reset(start.instance)

    def step(self, actions: Sequence[str | None]) -> list[Answer | None]:
        """See `World`."""
        return [None if a is None else Answer(*copy.step(a)) for copy, a in zip(self.copies, actions, strict=True)]
