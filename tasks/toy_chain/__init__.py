"""Enumerable house with a hidden key: exact values for everything, the tuning fork of the whole benchmark."""

from __future__ import annotations

from collections.abc import Sequence

from bench.data import LoggedDataset
from bench.errors import UnknownNameError
from bench.policy import Policy
from bench.task import GroundTruth, PolicyCard, Task, TaskCard
from tasks.toy_chain import record, roster, world


class ToyChain(Task):
    """Text in, text out, and nothing to guess: logs are drawn on the fly, deterministically, and values are exact."""

    card = TaskCard(
        description="find the hidden key, walk to the doors, open the one the goal names; a few steps, history matters",
        horizon=world.HORIZON,
        gamma=1.0,
        return_range=(0.0, world.KEY_REWARD + world.DOOR_REWARD),
        deterministic=False,
        environment=record.ENVIRONMENT,
        source="tasks/toy_chain/world.py",
        license="that of this repository",
    )
    known_failures = {
        "check_no_target_is_a_logger": "the target 'same' is the logger 'steady' by design: where overlap is perfect, "
        "weighted estimators must give the log mean",
        "check_every_logged_action_is_possible": "the target 'stayer' never leaves by design: weights of exactly zero "
        "must be handled",
    }

    def logs(self) -> tuple[str, ...]:
        """`pooled`: three loggers with fair overlap; `far`: one near-greedy logger."""
        return tuple(roster.LOGGERS)

    def log(self, name: str) -> LoggedDataset:
        """3,000 episodes, the same ones in every process."""
        if name not in roster.LOGGERS:
            raise UnknownNameError("log of toy_chain", name, roster.LOGGERS)
        return record.logged(name)

    def log_size(self, name: str) -> int:
        """Episodes of a log."""
        return record.LOG_EPISODES

    def log_fingerprint(self, name: str) -> str:
        """Identifies a log without drawing it; the last digits of its log-probabilities may differ between machines."""
        return record.fingerprint(name)

    def targets(self) -> tuple[PolicyCard, ...]:
        """Twelve agents of widely different value, four of them an epsilon sweep."""
        return roster.TARGETS

    def policy(self, name: str) -> Policy:
        """A target or logger."""
        return roster.policy_named(name)

    def truth(self, policy: str) -> GroundTruth:
        """The exact value, with returns of 600 on-policy episodes beside it; loggers have one too."""
        return record.measured(policy)

    def instances(self) -> Sequence[str]:
        """Ten houses."""
        return tuple(i.name for i in world.INSTANCES)
