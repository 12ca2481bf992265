"""The energy score is the known one and proper; a study of one task says what it should and goes on where it was."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from bench import registry
from bench.errors import BenchError
from studies import held_out_omega
from studies.held_out_omega import LOSSES, Scored, energy_score, main


def test_the_energy_score_of_a_line_is_the_crps():
    """Gneiting & Raftery 2007, Eq. 21: of a standard normal at y, y (2 Phi(y) - 1) + 2 phi(y) - 1 / sqrt(pi)."""
    generator = torch.Generator().manual_seed(0)
    y = torch.tensor([[-1.0], [0.0], [2.0]], dtype=torch.float64)
    draws = torch.randn(3000, 3, 1, generator=generator, dtype=torch.float64)
    found = torch.stack([energy_score(part, y) for part in draws.split(6)]).mean(dim=0)
    normal = torch.distributions.Normal(0.0, 1.0)
    crps = y[:, 0] * (2 * normal.cdf(y[:, 0]) - 1) + 2 * normal.log_prob(y[:, 0]).exp() - 1 / np.sqrt(np.pi)
    assert found.tolist() == pytest.approx(crps.tolist(), abs=0.06)


def test_sharper_or_wider_than_the_truth_scores_worse():
    generator = torch.Generator().manual_seed(1)
    real = torch.randn(4000, 8, generator=generator)
    score = {
        scale: float(energy_score(scale * torch.randn(6, 4000, 8, generator=generator), real).mean())
        for scale in (0.5, 1.0, 2.0)
    }
    assert score[1.0] < score[0.5] - 0.05 and score[1.0] < score[2.0] - 0.05


def test_intervals_are_over_episodes():
    """Two steps of one episode are one draw: twice the same episode tells no more than once."""
    episodes = registry.task("toy_chain").log("pooled").trajectories[:60]
    lengths = np.array([len(t) for t in episodes])
    per_episode = np.random.default_rng(0).normal(0.3, 1.0, len(episodes))
    zero = {name: np.zeros(lengths.sum()) for name in LOSSES}
    more = {name: np.repeat(per_episode, lengths) for name in LOSSES}
    scored = {1.0: Scored(zero, zero["energy"]), 2.0: Scored(more, zero["energy"])}
    found = held_out_omega._losses(scored, 2.0, episodes, seed=0)["energy"]
    assert found["more"] == pytest.approx(np.average(per_episode, weights=lengths))
    width = 2 * 1.96 * np.std(per_episode) * np.sqrt((lengths**2).sum()) / lengths.sum()
    assert found["high"] - found["low"] == pytest.approx(width, rel=0.35)


@pytest.fixture
def small(monkeypatch):
    """A world model of test size, two values of omega."""
    tiny = ",".join(f"{k}={v}" for k, v in registry.estimator_class("adwm").tiny.items())
    monkeypatch.setattr(held_out_omega, "SPEC", f"adwm[omega=1.0,{tiny}]")
    monkeypatch.setattr(held_out_omega, "OMEGAS", (0.0, 1.0))


def test_a_task_is_studied_once_and_forgetting_the_action_is_worse(small, tmp_path, monkeypatch, capsys):
    settings = {"tasks": ("toy_chain",), "n": 150, "episodes": 60, "results": tmp_path}
    main(**settings)
    kept = json.loads((tmp_path / "studies" / "held_out_omega.json").read_text("utf-8"))
    found = kept["tasks"]["toy_chain, pooled"]
    blind, kernel = found["omegas"]
    assert blind["energy"]["more"] > 0 and kernel["energy"]["more"] == kernel["energy"]["high"] == 0
    assert blind["energy"]["low"] <= blind["energy"]["more"] <= blind["energy"]["high"]
    assert found["steps"] > 60 and "| toy_chain, pooled" in kept["table"]
    assert "expected reward / paid" in capsys.readouterr().out
    monkeypatch.setattr(held_out_omega, "study_board", lambda *a, **k: pytest.fail("computed again"))
    main(**settings)
    with pytest.raises(BenchError, match="--again"):
        main(**settings | {"episodes": 50})
