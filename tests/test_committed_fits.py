"""`make bench` trains no world model: every fit that the quick profile needs is committed under its present key."""

from __future__ import annotations

import numpy as np
import pytest

from bench import material, registry
from bench.plan import Selection, plan
from estimators._world import fits
from estimators._world.adapters import AdapterConfig
from estimators._world.base import LearnedWorldEstimator
from estimators._world.heads import HeadsConfig


def latent() -> tuple[str, ...]:
    """The quick profile's estimators that live in a trained latent space."""
    classes = {name: registry.estimator_class(name) for name in registry.estimator_names()}
    return tuple(name for name, kind in classes.items() if issubclass(kind, LearnedWorldEstimator) and kind.quick)


@pytest.mark.parametrize("task", registry.task_names())
def test_the_quick_profile_finds_everything_trained(task, tmp_path, monkeypatch):
    def train(config, data):
        raise AssertionError(f"{task}: {type(config).__name__} {config.key(data)} is not in results/fits")

    monkeypatch.setattr(fits, "CACHE", tmp_path)
    for kind in (fits.FitConfig, HeadsConfig, AdapterConfig):
        monkeypatch.setattr(kind, "train", train)
    asked = 0
    for job in plan(Selection("quick", (task,), latent())):
        block = (job.task, job.log, job.n, job.seed)
        data = material.block(*block)
        estimator = registry.make_estimator(job.spec).fit(data, np.random.default_rng(0))
        policies = [material.policy(*block, cell.policy) for cell in job.cells]
        for policy in (p for p in policies if estimator.unsupported(data, p) is None):
            estimator.world(policy)
            asked += 1
    assert asked
