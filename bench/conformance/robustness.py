"""Checks on hard logs: ragged, cut, long, without overlap. What comes out is a sound number or an honest refusal."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np

from bench.conformance.contract import Factory, block, fit, judge, target
from bench.conformance.specimens import LETTERS, GiveUp, Log, Walk, Writer
from bench.data import LoggedDataset
from bench.errors import UnsupportedError
from bench.estimator import Estimate
from bench.policy import Policy
from bench.task import Task

HALF = Writer("half", {"carry on": 0.5, "give up": 0.5})
STUBBORN = Writer("stubborn", {"carry on": 0.75, "give up": 0.25})


def check_estimate_is_well_formed(make: Factory, task: Task) -> None:
    """Shapes, types and names of an estimate are what the report and the bootstrap expect."""
    estimate = judge(fit(make(), block(task)), target(task))
    assert np.isfinite(estimate.value), f"the estimate is {estimate.value}"
    assert estimate.terms.ndim == 2, f"terms have shape {estimate.terms.shape}; they must be (n, k)"
    clusters = np.asarray(estimate.clusters)
    assert clusters.shape == estimate.terms.shape[:1], (
        f"{len(estimate.terms)} terms, but clusters of shape {clusters.shape}"
    )
    assert np.issubdtype(clusters.dtype, np.integer), f"clusters are {clusters.dtype}; they must be integers"
    assert estimate.interval in ("sampling", "simulation only"), f"unknown kind of interval {estimate.interval!r}"
    for name, number in estimate.diagnostics.items():
        assert isinstance(name, str) and not np.isinf(float(number)), f"diagnostic {name!r} is {number}; finite or NaN"


def check_terms_and_combine_agree_with_the_value(make: Factory, task: Task) -> None:
    """Counts of 1 give the value; a count of 0 removes a unit, so that each resample is normalized by itself."""
    estimate = judge(fit(make(), block(task)), target(task))
    terms, combine, n = estimate.terms, estimate.combine, len(estimate.terms)
    keep = np.arange(n) % 3 > 0
    counts = np.stack([np.ones(n), keep.astype(float)])  # (2, n)
    whole, part = combine(terms, counts)
    assert np.isclose(whole, estimate.value, rtol=1e-9), f"counts of 1 give {whole}, the value is {estimate.value}"
    alone = combine(terms[keep], np.ones((1, keep.sum())))[0]
    assert np.isclose(part, alone, rtol=1e-6, atol=1e-9), (
        f"leaving out units by counts of 0 gives {part}, by leaving out their rows {alone}: combine must not use "
        "numbers that were computed over all units"
    )


def check_ragged_short_and_cut_episodes(make: Factory, task: Task) -> None:
    """Episodes of one step, of different lengths, cut by the step limit, or without a last observation."""
    data = Log(GiveUp(), HALF).exact(32)
    cut = data.with_trajectories(
        replace(t, steps=t.steps[:2], terminated=False, truncated=True, final_observation=None) if len(t) > 2 else t
        for t in data.trajectories
    )
    one_step = data.with_trajectories(replace(t, steps=t.steps[:1]) for t in data.trajectories)
    for name, log in (("cut", cut), ("one-step", one_step), ("ragged", data)):
        _finite_in_range(make, log, STUBBORN, f"on {name} episodes")


def check_a_single_episode(make: Factory, task: Task) -> None:
    """The smallest log there is: a finite value, or a refusal that says why."""
    data = Log(GiveUp(), HALF).exact(32)
    _finite_or_refused(make, data.with_trajectories(data.trajectories[-1:]), STUBBORN, "on a single episode")


def check_zero_overlap(make: Factory, task: Task) -> None:
    """The policy never takes a logged action: a finite value or a refusal, never NaN."""
    shouts = Writer("shouts", {"sing": 0.5, "shout": 0.5})
    estimate = _finite_or_refused(make, Log(GiveUp(), HALF).exact(32), shouts, "without overlap")
    ess = estimate.diagnostics.get("ess", 0.0) if estimate else 0.0
    assert not ess > 2, f"without overlap the effective sample size is said to be {ess:.1f}"


def check_little_overlap(make: Factory, task: Task) -> None:
    """Weights that differ by many orders of magnitude: a finite value with an ESS near 1, or a refusal."""
    slope = np.exp(np.linspace(0, 12, len(LETTERS)))
    writer = Writer("even", {"carry on": 0.5, "give up": 0.5}, length=30)
    other = Writer("slanted", {"carry on": 0.75, "give up": 0.25}, length=30, style=tuple(slope / slope.sum()))
    estimate = _finite_or_refused(make, Log(GiveUp(), writer).exact(32), other, "with little overlap")
    ess = estimate.diagnostics.get("ess", 1.0) if estimate else 1.0
    assert ess < 3, f"with weights spread over e^100 the effective sample size is said to be {ess:.1f}"


def check_long_texts_and_long_episodes(make: Factory, task: Task) -> None:
    """Actions of 60 nats, 200 of them in a row, and ratios near 1: probabilities underflow, their ratios do not.

    No text occurs twice, so those who compare texts instead of using propensities may decline.
    """
    keen = Writer("keen", {"yes": 0.505, "no": 0.495}, length=18)
    where = "with 60-nat actions over 200 steps"
    answer = _finite if make().needs_propensities else _finite_or_refused
    estimate = answer(make, long_log(), keen, where)
    assert estimate is None or abs(estimate.value - 0.5) < 0.2, (
        f"{where} the estimate is {estimate.value:.3f}, not near 0.5"
    )


@functools.cache
def long_log() -> LoggedDataset:
    """12 episodes of 200 turns; drawing the letters takes a while."""
    return Log(Walk(), Writer("even", {"yes": 0.5, "no": 0.5}, length=18)).drawn(12)


def _finite_in_range(make: Factory, data: LoggedDataset, policy: Policy, where: str) -> None:
    result = _finite(make, data, policy, where).value
    largest = max(1.0, np.abs(data.columns.returns(data.gamma)).max())
    assert abs(result) < 20 * largest, f"{where} the estimate is {result:.3g}, the largest logged return {largest:.3g}"


def _finite(make: Factory, data: LoggedDataset, policy: Policy, where: str) -> Estimate:
    estimator = make()
    reason = estimator.unsupported(data, policy)
    assert reason is None, f"{where} it declines: {reason}"
    estimate = judge(fit(estimator, data), policy)
    assert np.isfinite(estimate.value), f"{where} the estimate is {estimate.value}"
    return estimate


def _finite_or_refused(make: Factory, data: LoggedDataset, policy: Policy, where: str) -> Estimate | None:
    try:
        if make().unsupported(data, policy):
            return None
        return _finite(make, data, policy, where)
    except UnsupportedError as error:
        assert str(error), f"{where} it declines without a reason"
        return None
