"""Checks of the contract: an estimator is a value, learns in `fit`, judges in `estimate`, leaves the world alone."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pickle
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from bench.conformance.specimens import without_propensities
from bench.data import LoggedDataset
from bench.errors import NotFittedError
from bench.estimator import Estimate, Estimator
from bench.policy import Policy
from bench.rng import rng_for
from bench.task import Task

Factory = Callable[[], Estimator]
EPISODES = 90
"""Size of the log most checks use."""
SECONDS = 3.0
"""Processor time for one fit and one estimate on it with the `tiny` parameters: 1.5 s, doubled for busy machines."""


def block(task: Task, seed: int = 0, n: int = EPISODES) -> LoggedDataset:
    """A part of the task's first log."""
    return task.log(task.logs()[0]).subset(n, seed)


def target(task: Task, position: int = 1) -> Policy:
    """One of the task's targets."""
    return task.policy(task.targets()[position].name)


def fit(estimator: Estimator, data: LoggedDataset) -> Estimator:
    """Fits with the seed that all checks use."""
    return estimator.fit(data, rng_for("conformance", "fit"))


def judge(estimator: Estimator, policy: Policy) -> Estimate:
    """Estimates with the seed that all checks use."""
    return estimator.estimate(policy, rng_for("conformance", "estimate"))


def value(make: Factory, data: LoggedDataset, policy: Policy) -> float:
    """Point estimate of a fresh estimator."""
    return judge(fit(make(), data), policy).value


def check_parameters_rebuild_it(make: Factory, task: Task) -> None:
    """Parameters are strict JSON and say everything about an unfitted estimator."""
    estimator = make()
    stored = json.loads(json.dumps(estimator.params(), allow_nan=False))
    assert stored == estimator.params(), (
        f"parameters change on their way through JSON: {estimator.params()} -> {stored}"
    )
    assert type(estimator)(**stored) == estimator, f"{stored} does not rebuild {estimator}"
    strangers = set(estimator.added) - set(stored)
    assert not strangers, f"`added` names {sorted(strangers)}, which are no parameters"


def check_init_only_stores(make: Factory, task: Task) -> None:
    """The constructor stores whatever it is given and does nothing else; parameters are examined in `fit`."""
    params = make().params()
    assert dataclasses.is_dataclass(make()), f"{type(make()).__name__} is not decorated with @dataclass"
    for name in params:
        marker: Any = object()
        attributes = vars(type(make())(**{**params, name: marker}))
        assert attributes.get(name) is marker, f"the constructor changes {name}"
        extra = set(attributes) - set(params)
        assert not extra, f"the constructor sets {sorted(extra)}, which are no parameters; do this in fit"
    assert set(vars(make())) == set(params), (
        f"the constructor sets {sorted(vars(make()))}, parameters are {sorted(params)}"
    )


def check_unfitted_raises(make: Factory, task: Task) -> None:
    """`estimate` before `fit` is answered with NotFittedError."""
    try:
        result = judge(make(), target(task))
    except NotFittedError:
        return
    raise AssertionError(f"estimate before fit returned {result}; it must raise NotFittedError")


def check_fit_returns_itself_and_keeps_parameters(make: Factory, task: Task) -> None:
    """`fit` returns the estimator; neither it nor `estimate` changes a parameter."""
    estimator = make()
    before = estimator.params()
    assert fit(estimator, block(task)) is estimator, "fit must return self"
    judge(estimator, target(task))
    assert estimator.params() == before, f"parameters were {before} and became {estimator.params()}"
    learned = [name for name in vars(estimator) if name not in before and not name.endswith("_")]
    assert not learned, f"fitted attributes end in an underscore; {learned} do not"


def check_data_is_untouched(make: Factory, task: Task) -> None:
    """The log, its columns included, is the same after fit and estimate."""
    data = block(task)
    content, numbers = dataclasses.replace(data).fingerprint, _numbers(data)
    judge(fit(make(), data), target(task))
    assert dataclasses.replace(data).fingerprint == content, "fit or estimate changed the log"
    assert _numbers(data) == numbers, "fit or estimate changed the columns of the log"


def check_fit_is_idempotent(make: Factory, task: Task) -> None:
    """Fitting twice on the same log with the same seed is fitting once."""
    data, policy = block(task), target(task)
    estimator = make()
    first = judge(fit(estimator, data), policy).value
    _same(judge(fit(estimator, data), policy).value, first, "the second fit on the same log changes the estimate")


