"""Plays agents in the environment and writes down what happened; deterministic by name."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bench.data import LoggedDataset, Step, Trajectory
from bench.rng import rng_for, seed_for
from bench.task import GroundTruth
from tasks.toy_chain.exact import ExactQ
from tasks.toy_chain.roster import LOGGERS, TEMPERS, policy_named
from tasks.toy_chain.world import DOOR_REWARD, HORIZON, INSTANCES, KEY_REWARD, SECOND_SEARCH, ToyChainEnvironment

ENVIRONMENT = "toy_chain 1"
"""Version of world, agents and recording together; stored results belong to one. Bump it when any of them changes."""
LOG_EPISODES = 3000
TRUTH_EPISODES_PER_INSTANCE = 60


def play(logger: str, instances: Sequence[str], purpose: str) -> list[Trajectory]:
    """One on-policy episode per listed instance; `purpose` separates the random streams of logs and truth."""
    policy = policy_named(logger)
    ids = [f"{purpose}/{logger}/{instance}/{k}" for k, instance in enumerate(instances)]
    worlds = [ToyChainEnvironment(rng_for("toy_chain", "world", i)) for i in ids]
    starts = [world.reset(instance) for world, instance in zip(worlds, instances, strict=True)]
    session = policy.start([goal for goal, _ in starts], [seed_for("toy_chain", "agent", i) for i in ids])
    final = [observation for _, observation in starts]
    seen: list[str | None] = list(final)
    steps: list[list[Step]] = [[] for _ in ids]
    for _ in range(HORIZON):
        for i, decision in enumerate(session.step(seen)):
            if decision is None:
                continue
            observation, reward, terminated = worlds[i].step(decision.action)
            steps[i].append(Step(final[i], decision.action, reward, behavior_logp=decision.log_prob))
            final[i] = observation
            seen[i] = None if terminated else observation
    return [
        Trajectory(
            ids[i], instances[i], starts[i][0], tuple(steps[i]), final[i], seen[i] is None, seen[i] is not None, logger
        )
        for i in range(len(ids))
    ]


def fingerprint(log: str) -> str:
    """What identifies a log without drawing it: its name, the version, and every number that may be turned."""
    numbers = [HORIZON, KEY_REWARD, DOOR_REWARD, SECOND_SEARCH, INSTANCES, LOGGERS, TEMPERS, LOG_EPISODES]
    return hashlib.sha256(repr([ENVIRONMENT, log, *numbers]).encode()).hexdigest()[:16]


@functools.cache
def logged(name: str) -> LoggedDataset:
    """The log of this name: as many episodes of each logger on each instance."""
    loggers = LOGGERS[name]
    each = LOG_EPISODES // (len(loggers) * len(INSTANCES))
    instances = [i.name for i in INSTANCES for _ in range(each)]
    episodes = [t for logger in loggers for t in play(logger, instances, name)]
    scores = [policy_named(logger).log_prob_episodes(episodes) for logger in loggers]
    trajectories = [
        replace(
            t,
            steps=tuple(replace(s, logger_logps=tuple(float(x[i][k]) for x in scores)) for k, s in enumerate(t.steps)),
        )
        for i, t in enumerate(episodes)
    ]
    return LoggedDataset("toy_chain", loggers, 1.0, HORIZON, tuple(trajectories))


@functools.cache
def measured(name: str) -> GroundTruth:
    """The exact value of a policy, and returns of on-policy episodes drawn independently of every log."""
    instances = [i.name for i in INSTANCES for _ in range(TRUTH_EPISODES_PER_INSTANCE)]
    episodes = play(name, instances, "truth")
    code = {i.name: k for k, i in enumerate(INSTANCES)}
    return GroundTruth(
        policy=name,
        returns=np.array([t.rewards.sum() for t in episodes]),
        instance=np.array([code[t.instance] for t in episodes]),
        environment=ENVIRONMENT,
        exact=ExactQ(policy_named(name)).start_value(),
    )
