"""Checks against known values: each of them is failed by a mistake that public code has made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bench.conformance.contract import Factory, block, fit, judge, target, value
from bench.conformance.robustness import HALF, STUBBORN
from bench.conformance.specimens import Game, GiveUp, Log, TwoTurns, Writer, with_rewards_times
from bench.conformance.specimens import value as true_value
from bench.data import LoggedDataset
from bench.estimator import Estimate
from bench.policy import Policy
from bench.rng import rng_for
from bench.stats import bootstrap
from bench.task import Task

REWEIGHTING = ("reference", "importance weighting")
"""Families that average logged returns. They learn nothing, so what holds for averages must hold for them exactly."""
SMALL, LARGE, BLOCKS = 50, 500, 2
"""Log sizes on which errors are compared, and how many blocks of each."""
CLOSE = 0.04
"""Share of the range of returns below which an error need not fall any more; good estimators get there with `LARGE`."""


def check_doubling_rewards_doubles_the_value(make: Factory, task: Task) -> None:
    """An estimate is in the currency of the rewards."""
    data, policy = block(task), target(task)
    once, twice = (value(make, with_rewards_times(data, k), policy) for k in (1.0, 2.0))
    assert np.isclose(twice, 2 * once, rtol=1e-4, atol=1e-6), (
        f"rewards times 2 give {twice:.6g} instead of {2 * once:.6g}"
    )


def check_target_equal_to_logger_gives_the_log_mean(make: Factory, task: Task) -> None:
    """A policy that acts like the logger is worth what the log shows: exactly, or within the noise of a simulation."""
    data = Log(GiveUp(), HALF).exact(160)
    estimate = judge(fit(make(), data), replace(HALF, name="half again"))
    mean = data.columns.returns(1.0).mean()
    allowed = 1e-9 if make().family in REWEIGHTING else allowance(estimate)
    assert abs(estimate.value - mean) <= allowed, (
        f"the policy is the logger, the log mean {mean:.4f}, the estimate {estimate.value:.4f}"
    )


def check_episodes_that_end_early(make: Factory, task: Task) -> None:
    """Episodes that ended keep their weight. Normalizing over those still alive doubles the value here."""
    _near_the_truth(make, GiveUp(), Log(GiveUp(), HALF).exact(160), STUBBORN)


def check_terminal_reward_counts(make: Factory, task: Task) -> None:
    """The reward of the last step counts. Masking by `done` loses it, and with it everything."""
    game = GiveUp(turns=2, wage=0.0)
    _near_the_truth(make, game, Log(game, STUBBORN).exact(64), replace(STUBBORN, name="stubborn too"))


def check_texts_of_60_nats_weigh_like_words(make: Factory, task: Task) -> None:
    """Where propensities are used: letters that both agents write alike change no weight, improbable as they are."""
    if not make().needs_propensities:
        return
    wordy, stubborn = (replace(w, length=18) for w in (HALF, STUBBORN))
    short = value(make, Log(GiveUp(), HALF).exact(160), STUBBORN)
    estimate = judge(fit(make(), Log(GiveUp(), wordy).exact(160)), stubborn)
    allowed = 1e-6 if make().family in REWEIGHTING else allowance(estimate)
    assert abs(estimate.value - short) <= allowed, (
        f"{short:.4f} with words, {estimate.value:.4f} with 60 nats of letters after them"
    )


def check_stochastic_policy_is_not_taken_for_greedy(make: Factory, task: Task) -> None:
    """Expected next values are under the policy. A maximum over actions gives 1 where the policy earns a fraction."""
    logger = Writer("coin", {"left": 0.5, "right": 0.5})
    policy = Writer("inclined", {"left": 0.4, "right": 0.6})
    _near_the_truth(make, TwoTurns(), Log(TwoTurns(), logger).exact(80), policy)


def check_resampling_equals_refitting(make: Factory, task: Task) -> None:
    """Reweighting only: counts of 0 and 2 do what a log without these episodes, or with them twice, would do."""
    if make().family not in REWEIGHTING:
        return
    data, policy = block(task), target(task)
    estimate = judge(fit(make(), data), policy)
    counts = np.arange(len(data)) % 3
    copies = [
        replace(t, id=f"{t.id}, copy {k}") for t, c in zip(data.trajectories, counts, strict=True) for k in range(c)
    ]
    refitted = value(make, data.with_trajectories(copies), policy)
    resampled = estimate.combine(estimate.terms, counts[None].astype(float))[0]
    assert np.isclose(resampled, refitted, rtol=1e-6), (
        f"resampled by counts: {resampled:.6g}, fitted on such a log: {refitted:.6g}"
    )


def check_error_falls_as_the_log_grows(make: Factory, task: Task) -> None:
    """On a task with exact values, ten times the episodes take away a third of the error, at least."""
    low, high = task.card.return_range
    small, large = (mean_error(make, task, n) for n in (SMALL, LARGE))
    assert large < max(0.67 * small, CLOSE * (high - low)), (
        f"mean error {small:.3f} with {SMALL} episodes and {large:.3f} with {LARGE}"
    )


def mean_error(make: Factory, task: Task, n: int) -> float:
    """Mean absolute error over four targets, spread from the worst to the best, and a few blocks of `n` episodes."""
    ranked = sorted((task.truth(card.name).mean, card.name) for card in task.targets())
    names = [ranked[i][1] for i in np.linspace(0, len(ranked) - 1, 4).round().astype(int)]
    errors = []
    for seed in range(BLOCKS):
        estimator = fit(make(), block(task, seed, n))
        errors += [abs(judge(estimator, task.policy(name)).value - task.truth(name).mean) for name in names]
    return float(np.mean(errors))


def allowance(estimate: Estimate) -> float:
    """Three bootstrap standard errors and a little model error; never so much that a mistake could hide in it."""
    values, _ = bootstrap(estimate, rng_for("conformance", "bootstrap"), replicates=200)
    return min(0.08 + 3 * float(np.nanstd(values)), 0.2)


def _near_the_truth(make: Factory, game: Game, data: LoggedDataset, policy: Policy) -> None:
    truth = true_value(game, policy)
    estimate = judge(fit(make(), data), policy)
    allowed = allowance(estimate)
    assert abs(estimate.value - truth) <= allowed, (
        f"estimate {estimate.value:.3f}, truth {truth:.3f}, allowed error {allowed:.3f}"
    )
