"""The page on world models: every block is filled, from answers and cells, and a study that was not run is named."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from bench.cells import Cell, Record
from bench.errors import BenchError, DataError, UnknownNameError
from bench.registry import estimator_class
from studies._trainings import trainings_text
from studies.answers import answer_path, figure_folder, keep_answer
from studies.write import GRID, PAGE, STUDIES, _made, study_text, update_page
from tests.house import ROOT
from tests.synthetic_results import MAKERS, write_results

SPECS = ("behavior_average", "fqe", "prefix_tree", "adwm", "adwm_dr")


@pytest.fixture
def page(tmp_path) -> Path:
    """The committed page in an empty repository."""
    copy = tmp_path / PAGE
    copy.parent.mkdir()
    copy.write_text((ROOT / PAGE).read_text(encoding="utf-8"), encoding="utf-8")
    return copy


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        makers = {spec: MAKERS[spec] for spec in SPECS}
        logs = {"pooled": {100: (0, 1)}}
        write_results(folder, makers=makers, tasks=["beta_web"], logs=logs, policies=5, replicates=20)
    return folder


def block(page: Path, name: str) -> str:
    found = re.search(rf"<!-- generated:{name} -->(.*?)<!-- end:{name} -->", page.read_text(encoding="utf-8"), re.S)
    return found[1]


def test_the_page_has_a_block_for_every_study_and_says_which_commands_make_them(page, tmp_path):
    names = update_page(page, tmp_path / "results")
    assert set(names) == {"world-models", "trainings", f"study:{GRID}", *(f"study:{name}" for name in STUDIES)}
    assert "`python -m studies.horizon` makes this" in block(page, "study:horizon")
    assert "`python -m studies.ablation table` makes this" in block(page, f"study:{GRID}")
    assert "No cells are stored" in block(page, "world-models")
    assert "No world model has cells" in block(page, "trainings")
    for command in STUDIES.values():
        assert (ROOT / "studies" / f"{command.split()[0]}.py").exists()


def test_answers_and_figures_are_shown_and_nothing_else_changes(page, tmp_path):
    results = tmp_path / "results"
    keep_answer(results, "horizon", {"depths": [1]}, "| the curve |")
    keep_answer(results, "ablation", {"grid_table": "| the grid |"}, "| the variants |")
    figure_folder(results).mkdir()
    for stem in ("horizon_alpha", "ablation", "ablation_grid", "calibration"):
        (figure_folder(results) / f"{stem}.svg").touch()
    before = page.read_text(encoding="utf-8")
    update_page(page, results)
    assert "| the curve |" in block(page, "study:horizon")
    assert "(../results/studies/figures/horizon_alpha.svg)" in block(page, "study:horizon")
    assert "figures/ablation.svg" in block(page, "study:ablation") and "grid" not in block(page, "study:ablation")
    assert "| the grid |" in block(page, f"study:{GRID}") and "ablation_grid.svg" in block(page, f"study:{GRID}")
    assert "calibration.svg" not in page.read_text(encoding="utf-8")  # a figure without its answer is out of date
    after = page.read_text(encoding="utf-8")
    outside = [re.sub(r"(<!-- generated:.*? -->).*?(<!-- end)", r"\1\2", t, flags=re.S) for t in (before, after)]
    assert outside[0] == outside[1]


def test_an_answer_of_an_older_version_says_so_and_when_its_parts_were_made():
    entries = {
        "gaussian_wm": {"version": 0, "made": "2026-01-02, commit aa"},
        "retrieval_wm": {"version": estimator_class("retrieval_wm").version, "made": "2026-01-03, commit bb"},
    }
    source = {"started": "2026-01-03T00:00:00", "commit": "bb", "command": "python -m studies.x"}
    made, older = _made({"tasks": {"toy": {"models": entries}}, "provenance": source})
    assert "2026-01-02, commit aa; 2026-01-03, commit bb" in made
    assert "`gaussian_wm` (version 0, now" in older and "retrieval_wm" not in older


def test_world_models_stand_beside_the_best_classical_estimator_and_the_baseline(page, results):
    update_page(page, results, n_draws=40)
    text = block(page, "world-models")
    assert "**beta_web, pooled log, n = 100**" in text
    assert "`behavior_average` (baseline)" in text and "`fqe` (best classical)" in text
    assert "`adwm`" in text and "`adwm_dr` †" in text and "prefix_tree" not in text


def test_trainings_show_their_range_over_blocks_and_what_was_kept(tmp_path):
    facts = {
        "fit_gain": 0.8,
        "fit_updates": 900.0,
        "fit_best_update": 700.0,
        "fit_seconds": 10.0,
        "fit_parameters": 6e5,
    }

    def record(seed, **changed):
        cell = Cell(
            task="t", log="far", data="d", policy="p", estimator="autoregressive_wm", version=1, params={},
            n_trajectories=100, seed=seed,
        )  # fmt: skip
        return Record(cell=cell, spec="autoregressive_wm", status="done", diagnostics={**facts, **changed})

    text = trainings_text([record(0), record(1, fit_gain=0.6, fit_seconds=9.0, fit_on_gpu=1.0)])
    assert "| t, far | 100 |" in " ".join(text.split())
    assert "60 to 80 %; 700 of 900 updates; 9 to 10 s (GPU); 0.6 M" in text


def test_a_board_without_world_models_says_so(page, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda file: None)
    makers = {"fqe": MAKERS["fqe"]}
    write_results(tmp_path / "r", makers=makers, tasks=["beta_web"], logs={"far": {50: (0,)}}, policies=4, replicates=8)
    update_page(page, tmp_path / "r", n_draws=0)
    assert "no world model has cells" in block(page, "world-models")


def test_damaged_answers_and_unknown_blocks_are_errors_and_change_nothing(page, tmp_path):
    results = tmp_path / "results"
    keep_answer(results, "horizon", {"depths": [1]})
    before = page.read_text(encoding="utf-8")
    with pytest.raises(BenchError, match="holds no 'table'"):
        update_page(page, results)
    answer_path(results, "horizon").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"horizon\.json: not JSON"):
        study_text(page, results, "horizon")
    assert page.read_text(encoding="utf-8") == before
    page.write_text("<!-- generated:study:horizont -->\n<!-- end:study:horizont -->\n", encoding="utf-8")
    answer_path(results, "horizon").unlink()
    with pytest.raises(UnknownNameError, match="study:horizon"):
        update_page(page, results)
