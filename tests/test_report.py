"""The report of a finished (made-up) results folder: tables, figures, README blocks, and what they must not hide."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.board import boards
from bench.errors import BenchError, UnknownNameError
from bench.overall import overall
from bench.plots.overlap import effective_share
from bench.plots.overview import overview_figure
from bench.plots.planes import cost_figure
from bench.plots.style import COLORS, MARKERS, label, save
from bench.plots.survival import binned, survival_figure
from bench.readme import update_readme
from bench.report import leaderboard_text, write_report
from bench.scoring import Scores, score
from bench.store import Store
from bench.tables import matrix_table, seconds
from tests.house import ROOT
from tests.synthetic_results import MAKERS, write_results

BALANCED = "importance_sampling[balanced=true,self_normalized=true]"
SPECS = ("behavior_average", "importance_sampling", BALANCED, "fqe", "adwm", "adwm_dr")
LOGS = {"pooled": {200: (0, 1), 100: (0, 1)}, "far": {200: (0,)}}


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """One task, two logs, two sizes; a constant, a heavy-tailed, a declining, a simulating and a partial estimator."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)  # nothing here survives a power cut anyway
        write_results(
            folder, makers={s: MAKERS[s] for s in SPECS}, tasks=["alpha_world"], logs=LOGS, policies=8, replicates=40
        )
    return folder


@pytest.fixture(scope="module")
def scores(results) -> Scores:
    return score(results, n_draws=100)


@pytest.fixture(scope="module")
def report(results) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.plots.style.DPI", 50)  # a third of the pixels: what is tested here are not pixels
        return write_report(results)


