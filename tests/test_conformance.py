"""Every registered estimator passes every check, but for those it declares in `known_failures`, which must fail."""

from __future__ import annotations

import dataclasses

import pytest

from bench import registry
from bench.conformance import ESTIMATOR_CHECKS
from bench.estimator import Estimator

TASK = registry.task("toy_chain")
NAMES = registry.estimator_names()
VARIANT_CHECKS = (
    "check_estimate_is_well_formed",
    "check_ragged_short_and_cut_episodes",
    "check_zero_overlap",
    "check_long_texts_and_long_episodes",
)
"""What every variant on the leaderboard is put through, beside the defaults that are put through everything."""


def variants() -> list[str]:
    """Specs of all leaderboard variants but the defaults."""
    return [f"{name}[{inside}]" for name in NAMES for inside in registry.estimator_class(name).variants if inside]


def tiny(spec: str) -> Estimator:
    """The variant, with the parameters for one-second tests where it does not set them itself."""
    estimator = registry.make_estimator(spec)
    _, given = registry.parse_spec(spec)
    return dataclasses.replace(estimator, **{k: v for k, v in estimator.tiny.items() if k not in given})


def expect(request: pytest.FixtureRequest, estimator: type[Estimator], check: str) -> None:
    """Marks a declared failure: the test must fail, or the declaration is out of date."""
    if check in estimator.known_failures:
        request.node.add_marker(pytest.mark.xfail(strict=True, reason=estimator.known_failures[check]))


@pytest.mark.parametrize("check", ESTIMATOR_CHECKS)
@pytest.mark.parametrize("name", NAMES)
def test_estimator(name, check, request):
    estimator = registry.estimator_class(name)
    expect(request, estimator, check)
    ESTIMATOR_CHECKS[check](lambda: estimator(**estimator.tiny), TASK)


@pytest.mark.parametrize("check", VARIANT_CHECKS)
@pytest.mark.parametrize("spec", variants())
def test_variant(spec, check, request):
    expect(request, type(tiny(spec)), check)
    ESTIMATOR_CHECKS[check](lambda: tiny(spec), TASK)


@pytest.mark.parametrize("name", NAMES)
def test_declared_failures_exist_and_have_a_reason(name):
    for check, reason in registry.estimator_class(name).known_failures.items():
        assert check in ESTIMATOR_CHECKS, f"{name} declares the failure of {check}, which is no check"
        assert len(reason) > 15, f"{name} fails {check} for no good reason: {reason!r}"


@pytest.mark.parametrize("name", NAMES)
def test_every_variant_has_a_spec_that_rebuilds_it(name):
    for inside in registry.estimator_class(name).variants:
        estimator = registry.make_estimator(f"{name}[{inside}]")
        assert registry.make_estimator(registry.spec_of(estimator)) == estimator
