"""How sure the leaderboard is of its own numbers: boards, ceilings, intervals, paired comparisons, real episodes."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from bench.board import Board, Row, boards
from bench.ceiling import ceilings
from bench.cells import Cell, Provenance, Record
from bench.comparisons import compare, difference_test, with_holm
from bench.coverage import coverage
from bench.errors import DataError
from bench.inference import constant_seeds, draw, measure
from bench.reference import halves, real_episodes
from benchmarks.interval_coverage import BEHAVIOR_AVERAGE, LIGHT, WEIGHTED, simulate

P = 12
TRUTH = np.linspace(0.2, 0.9, P)


def make_row(
    spec: str, value: np.ndarray, noise: float = 0.05, family: str = "direct", rng_seed: int = 0, **changes
) -> Row:
    """A row whose replicates scatter around its values (S, P) with the noise its values have."""
    value = np.atleast_2d(value)
    unknown = np.full(value.shape, np.nan)
    rng = np.random.default_rng(rng_seed)
    row = Row(
        spec=spec,
        name=spec,
        family=family,
        status=np.where(np.isnan(value), "missing", "done").astype("<U11"),
        value=value,
        low=value - 2 * noise,
        high=value + 2 * noise,
        sampling=~np.isnan(value),
        replicates=value[..., None] + noise * rng.standard_normal((*value.shape, 200)),
        fit_seconds=unknown,
        prepare_seconds=unknown,
        estimate_seconds=unknown,
        memory_mb=unknown,
        ess=unknown,
        on_gpu=np.zeros(value.shape, dtype=bool),
        notes=(),
        reasons=(),
    )
    return dataclasses.replace(row, **changes)


def make_board(rows: list[Row], stderr: float = 0.01, truth: np.ndarray = TRUTH, sweep: int = 0) -> Board:
    """A board of these rows."""
    seeds = tuple(range(len(rows[0].value)))
    policies = tuple(f"p{i:02d}" for i in range(len(truth)))
    in_sweep = np.arange(len(truth)) < sweep
    return Board(
        "task", "log", 1000, policies, seeds, in_sweep, truth, np.full(len(truth), stderr), {r.spec: r for r in rows}
    )


def make_record(policy: str = "a", seed: int = 0, spec: str = "fqe", **changes) -> Record:
    identity = dict(
        task="t", log="l", data="d", policy=policy, estimator="fqe", version=1, params={}, n_trajectories=10, seed=seed
    )
    cell = Cell(**(identity | {k: changes.pop(k) for k in list(changes) if k in identity}))
    return Record(**(dict(cell=cell, spec=spec, status="done", value=0.5, truth=0.4, truth_stderr=0.01) | changes))


def replicates_of(record: Record) -> np.ndarray:
    return np.full(30, record.value)


def test_a_board_has_a_place_for_every_cell_and_says_which_are_missing():
    records = [
        make_record("a"),
        make_record("b", seed=1),
        make_record("b", status="unsupported", value=None, reason="why"),
    ]
    (board,), notes = boards(records, replicates_of)
    row = board.rows["fqe"]
    assert board.policies == ("a", "b") and board.seeds == (0, 1) and board.n_expected == 4 and not notes
    assert row.status.tolist() == [["done", "unsupported"], ["missing", "done"]]
    assert row.reasons == (("unsupported", "why", 1),)
    assert np.isnan(row.value[0, 1]) and row.value[1, 1] == 0.5


def test_an_estimator_without_any_estimate_does_not_cost_the_others_their_replicates():
    records = [make_record("a"), make_record("a", spec="x", estimator="x", status="unsupported", value=None)]
    (board,), _ = boards(records, replicates_of)
    assert board.n_replicates == 30
    assert measure(board, board.rows["x"], draw(board, 10))["mae"].value is None


def test_cells_of_an_older_version_or_another_recording_are_set_aside_and_announced():
    started = {"commit": None, "dirty": None, "command": "", "python": "", "platform": "", "packages": {}, "source": ""}
    new = Provenance(started="2026-02-01", **started)
    old = Provenance(started="2026-01-01", **started)
    records = [
        make_record(version=2, value=0.7, provenance=new),
        make_record(version=1, value=0.1, provenance=old),
        make_record(data="other", value=0.2, provenance=old),
    ]
    (board,), notes = boards(records, replicates_of)
    assert board.rows["fqe"].value.tolist() == [[0.7]]
    assert len(notes) == 2 and "older version" in notes[1] and "another recording" in notes[0]


def test_blocks_of_a_log_stay_when_it_grows():
    """Their fingerprint is that of the first volume, the fingerprint of later blocks begins with it."""
    old, new = at("2026-01-01"), at("2026-02-01")
    grown = [
        make_record(data="one", seed=0, value=0.1, provenance=old),
        make_record(data="one+two", seed=1, value=0.2, provenance=new),
    ]
    (board,), notes = boards(grown, replicates_of)
    assert board.rows["fqe"].value.tolist() == [[0.1], [0.2]] and not notes
    (board,), notes = boards([*grown, make_record(data="one+else", seed=2, provenance=old)], replicates_of)
    assert board.seeds == (0, 1) and "1 cells computed on another recording" in notes[0]


def at(date: str) -> Provenance:
    rest = {"commit": None, "dirty": None, "command": "", "python": "", "platform": "", "packages": {}, "source": ""}
    return Provenance(started=date, **rest)


def test_a_row_is_of_one_version_and_one_set_of_parameters():
    records = [
        make_record("a", version=1, provenance=at("2026-01-01")),
        make_record("b", version=1, provenance=at("2026-01-01")),
        make_record("b", version=2, provenance=at("2026-02-01"), value=0.7),
        make_record("a", spec="x", params={"k": 1}, provenance=at("2026-01-01")),
        make_record("b", spec="x", params={"k": 2}, provenance=at("2026-02-01"), value=0.7),
        make_record("a", log="m", version=1, provenance=at("2026-01-01")),
        *(make_record(policy, spec="z", provenance=at("2026-01-01")) for policy in "ab"),
    ]
    (board, other), notes = boards(records, replicates_of)
    for spec in ("fqe", "x"):
        assert board.rows[spec].status.tolist() == [["missing", "done"]]
    assert other.rows["fqe"].status.tolist() == [["done"]]
    assert any("t/l, fqe: 2 cells of an older version" in note for note in notes)
    assert any("fqe: an older version or other defaults than elsewhere on t/m" in note for note in notes)


def test_seeds_are_redrawn_among_those_there_are():
    """One seed of three: every draw is one of its replicates, none is filled in."""
    value = np.full((3, P), np.nan)
    value[0] = TRUTH + 0.1
    one = make_row("one", value, sampling=np.zeros((3, P), dtype=bool))
    alone = make_row("one", value[:1], sampling=np.zeros((1, P), dtype=bool))
    board, single = make_board([one]), make_board([alone])
    found = measure(board, one, draw(board, 400))["mae"]
    assert len(np.unique(found.draws)) == 400
    assert found.draws.std() == pytest.approx(measure(single, alone, draw(single, 400))["mae"].draws.std(), rel=0.15)


def test_a_policy_without_a_truth_is_not_scored_and_that_is_said():
    (board,), notes = boards([make_record("a"), make_record("b", truth=None, truth_stderr=None)], replicates_of)
    assert board.policies == ("a",) and "b cannot be scored" in notes[0]


def test_truths_that_spread_less_than_four_standard_errors_are_unrankable():
    assert make_board([make_row("x", TRUTH)], stderr=0.3).unrankable
    assert not make_board([make_row("x", TRUTH)], stderr=0.01).unrankable


def test_the_ceiling_is_what_a_perfect_estimator_scores_against_measured_truths():
    noisy = ceilings(make_board([make_row("x", TRUTH)], stderr=0.1))
    assert noisy["mae"].value == pytest.approx(0.1 * np.sqrt(2 / np.pi), rel=0.05)
    assert 0.8 < noisy["spearman"].low < noisy["spearman"].value < noisy["spearman"].high <= 1.0
    exact = ceilings(make_board([make_row("x", TRUTH)], stderr=0.0))
    assert exact["spearman"].value == 1.0 and exact["regret@1"].value == 0.0 and exact["mae"].value == 0.0
    two = make_board([make_row("x", TRUTH[:2])], truth=TRUTH[:2])
    assert ceilings(two)["spearman"] is None


def test_the_ceiling_of_a_rank_correlation_is_the_reliability_of_the_measurement():
    """10 policies that span .15 in success rate, 134 episodes each: sd / sqrt(sd^2 + stderr^2)."""
    truth, stderr = np.linspace(0.425, 0.575, 10), float(np.sqrt(0.25 / 134))
    found = ceilings(make_board([make_row("x", truth)], stderr=stderr, truth=truth))
    assert found["spearman"].value == pytest.approx(truth.std() / np.hypot(truth.std(), stderr), abs=0.04)


def test_the_plug_in_value_is_reported_and_lies_in_its_interval():
    rng = np.random.default_rng(0)
    board = make_board([make_row("x", TRUTH + 0.05 * rng.standard_normal((3, P)))], sweep=3)
    found = measure(board, board.rows["x"], draw(board, 300))
    value = np.abs(board.rows["x"].value - TRUTH).mean()
    assert found["mae"].value == pytest.approx(value)
    assert found["mae"].low < value < found["mae"].high
    assert found["mae"].seed_sd == pytest.approx(np.abs(board.rows["x"].value - TRUTH).mean(axis=1).std(ddof=1))
    assert found["spearman"].high <= 1.0
    assert (
        found["spearman_without_sweep"].value != found["spearman"].value and found["spearman_without_sweep"].low is None
    )


def test_without_a_sweep_ranking_without_it_is_the_same():
    board = make_board([make_row("x", TRUTH[::-1])])
    found = measure(board, board.rows["x"], None)
    assert found["spearman_without_sweep"].value == found["spearman"].value == -1.0


def test_draws_depend_on_names_alone_and_logs_of_a_task_share_policies_and_truths():
    board = make_board([make_row("x", TRUTH)])
    one, two = draw(board, 20), draw(dataclasses.replace(board, log="other"), 20)
    assert np.array_equal(one.truth, draw(board, 20).truth)
    assert np.array_equal(one.policy, two.policy) and np.array_equal(one.truth, two.truth)
    assert not np.array_equal(one.replicate, two.replicate)


def test_a_constant_estimator_has_no_rank_correlation_and_counts_as_zero():
    board = make_board([make_row("x", np.full(P, 0.5), noise=0.0)])
    found = measure(board, board.rows["x"], draw(board, 50))
    assert found["spearman"].value is None and found["spearman"].counted == 0.0
    assert constant_seeds(board.rows["x"]) == 1


def test_a_seed_with_constant_estimates_lowers_the_mean_over_seeds():
    row = make_row("x", np.stack([TRUTH, np.full(P, 0.5)]))
    board = make_board([row])
    assert measure(board, row, None)["spearman"].value == pytest.approx(0.5)


def test_intervals_that_describe_a_simulation_alone_are_left_out_of_coverage_and_counted():
    honest = make_row("x", TRUTH + 0.01)
    simulated = make_row("y", TRUTH + 0.01, sampling=np.zeros((1, P), dtype=bool))
    board = make_board([honest, simulated], stderr=0.0)
    found = coverage(board, honest)
    assert (found.share, found.cells, found.without) == (1.0, P, 0) and found.width == pytest.approx(0.2)
    assert found.score == pytest.approx(0.2) and found.low < 0.95
    none = coverage(board, simulated)
    assert (none.share, none.cells, none.without) == (None, 0, P)


def test_comparisons_are_paired_two_noisy_estimators_that_err_alike_are_told_apart():
    """Both share an error of .1; one adds .02. Paired, that is plain; their intervals alone overlap widely."""
    shared = 0.1 * np.random.default_rng(1).standard_normal((1, P))
    better = make_row("better", TRUTH + np.abs(shared), noise=0.03)
    replicates = better.replicates + 0.03
    worse = make_row("worse", TRUTH + np.abs(shared) + 0.03, replicates=replicates)
    reference = make_row("average", np.full(P, 0.5), family="reference", noise=0.0)
    board = make_board([better, worse, reference])
    draws = draw(board, 400)
    table = {spec: measure(board, row, draws) for spec, row in board.rows.items()}
    assert table["better"]["mae"].high > table["worse"]["mae"].low
    found = [c for c in compare(board, table, draws) if c.against == "best classical" and c.metric == "mae"]
    (against_best,) = [c for c in found if c.estimator == "worse"]
    assert against_best.reference == "better" and 0 < against_best.low < against_best.difference < against_best.high
    assert against_best.p_better == 0.0


def test_estimators_are_compared_on_the_cells_that_both_have():
    half = TRUTH + 0.02
    half[6:] = np.nan
    good_where_it_dares = make_row("partial", half)
    reference = make_row("average", np.where(np.arange(P) < 6, TRUTH, 9.0), family="reference")
    board = make_board([good_where_it_dares, reference])
    draws = draw(board, 100)
    table = {spec: measure(board, row, draws) for spec, row in board.rows.items()}
    (found,) = [c for c in compare(board, table, draws) if c.against == "baseline" and c.metric == "mae"]
    assert (found.n_cells, found.n_expected) == (6, P)
    assert found.difference == pytest.approx(0.02)  # and not .02 against the 4.5 of the whole row
    cells = ~np.isnan(half)[None]
    a, b = (measure(board, row.restricted(cells), draws)["mae"] for row in (good_where_it_dares, reference))
    assert found.p_value == difference_test(found.difference, a.centered - b.centered, -1, 6)[3]  # 6 policies, not 12


def test_two_estimators_that_never_differ_are_not_told_apart():
    assert difference_test(0.0, np.zeros(100), -1.0, P) == (0.0, 0.0, 0.5, 1.0)


def test_holm_multiplies_by_the_number_of_hypotheses_left_and_never_falls():
    board = make_board([make_row("a", TRUTH + 0.1), make_row("r", TRUTH + 0.2, family="reference")])
    draws = draw(board, 50)
    one = compare(board, {s: measure(board, r, draws) for s, r in board.rows.items()}, draws)[0]
    adjusted = with_holm([dataclasses.replace(one, p_value=p) for p in (0.01, 0.04, 0.03)])
    assert [c.p_holm for c in adjusted] == pytest.approx([0.03, 0.06, 0.06])


def test_intervals_too_narrow_are_told_from_estimates_that_are_biased():
    rng = np.random.default_rng(3)
    drawn = 0.05 * rng.standard_normal((20, P))
    biased = make_row("biased", TRUTH + 0.5 + drawn, noise=0.05)
    narrow = make_row("narrow", TRUTH + drawn, noise=0.02)
    alone = make_row("alone", TRUTH + drawn[0])
    partial = make_row("partial", np.where(np.arange(20)[:, None] < 19, np.nan, TRUTH + drawn))
    board = make_board([biased, narrow])
    assert coverage(board, biased).share == 0 and coverage(board, biased).spread == pytest.approx(1.0, abs=0.1)
    assert coverage(board, narrow).spread == pytest.approx(2.5, abs=0.25)
    assert (
        coverage(make_board([alone]), alone).spread is None and coverage(make_board([partial]), partial).spread is None
    )


def test_intervals_of_the_leaderboard_cover_the_error_they_speak_of():
    """60 simulated boards: new policies, new logs; the expected error of the estimator is known."""
    rng, hits, noise = np.random.default_rng(3), 0, 0.08
    for k in range(60):
        truth = rng.uniform(0.2, 0.9, P)
        measured = truth + 0.01 * rng.standard_normal(P)
        row = make_row("x", truth + noise * rng.standard_normal(P), noise=noise, rng_seed=k)
        board = dataclasses.replace(make_board([row], truth=measured), task=f"task{k}")
        found = measure(board, row, draw(board, 200))["mae"]
        hits += found.low <= noise * np.sqrt(2 / np.pi) * 1.008 <= found.high
    assert hits >= 53  # 95 % of 60 is 57; below 53 with probability .01 if they covered 95 %


def test_real_episodes_are_drawn_from_the_half_that_does_not_make_the_truth():
    instances = ["a"] * 4 + ["b"] * 4
    drawn = halves(instances)
    assert drawn.sum() == 4 and drawn[:4].sum() == 2 and drawn[4:].sum() == 2


def write_truth(folder, returns, mean=0.5, stderr=0.02):
    path = folder / "truth" / "t.json"
    path.parent.mkdir()
    one = {"mean": mean, "stderr": stderr, "returns": returns, "instances": [i // 12 for i in range(len(returns))]}
    path.write_text(json.dumps({"p": one}), encoding="utf-8")


def test_the_error_of_m_real_episodes_is_that_of_a_mean_of_m_coins(tmp_path):
    coins = (np.random.default_rng(0).random(600) < 0.5).astype(float).tolist()
    write_truth(tmp_path, coins, stderr=0.0)
    found = real_episodes(tmp_path, "t")
    mae = found.mae(["p"])
    assert mae[0] == pytest.approx(0.5) and mae[9] == pytest.approx(0.5 / np.sqrt(10) * np.sqrt(2 / np.pi), rel=0.1)
    assert found.break_even(float(mae[9]), ["p"]) == 10
    assert found.break_even(0.6, ["p"]) == 0 and found.break_even(-1.0, ["p"]) is None
    assert real_episodes(tmp_path, "unknown") is None and len(found.mae(["nobody"])) == 0


def test_a_damaged_truth_file_is_named(tmp_path):
    write_truth(tmp_path, [1.0, float("nan")])
    with pytest.raises(DataError, match=r"t\.json does not hold on-policy returns"):
        real_episodes(tmp_path, "t")


def test_nominal_intervals_cover_on_light_tails():
    """A short run of benchmarks/interval_coverage.py; results/simulations holds the long one."""
    results = simulate(LIGHT, n=200, replications=20, resamples=60)
    assert [r.estimator for r in results] == [*WEIGHTED, BEHAVIOR_AVERAGE]
    assert all(r.coverage >= 0.75 and 0 < r.mean_width < 0.2 for r in results), results  # P(< 15 of 20) < .001 at 95 %
    assert all(r.low <= r.coverage <= r.high for r in results)