@pytest.fixture(scope="module")
def rows(report) -> dict[tuple[str, str, str], dict[str, str]]:
    with (report / "leaderboard.csv").open(encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert list(found[0])[:2] == ["task", "estimator"]
    return {(r["task"], r["log"] + r["n_trajectories"], r["estimator"]): r for r in found}


def test_every_figure_is_there_as_svg_and_png_and_is_linked(report):
    drawn = {path.stem for path in (report / "figures").glob("*.svg")}
    assert drawn == {path.stem for path in (report / "figures").glob("*.png")}
    assert {
        "overview",
        "error_alpha_world",
        "ranking_alpha_world",
        "truth_alpha_world_far",
        "size_alpha_world_pooled",
    } <= drawn
    linked = re.findall(r"\(figures/(\w+)\.svg\)", (report / "leaderboard.md").read_text(encoding="utf-8"))
    assert sorted(linked) == sorted(drawn)


def test_the_same_cells_give_the_same_bytes(scores, tmp_path):
    for folder in ("one", "two"):
        save(overview_figure(scores), tmp_path / folder, "overview")
    for name in ("overview.svg", "overview.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert b"<dc:date>" not in (tmp_path / "one" / "overview.svg").read_bytes()


def test_a_row_per_task_log_size_and_estimator_and_one_per_average(rows):
    assert len(rows) == 3 * len(SPECS) + 3 * len(SPECS)  # three boards; averages over all logs and each of two
    assert {task for task, _, _ in rows} == {"alpha_world", "overall"}


def test_numbers_in_the_csv_are_those_of_the_cells(rows, results):
    (board,) = [
        b for b in boards(Store(results).records(), Store(results).replicates)[0] if (b.log, b.n) == ("far", 200)
    ]
    fqe = rows["alpha_world", "far200", "fqe"]
    mae = abs(board.rows["fqe"].value - board.truth).mean()
    assert float(fqe["mae"]) == pytest.approx(mae, rel=1e-5)
    assert float(fqe["mae_normalized"]) == pytest.approx(mae / board.span, rel=1e-5)
    assert float(fqe["mae_low"]) <= mae <= float(fqe["mae_high"])


def test_partial_rows_say_so_everywhere_and_come_after_full_ones(rows, report):
    partial = rows["alpha_world", "pooled200", "adwm_dr"]
    assert (partial["cells"], partial["n_expected"], partial["complete"]) == ("8", "16", "False")
    text = (report / "leaderboard.md").read_text(encoding="utf-8")
    table = text.split("### alpha_world: pooled log, n = 200")[1].split("**Ranking.**")[0]
    assert "`adwm_dr` †" in table and "8 of 16" in table and "`fqe` †" not in table
    assert table.index("`importance_sampling` ") < table.index("`adwm_dr`")
    assert (
        rows["overall", "all", "adwm_dr"]["complete"] == "False"
        and not rows["overall", "all", "adwm_dr"]["gain_over_baseline"]
    )


def test_training_on_a_gpu_is_said_and_such_rows_and_partial_ones_are_off_the_line_of_the_best(results, tmp_path):
    copy = shutil.copytree(results, tmp_path / "results")
    store = Store(copy)
    for record in list(store.records()):
        if record.spec == "fqe":
            record.diagnostics["fit_on_gpu"] = 1.0
            store.save(record, store.replicates(record) if record.status == "done" else None)
    standing = next(s for s in score(copy, n_draws=0).main if s.board.log == "pooled")
    assert standing.board.rows["fqe"].on_gpu.any() and not standing.board.rows["adwm_dr"].on_gpu.any()
    names = {t.get_text().split(maxsplit=1)[1] for t in cost_figure(standing).axes[0].get_legend().get_texts()}
    assert "fqe (GPU)" in names and any(name.startswith("cells are missing") for name in names)
    [line] = [x for x in cost_figure(standing).axes[0].lines if x.get_drawstyle() == "steps-post"]
    fqe = standing.table["fqe"]["mae"].value / standing.board.span
    assert fqe not in line.get_ydata()
    assert len(line.get_ydata()) >= 1


def test_declined_cells_are_counted_and_their_reason_is_printed(rows, report):
    assert 0 < float(rows["alpha_world", "pooled200", BALANCED]["unsupported_share"]) < 1
    assert "cells unsupported: zero overlap" in (report / "leaderboard.md").read_text(encoding="utf-8")


def test_a_constant_estimator_gets_a_dash_and_counts_as_zero_in_averages(rows, report):
    constant = rows["alpha_world", "pooled200", "behavior_average"]
    assert constant["spearman"] == "" and constant["constant_seeds"] == "2"
    average = rows["overall", "all", "behavior_average"]
    assert (float(average["spearman"]), average["spearman_undefined"]) == (0.0, "2")
    assert "– =" in (report / "leaderboard.md").read_text(encoding="utf-8")


def test_simulation_intervals_are_labelled_and_have_no_coverage(rows, report):
    adwm = rows["alpha_world", "pooled200", "adwm"]
    assert (adwm["coverage"], adwm["interval_cells"], adwm["simulation_only"]) == ("", "0", "True")
    assert rows["alpha_world", "pooled200", "fqe"]["interval_cells"] == "16"
    assert "simulation only" in (report / "leaderboard.md").read_text(encoding="utf-8")


def test_ranking_has_its_ceiling_and_is_also_given_without_the_epsilon_sweep(rows, report):
    fqe = rows["alpha_world", "pooled200", "fqe"]
    for name in ("spearman", "kendall", "regret@1", "regret@3", "pairwise_accuracy"):
        assert fqe[f"{name}_ceiling"] and fqe[f"{name}_without_sweep"] and fqe[f"{name}_without_sweep_ceiling"]
    assert "Ranking without the 3 policies of the epsilon sweep" in (report / "leaderboard.md").read_text(
        encoding="utf-8"
    )


def test_the_error_of_real_episodes_is_printed(report):
    text = (report / "leaderboard.md").read_text(encoding="utf-8")
    assert re.search(r"errs by [\d.]+ with 1, [\d.]+ with 5, [\d.]+ with 10, [\d.]+ with 50\.", text)


def test_comparisons_name_both_sides_and_carry_intervals(report):
    with (report / "comparisons.csv").open(encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert {r["against"] for r in found} == {"baseline", "best classical"} and {r["metric"] for r in found} == {
        "mae",
        "spearman",
    }
    assert all(
        float(r["low"]) <= float(r["high"]) and 0 <= float(r["p_value"]) <= float(r["p_holm"]) <= 1 for r in found
    )


def test_averages_weigh_logs_alike_and_divide_errors_by_the_range(scores):
    rows = {row.spec: row for row in overall(scores) if row.log == "all"}
    expected = sum(s.table["fqe"]["mae"].value / s.board.span for s in scores.main) / 2
    assert rows["fqe"].averages["mae"].value == pytest.approx(expected)
    gain = (
        sum(
            (s.table["behavior_average"]["mae"].value - s.table["fqe"]["mae"].value) / s.board.span for s in scores.main
        )
        / 2
    )
    assert rows["fqe"].gain == pytest.approx(gain) and rows["fqe"].gain_low < gain < rows["fqe"].gain_high


def test_the_console_text_is_compact_and_names_every_estimator(results):
    text = leaderboard_text(results)
    assert "alpha_world, pooled log, n = 200" in text and "alpha_world, pooled log, n = 100" not in text
    assert all(text.count(f"\n{spec}  ") == 2 for spec in SPECS)
    assert max(map(len, text.splitlines())) < 130


def test_a_readme_gets_its_tables_and_keeps_its_own_words(results, report):
    readme = results / "README.md"
    readme.write_text(
        "# Mine\n<!-- generated:leaderboard -->\nold\n<!-- end:leaderboard -->\nbetween\n"
        "<!-- generated:task:alpha_world -->\n<!-- end:task:alpha_world -->\n",
        encoding="utf-8",
    )
    assert update_readme(readme, results) == ["leaderboard", "task:alpha_world"]
    text = readme.read_text(encoding="utf-8")
    assert (
        "old" not in text
        and "\nbetween\n" in text
        and "| `fqe`" in text
        and "(report/figures/error_alpha_world.svg)" in text
    )
    update_readme(readme, results)
    assert readme.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    "text, error",
    [
        ("<!-- generated:leaderbord -->\n<!-- end:leaderbord -->", UnknownNameError),
        ("<!-- generated:tasks -->\n", BenchError),
    ],
)
def test_a_wrong_marker_is_an_error_and_changes_nothing(results, report, text, error):
    readme = results / "WRONG.md"
    readme.write_text(text, encoding="utf-8")
    with pytest.raises(error):
        update_readme(readme, results)
    assert readme.read_text(encoding="utf-8") == text


def test_the_matrix_holds_every_estimator_and_marks_the_best_of_each_board(results, report):
    scores = score(results, n_draws=0)
    lines = matrix_table(scores.main).splitlines()
    assert len(lines) == 2 + len(SPECS)
    for k, standing in enumerate(scores.main, start=2):
        best = min(SPECS, key=lambda spec: standing.table[spec]["mae"].value or np.inf)
        bold = [line for line in lines[2:] if "**" in line.split("|")[k]]
        assert len(bold) == 1 and f"`{best}`" in bold[0]


def test_every_cell_lies_in_one_bin_of_overlap_and_gaps_are_no_points(scores):
    found = binned(scores.main, count=3)
    assert found.names[0] != "none" or found.counts[0] > 0
    assert sum(found.counts) == sum(s.board.n_expected for s in scores.main)
    share = np.concatenate([effective_share(s).ravel() for s in scores.main])
    error = np.concatenate(
        [(np.abs(s.board.rows["fqe"].value - s.board.truth) / s.board.span).ravel() for s in scores.main]
    )
    least = np.sort(share[share > 0])[: found.counts[-3]]
    in_least = (share > 0) & (share <= least[-1])
    assert found.errors["fqe"][-3] == pytest.approx(error[in_least].mean())
    assert np.isnan(found.errors["adwm_dr"]).any() and not np.isnan(found.errors["fqe"]).any()


def test_an_estimator_without_error_is_drawn_on_the_lower_edge(tmp_path):
    makers = {"fqe": MAKERS["fqe"], "importance_sampling": MAKERS["importance_sampling"]}
    write_results(tmp_path, makers=makers, logs={"pooled": {100: (0, 1)}}, policies=10, replicates=5)
    scores = score(tmp_path, n_draws=0)
    for standing in scores.main:
        standing.board.rows["fqe"].value[:] = standing.board.truth
    assert (binned(scores.main).errors["fqe"] == 0).all()
    [axes] = survival_figure(scores).axes
    low, _ = axes.get_ylim()
    drawn = np.concatenate([line.get_ydata() for line in axes.get_lines()])
    assert 0 < low < drawn.min() == pytest.approx(1e-3)


def test_a_few_cells_of_another_size_do_not_change_the_board(tmp_path):
    makers = {spec: MAKERS[spec] for spec in ("behavior_average", "fqe", "prefix_tree", "magic", "turn_level")}
    write_results(
        tmp_path, makers=makers, tasks=["beta_web"], logs={"far": {300: (0,), 1000: (0,)}}, policies=4, replicates=5
    )
    few = {"adwm": MAKERS["adwm"]}
    write_results(tmp_path, makers=few, tasks=["beta_web"], logs={"far": {300: (0,)}}, policies=4, replicates=5)
    assert [s.board.n for s in score(tmp_path, n_draws=0).main] == [1000]


def test_the_matrix_begins_with_means_over_the_boards_of_one_log(tmp_path):
    makers = {spec: MAKERS[spec] for spec in ("behavior_average", "fqe", "adwm_dr")}
    write_results(tmp_path, makers=makers, logs={"pooled": {100: (0, 1)}}, policies=4, replicates=5)
    for record in Store(tmp_path).records():
        if (record.spec, record.cell.task, record.cell.policy) == ("fqe", "beta_web", "agent_00"):
            Store(tmp_path).path(record.cell).unlink()
    scores = score(tmp_path, n_draws=0)
    header, _, *rows = [
        [x.strip(" *`") for x in line.split("|")[1:-1]] for line in matrix_table(scores.main).splitlines()
    ]
    assert header[:2] == ["estimator", "mean / pooled"]
    found = {row[0]: row[1] for row in rows}
    assert found["fqe"] == "–"  # one policy was never judged on the second task
    for spec in ("behavior_average", "adwm_dr"):  # the latter lacks a seed, but has judged everybody
        mean = np.mean([s.table[spec]["mae"].value / s.board.span for s in scores.main])
        value, mark = (found[spec] + " ").split(" ", 1)
        assert float(value) == pytest.approx(mean, abs=0.005)
        assert mark.strip() == ("†" if spec == "adwm_dr" else "")


def test_an_empty_folder_says_what_to_do(tmp_path):
    with pytest.raises(BenchError, match=r"holds no cell that can be scored.*run_bench\.py run"):
        write_report(tmp_path)


def test_an_unreadable_cell_is_named_and_does_not_stop_the_report(tmp_path):
    write_results(
        tmp_path,
        makers={"fqe": MAKERS["fqe"]},
        tasks=["alpha_world"],
        logs={"far": {100: (0,)}},
        policies=4,
        replicates=10,
    )
    first, *_ = sorted((tmp_path / "cells").glob("*/*/*.json"))
    first.write_text(json.dumps({"half": "a record"}), encoding="utf-8")
    found = score(tmp_path, n_draws=0)
    assert any(first.name in note and "cannot be read" in note for note in found.notes)
    assert found.main[0].board.rows["fqe"].done.sum() == 3


def test_reporting_needs_no_torch():
    code = "import sys, bench.readme, bench.report, bench.plots.gallery; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "False"


def test_every_family_has_a_color_and_a_marker_of_its_own():
    assert set(COLORS) == set(MARKERS)
    assert len(set(COLORS.values())) == len(COLORS) and len(set(MARKERS.values())) == len(MARKERS)


def test_labels_are_shorter_than_specs_and_stay_unique():
    labels = [label(spec) for spec in MAKERS]
    assert label("adwm[eta=0.0,omega=1.0]", ": ") == "adwm: eta=0, omega=1"
    assert len(set(labels)) == len(MAKERS)


def test_seconds_are_written_out():
    assert [seconds(x) for x in (None, 0.001, 0.25, 9.96, 99.6, 1234.5)] == ["–", "<0.01", "0.25", "10", "100", "1234"]