def check_a_second_fit_forgets_the_first(make: Factory, task: Task) -> None:
    """After fitting log A and then log B, only B counts."""
    first, second, policy = block(task, 0), block(task, 1), target(task)
    estimator = fit(make(), first)
    judge(estimator, policy)
    again = judge(fit(estimator, second), policy).value
    _same(again, value(make, second, policy), "an estimator fitted before differs from a fresh one")


def check_estimates_are_independent(make: Factory, task: Task) -> None:
    """Judging one policy leaves nothing behind for the next."""
    data, policy = block(task), target(task)
    estimator = fit(make(), data)
    judge(estimator, target(task, 0))
    _same(
        judge(estimator, policy).value,
        value(make, data, policy),
        "the estimate depends on which policy was judged before",
    )


def check_preparing_changes_no_number(make: Factory, task: Task) -> None:
    """`prepare` does ahead of time what `estimate` would do, and nothing else: the number is that without it."""
    data, policy = block(task), target(task)
    estimator = fit(make(), data)
    estimator.prepare(policy)
    _same(
        judge(estimator, policy).value, value(make, data, policy), "prepare(policy) changes the estimate that follows"
    )


def check_same_seed_same_number(make: Factory, task: Task) -> None:
    """The number depends on the generators passed in, and on no global one."""
    data, policy = block(task), target(task)
    values = []
    for seed in (1, 2):
        with restored_global_rngs():
            _seed_global_rngs(seed)
            values.append(value(make, data, policy))
    _same(values[0], values[1], "the same seeds give different numbers when the global generators differ")


def check_global_rngs_are_untouched(make: Factory, task: Task) -> None:
    """Global generators of numpy, torch and random are as they were."""
    with restored_global_rngs():
        _seed_global_rngs(3)
        before = _global_states()
        value(make, block(task), target(task))
        touched = [name for name, state in _global_states().items() if state != before[name]]
    assert not touched, f"drew from or seeded the global generator of {', '.join(touched)}"


def check_it_survives_pickling(make: Factory, task: Task) -> None:
    """A fitted estimator, and its estimates, can travel to another process."""
    policy = target(task)
    estimator = fit(make(), block(task))
    copy = pickle.loads(pickle.dumps(estimator))
    estimate = judge(estimator, policy)
    _same(judge(copy, policy).value, estimate.value, "a pickled copy gives another number")
    assert pickle.loads(pickle.dumps(estimate)).value == estimate.value, "a pickled estimate has another value"


def check_propensities_are_needed_only_if_declared(make: Factory, task: Task) -> None:
    """Without behavior log-probabilities it says why it declines, or works; `needs_propensities` tells which."""
    data, policy = without_propensities(block(task)), target(task)
    estimator = make()
    reason = estimator.unsupported(data, policy)
    if estimator.needs_propensities:
        assert reason, "needs_propensities is set, but unsupported() accepts a log that has none"
        return
    assert reason is None, f"needs_propensities is not set, but unsupported() says: {reason}"
    result = judge(fit(estimator, data), policy).value
    assert np.isfinite(result), f"the estimate from a log without propensities is {result}; set needs_propensities"


def check_tiny_is_quick(make: Factory, task: Task) -> None:
    """With the `tiny` parameters, one fit and one estimate take about a second, so that the suite can be run."""
    data, policy = block(task), target(task)
    value(make, data, policy)  # imports and first calls are not counted
    start = time.process_time()
    value(make, data, policy)
    seconds = time.process_time() - start
    assert seconds < SECONDS, (
        f"{seconds:.1f} s of processor time on {len(data)} short episodes; choose smaller `tiny` parameters"
    )


@contextlib.contextmanager
def restored_global_rngs() -> Iterator[None]:
    """Whatever happens inside, the global generators are as before."""
    import torch

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])


def _seed_global_rngs(seed: int) -> None:
    import torch

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    torch.manual_seed(seed)


def _global_states() -> dict[str, Any]:
    import torch

    kind, key, *rest = np.random.get_state()  # noqa: NPY002
    return {"random": random.getstate(), "numpy": (kind, key.tobytes(), *rest), "torch": torch.get_rng_state().tolist()}


def _numbers(data: LoggedDataset) -> list[bytes]:
    """The columns of a log, bit by bit."""
    return [np.asarray(getattr(data.columns, f.name)).tobytes() for f in dataclasses.fields(data.columns)]


def _same(a: float, b: float, complaint: str) -> None:
    assert a == b, f"{complaint}: {a!r} and {b!r}"
