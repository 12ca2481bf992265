"""The checks of tasks are worth what they catch: each planted mistake fails the check that was made for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench import registry
from bench.conformance import TASK_CHECKS
from bench.errors import DataError

TOY = registry.task("toy_chain")


class Sound(type(TOY)):
    """A little of toy_chain, without the target that is a logger and the one that never leaves."""

    name = "toy_chain"

    def log(self, name):
        return super().log(name).subset(60, 0)

    def targets(self):
        return tuple(card for card in super().targets() if card.name not in ("same", "stayer"))[:6]


class NoLicense(Sound):
    card = replace(Sound.card, license=" ")


class NarrowRange(Sound):
    card = replace(Sound.card, return_range=(0.0, 0.5))


class OtherDiscount(Sound):
    card = replace(Sound.card, gamma=0.9)


class ForgetsPropensities(Sound):
    def log(self, name):
        data = super().log(name)
        first, *rest = data.trajectories
        return data.with_trajectories(
            [replace(first, steps=tuple(replace(s, behavior_logp=None) for s in first.steps)), *rest]
        )


class FingerprintOfTheMoment(Sound):
    calls = 0

    def log_fingerprint(self, name):
        FingerprintOfTheMoment.calls += 1
        return str(self.calls)


class PrefersAnInstance(Sound):
    def log(self, name):
        return super().log(name).where(lambda t: t.instance != "mill" or t.id.endswith("7"))


class FewTargets(Sound):
    def targets(self):
        return super().targets()[:3]


class TargetIsLogger(Sound):
    def targets(self):
        return TOY.targets()


class Rereads(Sound):
    """Scoring after the fact is not what was sampled from."""

    def policy(self, name):
        policy = super().policy(name)
        table = policy.table * 1.02
        return type(policy)(name, table - np.logaddexp.reduce(table, axis=-1, keepdims=True))


class Unnormalized(Sound):
    def policy(self, name):
        return type(super().policy(name))(name, super().policy(name).table + 0.5)


class NeverSearches(Sound):
    def policy(self, name):
        policy = super().policy(name)
        table = np.array(policy.table)
        table[..., 1] = -np.inf
        return type(policy)(name, table)


class OneEpisodeOfTruth(Sound):
    def truth(self, policy):
        truth = super().truth(policy)
        return replace(truth, returns=truth.returns[:1], instance=truth.instance[:1])


class TruthWithoutError(Sound):
    def truth(self, policy):
        truth = super().truth(policy)
        return replace(truth, returns=np.ones_like(truth.returns), exact=None)


class TruthIsNoise(Sound):
    def truth(self, policy):
        truth = super().truth(policy)
        return replace(
            truth, returns=np.random.default_rng(len(policy)).permutation(TOY.truth("same").returns), exact=None
        )


def with_policy(**methods):
    """The task, its policies changed by the methods given."""

    class Changed(Sound):
        def policy(self, name):
            policy = super().policy(name)
            return type("Changed", (type(policy),), methods)(name, policy.table)

    return Changed


def one_action_too_few(self, trajectories, n, seed):
    return super(type(self), self).next_actions(trajectories, n - 1, seed)


def ignores_the_seed(self, goals, seeds):
    return super(type(self), self).start(goals, [0] * len(goals))


def claims_more(self, color, previous, kind, draw):
    decision = super(type(self), self).decide(color, previous, kind, draw)
    return replace(decision, log_prob=decision.log_prob / 2)


class VagueAboutNames(Sound):
    def log(self, name):
        if name not in self.logs():
            raise DataError("no")
        return super().log(name)


INTENDED = [
    (NoLicense, "check_card"),
    (NarrowRange, "check_logs_follow_the_card"),
    (OtherDiscount, "check_logs_follow_the_card"),
    (ForgetsPropensities, "check_every_step_has_propensities"),
    (FingerprintOfTheMoment, "check_fingerprints_are_stable"),
    (PrefersAnInstance, "check_instances_are_visited_equally_often"),
    (FewTargets, "check_targets_are_described"),
    (TargetIsLogger, "check_no_target_is_a_logger"),
    (Unnormalized, "check_log_probabilities_are_valid"),
    (NeverSearches, "check_every_logged_action_is_possible"),
    (Rereads, "check_loggers_score_what_they_logged"),
    (OneEpisodeOfTruth, "check_truth"),
    (TruthWithoutError, "check_truth"),
    (TruthIsNoise, "check_targets_can_be_ranked"),
    (with_policy(next_actions=one_action_too_few), "check_next_actions"),
    (with_policy(start=ignores_the_seed), "check_seeds_determine_episodes"),
    (with_policy(decide=claims_more), "check_decisions_carry_their_log_probability"),
    (VagueAboutNames, "check_unknown_names_are_answered_with_known_ones"),
]


def test_a_sound_task_passes_everything():
    for check in TASK_CHECKS.values():
        check(Sound())


@pytest.mark.parametrize(("task", "check"), INTENDED, ids=[f"{task.__name__}-{check}" for task, check in INTENDED])
def test_mistake_is_caught_by_the_check_made_for_it(task, check):
    with pytest.raises((AssertionError, DataError)):
        TASK_CHECKS[check](task())


def test_every_check_catches_something():
    assert {check for _, check in INTENDED} == set(TASK_CHECKS)
