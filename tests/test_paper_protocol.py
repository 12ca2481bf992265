"""The paper's protocol on made-up cells: who is in the sweep, what is averaged, what chance does, what is missing."""

from __future__ import annotations

import os
from itertools import permutations

import numpy as np
import pytest
from scipy.stats import spearmanr

from bench.board import boards
from bench.errors import BenchError
from bench.registry import task
from bench.scoring import score
from bench.store import Store
from bench.task import PolicyCard
from studies.chance import as_good_by_chance, chance_of
from studies.paper_protocol import METHODS, PUBLISHED, Sweep, answer, markdown, sweep_of
from studies.pools import among
from tests.synthetic_results import MAKERS, write_results

SPECS = ("behavior_average", "fqe", "adwm", "adwm_dr")
SWEEP = Sweep(("agent_05", "agent_02", "agent_01", "agent_00"), (0.0, 0.25, 0.5, 1.0))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        logs = {"pooled": {200: (0, 1)}}
        makers = {spec: MAKERS[spec] for spec in SPECS}
        write_results(folder, makers=makers, tasks=["alpha_world"], logs=logs, policies=8, replicates=40)
    return folder


@pytest.fixture(scope="module")
def content(results):
    return answer(results, {"alpha_world": SWEEP, "elsewhere": SWEEP}, [*SPECS, "joint_diffusion"], n_draws=100)


def card(name: str, checkpoint: str, epsilon: float = 0.0, temperature: float = 1.0) -> PolicyCard:
    return PolicyCard(name, "", checkpoint, temperature, epsilon, epsilon_sweep=epsilon > 0)


def test_epsilon_zero_is_the_same_checkpoint_at_the_same_temperature():
    cards = [card("cool", "a", temperature=0.4), card("half", "a", 0.5), card("a", "a"), card("b", "b")]
    assert sweep_of([*cards, card("quarter", "a", 0.25)]) == Sweep(("a", "quarter", "half"), (0.0, 0.25, 0.5))
    assert sweep_of([card("a", "a"), card("b", "b")]) is None
    with pytest.raises(BenchError, match="one agent"):
        sweep_of([card("half", "a", 0.5), card("other", "b", 0.5)])


@pytest.mark.parametrize("name", ["hotpotqa", "scienceworld", "toy_chain"])
def test_the_recorded_tasks_have_the_sweep_of_the_paper(name):
    sweep = sweep_of(task(name).targets())
    assert sweep is not None
    assert sweep.epsilons == (0.0, 0.25, 0.5, 0.75, 1.0)


def test_correlations_over_the_sweep_are_those_of_an_independent_computation(results, content):
    [board], _ = boards(Store(results).records(), Store(results).replicates)
    chosen = [board.policies.index(name) for name in SWEEP.policies]
    row = next(r for r in content["boards"][0]["rows"] if r["estimator"] == "fqe")
    rho = [spearmanr(x[chosen], board.truth[chosen]).statistic for x in board.rows["fqe"].value]
    assert row["sweep"]["seeds"] == pytest.approx(rho)
    assert row["sweep"]["value"] == pytest.approx(np.mean(rho))
    assert row["sweep"]["low"] <= row["sweep"]["value"] <= row["sweep"]["high"]


def test_all_targets_and_those_without_the_sweep_are_scored_as_on_the_leaderboard(results, content):
    [standing] = score(results, n_draws=100).main
    for row in content["boards"][0]["rows"]:
        measured = standing.table[row["estimator"]]["spearman"]
        assert row["all"] == {"value": measured.value, "low": measured.low, "high": measured.high}
    assert content["boards"][0]["policies"] == {"sweep": 4, "all": 8, "without_sweep": 5}


def test_constant_partial_and_missing_estimators_are_named(content):
    board, text = content["boards"][0], markdown(content)
    assert board["missing"] == ["joint_diffusion"]
    assert "Not in the store on this board: `joint_diffusion`." in text
    assert "| `adwm_dr` †" in text and "8 of 16" in text
    whole = [row["cells"] == row["expected"] for row in board["rows"]]
    assert whole == sorted(whole, reverse=True) and not whole[-1]  # others rank fewer policies, and stand last
    ranked = [r for r in board["rows"][: sum(whole)] if r["sweep"]["value"] is not None]
    good = [sum(r[pool]["value"] >= 0.9 for r in ranked) for pool in ("sweep", "all", "without_sweep")]
    adwm = next(r for r in board["rows"] if r["estimator"] == "adwm")
    [line] = [x for x in text.splitlines() if x.startswith(f"| {board['task']}, {board['log']}")]
    found = [x.strip() for x in line.split("|")[2:-1]]
    assert found[:4] == [str(x) for x in (len(ranked), *good)]
    assert float(found[5]) == pytest.approx(adwm["all"]["value"], abs=0.006)
    assert next(r for r in board["rows"] if r["estimator"] == "behavior_average")["sweep"]["chance"] is None
    assert content["tasks_without_cells"] == ["elsewhere"] and "No stored cells: elsewhere." in text


def test_without_any_cell_it_says_so(results):
    with pytest.raises(BenchError, match="no stored cells"):
        answer(results, {"elsewhere": SWEEP}, [])


def test_a_board_among_some_policies_keeps_their_numbers(results):
    [board], _ = boards(Store(results).records(), Store(results).replicates)
    part = among(board, ("agent_05", "agent_02"))
    assert part.policies == ("agent_02", "agent_05")
    assert part.truth.tolist() == board.truth[[2, 5]].tolist()
    assert part.rows["fqe"].value.tolist() == board.rows["fqe"].value[:, [2, 5]].tolist()
    assert part.rows["fqe"].replicates.shape == (2, 2, 40)


def test_chance_counts_orders():
    truths = np.arange(5.0)
    assert as_good_by_chance(truths[None], truths) == pytest.approx(1 / 120)
    assert as_good_by_chance(-truths[None], truths) == 1.0
    assert as_good_by_chance(np.ones((2, 5)), truths) is None
    estimates = np.array([[0.0, 1, 2, 4, 3], [1.0, 0, 2, 3, 4]])
    by_hand = [
        np.mean([spearmanr(x, order).statistic for x in estimates]) for order in map(list, permutations(range(5)))
    ]
    assert as_good_by_chance(estimates, truths) == pytest.approx(np.mean(np.array(by_hand) >= 0.9 - 1e-9))


def test_chance_of_published_values():
    """.9 -> .042, .8 -> .067, .7 -> .117: exact one-sided p-values for five points (adwm-method.md 2.5)."""
    assert [round(chance_of(rho, 5), 3) for rho in (1.0, 0.9, 0.8, 0.7)] == [0.008, 0.042, 0.067, 0.117]
    tied = [spearmanr(order, [0, 0, 2, 3, 4]).statistic for order in permutations(range(5))]
    assert chance_of(0.82, 5) == pytest.approx(np.mean(np.array(tied) > 0.81))
    assert chance_of(0.81, 10) < 0.01


def test_the_published_means_are_those_of_the_paper():
    means = np.mean([values for _, values in PUBLISHED.values()], axis=0)
    reported = {"ADWM": 0.82, "FQE": 0.10, "DR": -0.15, "DM": -0.07, "IS": -0.61, "WIS": 0.48}
    assert means == pytest.approx([reported[name] for name in METHODS], abs=0.0075)
