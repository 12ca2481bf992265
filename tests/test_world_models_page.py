"""The pages on world models: every block and number is filled, from answers and cells, and a study that was not run is
named."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest

from bench.board import boards
from bench.cells import Cell, Record
from bench.errors import BenchError, DataError, UnknownNameError
from bench.registry import estimator_class
from bench.scoring import score
from bench.store import Store
from studies import _values
from studies._trainings import trainings_text
from studies._values import fill_values, page_values
from studies.answers import answer_path, figure_folder, keep_answer
from studies.write import GRID, PAGES, STUDIES, _made, study_text, update_pages
from tests.house import ROOT
from tests.synthetic_results import MAKERS, write_results

SPECS = ("behavior_average", "fqe", "prefix_tree", "adwm", "adwm_dr")


@pytest.fixture
def pages(tmp_path) -> list[Path]:
    """The committed pages in an empty repository."""
    copies = [tmp_path / page for page in PAGES]
    for page, copy in zip(PAGES, copies, strict=True):
        copy.parent.mkdir(exist_ok=True, parents=True)
        copy.write_text((ROOT / page).read_text(encoding="utf-8"), encoding="utf-8")
    return copies


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        makers = {spec: MAKERS[spec] for spec in SPECS}
        logs = {"pooled": {100: (0, 1)}}
        write_results(folder, makers=makers, tasks=["beta_web"], logs=logs, policies=5, replicates=20)
    return folder


def block(pages: list[Path], name: str) -> str:
    """What a generated block holds, on whichever page it stands."""
    texts = [page.read_text(encoding="utf-8") for page in pages]
    found = [re.search(rf"<!-- generated:{name} -->(.*?)<!-- end:{name} -->", text, re.S) for text in texts]
    [match] = filter(None, found)
    return match[1]


def test_the_pages_have_a_block_for_every_study_and_say_which_commands_make_them(pages, tmp_path):
    names = [name for found in update_pages(pages, tmp_path / "results").values() for name in found]
    studies = {f"study:{GRID}", *(f"study:{name}" for name in STUDIES)}
    assert len(names) == len(set(names)) and set(names) == {"world-models", "trainings", "steps", *studies}
    assert "`python -m studies.horizon` makes this" in block(pages, "study:horizon")
    assert "`python -m studies.ablation table` makes this" in block(pages, f"study:{GRID}")
    assert "No cells are stored" in block(pages, "world-models")
    assert "No world model has cells" in block(pages, "trainings")
    for command in STUDIES.values():
        assert (ROOT / "studies" / f"{command.split()[0]}.py").exists()


def test_answers_and_figures_are_shown_and_nothing_else_changes(pages, tmp_path):
    results = tmp_path / "results"
    keep_answer(results, "horizon", {"depths": [1]}, "| the curve |")
    keep_answer(results, "ablation", {"grid_table": "| the grid |"}, "| the variants |")
    figure_folder(results).mkdir()
    for stem in ("horizon_alpha", "ablation", "ablation_grid", "calibration"):
        (figure_folder(results) / f"{stem}.svg").touch()
    before = [page.read_text(encoding="utf-8") for page in pages]
    update_pages(pages, results)
    assert "| the curve |" in block(pages, "study:horizon")
    assert "(../../results/studies/figures/horizon_alpha.svg)" in block(pages, "study:horizon")
    assert "figures/ablation.svg" in block(pages, "study:ablation") and "grid" not in block(pages, "study:ablation")
    assert "| the grid |" in block(pages, f"study:{GRID}") and "ablation_grid.svg" in block(pages, f"study:{GRID}")
    after = [page.read_text(encoding="utf-8") for page in pages]
    assert "calibration.svg" not in "".join(after)  # a figure without its answer is out of date
    ours = r"(<!-- (?:generated|value):.*? -->).*?(<!-- (?:end|/value))"
    outside = [[re.sub(ours, r"\1\2", text, flags=re.S) for text in texts] for texts in (before, after)]
    assert outside[0] == outside[1]


def test_numbers_in_the_prose_come_from_cells_and_answers(results, pages):
    values = page_values(results, score(results, 0), Store(results).records())
    [board], _ = boards(Store(results).records(), Store(results).replicates)
    row = board.rows["adwm"]
    error = float(np.abs(row.value - board.truth)[row.done].mean() / board.span)
    assert values["error/adwm/pooled/beta_web"] == f"{error:.2f}"
    text = "a <!-- value:error/adwm/pooled/beta_web -->{}<!-- /value -->, <!-- value:step/guidance -->{}<!-- /value -->"
    filled, text = text.format(f"{error:.2f}", "–"), text.format("9.99", "9")
    assert fill_values(text, values) == filled
    with pytest.raises(UnknownNameError, match="error"):
        fill_values("a <!-- value:eror/adwm/pooled -->1<!-- /value -->", values)
    with pytest.raises(BenchError, match="begins a line"):
        fill_values(f"- one\n  {text[2:]}", values)
    page = pages[0].with_name("one.md")
    page.write_text(f"{text}\n<!-- generated:trainings -->\n<!-- end:trainings -->\n", encoding="utf-8")
    update_pages([page], results, n_draws=0)
    assert page.read_text(encoding="utf-8").startswith(filled)


def test_numbers_of_studies_carry_their_sign_and_mean_over_recorded_boards():
    steps = [{"name": "soft tokens"}]
    found = [{"cells": 3, "difference": d} for d in (-0.2, 0.1, 0.7)]
    exact = (False, False, True)
    answer = {
        "steps": steps,
        "boards": [
            {"task": f"t{k}", "log": "far", "exact": e, "steps": [s]}
            for k, (s, e) in enumerate(zip(found, exact, strict=True))
        ],
    }
    values = dict(_values._steps(answer))
    assert values["step/soft-tokens"] == "-0.05" and values["step/soft-tokens/lower"] == "1 of 2"
    assert values["step/soft-tokens/far/t2"] == "+0.70"
    variants = [{"variant": "no (x)", "cells": 1, "mae": {"value": 0.1}, "minus_whole": {"difference": -0.1}}]
    values = dict(_values._ablation({"boards": [{"task": "t", "range": 0.5, "variants": variants}]}))
    assert values == {"ablation/t/no-x": "0.20", "ablation/t/no-x/minus-whole": "-0.20"}


def test_no_number_of_the_committed_pages_is_unknown():
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        assert not re.findall(r"<!-- value:[^ ]+ -->–<!-- /value -->", text), page
        assert not re.findall(r"Not run yet:", text), page


def test_an_answer_of_an_older_version_says_so_and_when_its_parts_were_made():
    entries = {
        "gaussian_wm": {"version": 0, "made": "2026-01-02, commit aa"},
        "retrieval_wm": {"version": estimator_class("retrieval_wm").version, "made": "2026-01-03, commit bb"},
    }
    source = {"started": "2026-01-03T00:00:00", "commit": "bb", "command": "python -m studies.x"}
    made, older = _made({"tasks": {"toy": {"models": entries}}, "provenance": source})
    assert "2026-01-02, commit aa; 2026-01-03, commit bb" in made
    assert "`gaussian_wm` (version 0, now" in older and "retrieval_wm" not in older


def test_world_models_stand_beside_the_best_classical_estimator_and_the_baseline(pages, results):
    update_pages(pages, results, n_draws=40)
    text = block(pages, "world-models")
    assert "**beta_web, pooled log, n = 100**" in text
    assert "`behavior_average` (baseline)" in text and "`fqe` (best classical)" in text
    assert "`adwm`" in text and "`adwm_dr` †" in text and "prefix_tree" not in text


def trained(name, seed, facts):
    cell = Cell(
        task="t", log="far", data="d", policy="p", estimator=name, version=1, params={}, n_trajectories=100, seed=seed
    )  # fmt: skip
    return Record(cell=cell, spec=name, status="done", diagnostics=facts)


def test_rows_on_one_training_have_one_letter_and_blocks_alike_one_line():
    one, other = {"fit_gain": 0.5}, {"fit_gain": 0.4, "fit_on_gpu": 1.0}
    whole = {"fit_seconds": 1.0, "fit_parameters": 1e6, "fit_updates": 5.0}
    cells = [trained("gaussian_wm", seed, one | whole) for seed in (0, 1, 2)]
    cells += [trained("adwm", 0, one), trained("adwm", 1, one), trained("adwm", 2, other)]
    lines = [" ".join(line.split()) for line in trainings_text(cells).splitlines() if line.startswith("| t, far")]
    assert [line.split("|")[3:7] for line in lines[1:]] == [
        [" 0, 1 ", " A ", " – ", " – "],
        [" 2 ", " A (GPU) ", " – ", " – "],
    ]
    assert lines[1].split("|")[7] == " A " and lines[2].split("|")[7] == " B "


def test_trainings_show_their_range_over_blocks_and_what_was_kept(tmp_path):
    facts = {
        "fit_gain": 0.8,
        "fit_updates": 900.0,
        "fit_best_update": 700.0,
        "fit_seconds": 10.0,
        "fit_parameters": 6e5,
    }

    other = {"fit_gain": 0.6, "fit_seconds": 9.0, "fit_on_gpu": 1.0}
    text = trainings_text([trained("autoregressive_wm", 0, facts), trained("autoregressive_wm", 1, facts | other)])
    assert "| t, far | 100 |" in " ".join(text.split())
    assert "60 to 80 %; 700 of 900 updates; 9 to 10 s (GPU); 0.6 M" in text


def test_a_board_without_world_models_says_so(pages, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda file: None)
    makers = {"fqe": MAKERS["fqe"]}
    write_results(tmp_path / "r", makers=makers, tasks=["beta_web"], logs={"far": {50: (0,)}}, policies=4, replicates=8)
    update_pages(pages, tmp_path / "r", n_draws=0)
    assert "no world model has cells" in block(pages, "world-models")


def test_damaged_answers_and_unknown_blocks_are_errors_and_change_nothing(pages, tmp_path):
    results, page = tmp_path / "results", pages[PAGES.index(Path("docs/world-models/simulations.md"))]
    keep_answer(results, "horizon", {"depths": [1]})
    before = page.read_text(encoding="utf-8")
    with pytest.raises(BenchError, match="holds no 'table'"):
        update_pages([page], results)
    answer_path(results, "horizon").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"horizon\.json: not JSON"):
        study_text(page, results, "horizon")
    assert page.read_text(encoding="utf-8") == before
    page.write_text("<!-- generated:study:horizont -->\n<!-- end:study:horizont -->\n", encoding="utf-8")
    answer_path(results, "horizon").unlink()
    with pytest.raises(UnknownNameError, match="study:horizon"):
        update_pages([page], results)
