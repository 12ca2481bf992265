"""The ablation of adwm: what is run, what is reused, what the tables say, and that no task tunes its own scales."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pytest

from bench import registry
from bench.board import boards
from bench.cells import Cell, Record
from bench.errors import BenchError
from bench.plan import Selection, plan
from bench.runner import run as compute
from bench.store import Store
from studies import ablation, tuned_scales
from studies.ablation import (
    BRIEF,
    EARLY,
    LATE,
    Run,
    Table,
    bracketed,
    canonical,
    grids,
    references,
    reuse,
    specs,
    stored_boards,
    variants,
)
from studies.ablation_table import as_markdown, board_answer, grid_markdown
from studies.guidance_bias import ETAS, OMEGAS
from studies.tuned_scales import choose_all, others_of
from tests.synthetic_results import Maker, write_results

GUIDED = [spec for spec in specs() if spec.startswith("adwm") and "eta=0.0" not in spec]
WORST = "adwm[omega=0.0]"


def makers(refusing: bool) -> dict[str, Maker]:
    """Errors that grow with the place in the grid, so that the best pair is known; guided rows may decline."""
    bias = {
        spec: 0.02 * abs(omega - 1) + 0.1 * eta for grid in grids().values() for (omega, eta), spec in grid.items()
    } | {WORST: 0.9}
    return {
        spec: Maker(
            "world model" if spec == "gaussian_wm" else "diffusion world model",
            bias=bias.get(spec, 0.2) + 0.03,
            noise=0.001,
            simulation=True,
            refuses=1.0 if refusing and spec in GUIDED else 0.0,
        )
        for spec in specs()
        if "frozen_encoder" not in spec
    }


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two tasks; on the second, rows with eta > 0 are declined; one variant was not run."""
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        logs = {"pooled": {1000: (0, 1)}}
        for task, refusing in (("alpha_world", False), ("beta_web", True)):
            write_results(
                folder / "ablation", makers=makers(refusing), tasks=[task], logs=logs, policies=5, replicates=20
            )
    return folder


@pytest.fixture(scope="module")
def made(results):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.plots.style.DPI", 50)
        assert Table(results).main(n_draws=60) == 0
    folder = results / "studies"
    return {name: json.loads((folder / f"{name}.json").read_text("utf-8")) for name in ("ablation", "tuned_scales")}


def test_the_plan_holds_every_spec_once_on_the_published_block():
    jobs = Run(task=("toy_chain",), policies=("expert",)).jobs()
    assert sorted(job.spec for job in jobs) == sorted([*specs()] * 3)
    assert {(job.log, job.n) for job in jobs} == {("pooled", 1000)} and {job.seed for job in jobs} == {0, 1, 2}
    assert len(specs()) == 34  # 19 variants, 2 grids of 12, 9 in both
    assert {"adwm", LATE.kernel, "gaussian_wm", canonical(f"adwm[{BRIEF},eta=1,omega=2]")} <= set(specs())


def test_a_selection_can_be_narrowed_and_strangers_are_refused():
    jobs = Run(task=("toy_chain",), policies=("expert",), seed=(1,), n=50, estimator=("adwm[omega=0]",)).jobs()
    assert [(job.spec, job.seed, job.n) for job in jobs] == [("adwm[omega=0.0]", 1, 50)]
    with pytest.raises(BenchError, match="not in this study"):
        Run(task=("toy_chain",), estimator=("fitted_q",)).jobs()


def test_stored_cells_are_copied_and_only_the_rest_is_computed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ablation, "specs", lambda: ("behavior_average", "behavior_average[matched=true]"))
    selected = Selection("published", ("toy_chain",), ("behavior_average[]",), ("expert",), ("pooled",), 50, (0, 1))
    from bench.provenance import take_provenance

    compute(plan(selected), tmp_path, take_provenance(), "serial", 1)
    command = Run(task=("toy_chain",), policies=("expert",), seed=(0, 1), n=50, backend="serial", results=tmp_path)
    assert command.main() == 0
    assert "4 cells, 2 stored (2 of them just copied), 2 to compute" in capsys.readouterr().out
    target, source = Store(tmp_path / "ablation"), Store(tmp_path)
    for record in source.records():
        assert target.load(record.cell) == record
        assert (target.replicates(record) == source.replicates(record)).all()
    assert len(list(target.records())) == 4 and (tmp_path / "ablation" / "truth" / "toy_chain.json").exists()
    assert command.main() == 0
    assert "4 cells, 4 stored (0 of them just copied), 0 to compute" in capsys.readouterr().out


def test_failed_cells_are_not_copied(tmp_path):
    jobs = plan(Selection("quick", ("toy_chain",), ("behavior_average[]",), ("expert",), ("pooled",), 50, (0,)))
    from bench.cells import Record

    source, target = Store(tmp_path / "a"), Store(tmp_path / "b")
    source.save(Record(cell=jobs[0].cells[0], spec=jobs[0].spec, status="failed", reason="x"))
    assert reuse(jobs, source, target) == 0
    source.save(Record(cell=jobs[0].cells[0], spec=jobs[0].spec, status="unsupported", reason="x"))
    assert reuse(jobs, source, target) == 1


def test_what_needs_an_open_agent_is_declined_where_agents_are_black_boxes():
    from bench import material
    from bench.registry import make_estimator

    policy, data = material.policy("toy_chain", "pooled", 50, 0, "expert"), material.block("toy_chain", "pooled", 50, 0)
    declined = [spec for spec in specs() if make_estimator(spec).unsupported(data, policy)]
    soft = [spec for spec in specs() if "adapter=" in spec or "heads=" in spec]
    assert sorted(declined) == sorted({*GUIDED, *soft})


def test_rows_say_what_was_done_declined_or_not_run(made):
    text = made["ablation"]["table"]
    alpha, beta = text.split("**beta_web, ")
    assert "| no action guidance (CFG): `adwm[omega=0.0]`" in alpha and "declined" not in alpha
    assert "no continuation: `adwm[eta=0.0]`" in beta
    assert "whole: 10 cells unsupported: zero overlap" in beta
    lines = {line.split(": `")[0].strip("| "): line for line in beta.splitlines() if line.startswith("| ")}
    assert "declined" in lines["whole"] and "0 of 10" in lines["whole"]
    assert "brief: frozen encoder" not in lines and "(the leaderboard may have others): brief: frozen encoder." in beta
    assert "declined" in made["ablation"]["grid_table"]


def test_differences_are_paired_with_the_exact_kernel(results, made):
    [board, _], _ = stored_boards(results)
    answer = made["ablation"]["boards"][0]
    rows = {row["estimator"]: row for row in answer["variants"]}
    kernel = board.rows[LATE.kernel]
    by_hand = np.abs(board.rows[WORST].value - board.truth).mean() - np.abs(kernel.value - board.truth).mean()
    found = rows[WORST]["minus_kernel"]
    assert found["difference"] == pytest.approx(by_hand) and found["low"] < by_hand < found["high"]
    assert found["p_holm"] < 0.05
    verdict = next(x for x in made["ablation"]["table"].splitlines() if x.startswith("Variants against the kernel"))
    assert f"`{WORST}` (+" in verdict.partition("worse:")[2].partition("Pairs of the grid")[0]
    for part in (LATE, EARLY):
        whole, control = rows[part.whole], rows[part.kernel]
        assert control["minus_whole"]["difference"] == pytest.approx(-whole["minus_kernel"]["difference"])
        assert "minus_whole" not in whole and "minus_kernel" not in control
    biases = rows[WORST]["bias_by_policy"]["agent_03"]
    assert biases["mean"] == pytest.approx((board.rows[WORST].value - board.truth)[:, 3].mean())


def test_figures_are_drawn(results, made):
    names = {path.name for path in (results / "studies" / "figures").iterdir()}
    assert names == {f"{stem}.{kind}" for stem in ("ablation", "ablation_grid") for kind in ("svg", "png")}


def test_scales_of_a_task_are_chosen_on_the_others(made):
    tuned = made["tuned_scales"]
    alpha, beta = tuned["tasks"]["alpha_world"], tuned["tasks"]["beta_web"]
    assert alpha["others"] == ["beta_web"] and beta["others"] == ["alpha_world"]
    assert (beta["chosen"]["omega"], beta["chosen"]["eta"]) == (1.0, 0.0)
    assert len(alpha["left_out"]) == 8 and all(eta > 0 for _, eta in alpha["left_out"])  # beta_web declined those
    assert alpha["chosen_without_gradient"]["eta"] == 0.0
    declined = [cell for cell in beta["grid"] if cell["mae_over_range"] is None]
    assert len(declined) == 8 and all(cell["cells"] == 0 for cell in declined)
    assert tuned["elsewhere"]["others"] == ["alpha_world", "beta_web"]


def test_the_true_values_of_a_task_have_no_part_in_its_scales(results):
    found, _ = boards(Store(results / "ablation").records(), Store(results / "ablation").replicates)
    alpha, beta = found
    wrong = replace(alpha, truth=alpha.truth[::-1] * 3.0)
    before, after = (
        choose_all([alpha, beta], LATE.grid(), "adwm")["tasks"],
        choose_all([wrong, beta], LATE.grid(), "adwm")["tasks"],
    )
    assert before["alpha_world"]["chosen"] == after["alpha_world"]["chosen"]
    assert before["beta_web"]["chosen"] != after["beta_web"]["chosen"]


def test_cells_that_were_made_with_an_earlier_choice_are_named(made):
    def tuned(task, omega, eta):
        cell = Cell(
            task=task, log="far", data="d", policy="p", estimator="adwm", version=1, params={}, n_trajectories=9, seed=0
        )  # fmt: skip
        told = {"tuned_omega": omega, "tuned_eta": eta}
        return Record(cell=cell, spec="adwm[tuned=true]", status="done", diagnostics=told)

    records = [tuned("beta_web", 1.0, 0.0), tuned("beta_web", 2.0, 0.0), tuned("beta_web", 2.0, 0.0)]
    [line] = tuned_scales.outdated(records, made["tuned_scales"])
    assert "beta_web: 2 cells" in line and "omega 2 and eta 0" in line


def test_instruments_and_partial_rows_do_not_choose(results):
    assert others_of("a", ["a", "b", "c"], exact={"c"}) == ["b"]
    assert others_of("a", ["a", "c"], exact={"c"}) == ["c"]
    assert others_of("a", ["a"], exact=set()) == []
    [alpha, _], _ = boards(Store(results / "ablation").records(), Store(results / "ablation").replicates)
    alone = choose_all([alpha], LATE.grid(), "adwm")["tasks"]["alpha_world"]
    assert alone["chosen"] is None and alone["others"] == []
    spec = LATE.kernel
    row = alpha.rows[spec]
    partial = replace(row, status=np.where(np.arange(5) == 0, "missing", row.status))
    assert tuned_scales.normalized_error(alpha, partial) is None
    assert tuned_scales.normalized_error(alpha, row) == pytest.approx(
        np.abs(row.value - alpha.truth).mean() / alpha.span
    )


def test_pairs_are_compared_on_the_blocks_that_all_of_them_have(results):
    [alpha, _], _ = boards(Store(results / "ablation").records(), Store(results / "ablation").replicates)
    spec = canonical("adwm[omega=2,eta=1]")
    row = alpha.rows[spec]
    first_only = row.restricted(np.repeat([[True], [False]], 5, axis=1))
    some = replace(alpha, rows=alpha.rows | {spec: first_only})
    whole = tuned_scales.on_whole_blocks(some, LATE.grid())
    assert whole.seeds == (0,) and whole.rows[LATE.kernel].value.shape == (1, 5)
    assert (whole.rows[spec].value == row.value[:1]).all()
    error = np.abs(alpha.rows[LATE.kernel].value[0] - alpha.truth).mean() / alpha.span
    cells = {(c["omega"], c["eta"]): c for c in choose_all([some], LATE.grid(), "adwm")["tasks"]["alpha_world"]["grid"]}
    assert cells[1.0, 0.0]["mae_over_range"] == pytest.approx(error)
    nowhere = replace(alpha, rows=alpha.rows | {spec: row.restricted(np.eye(2, 5, dtype=bool))})
    assert tuned_scales.on_whole_blocks(nowhere, LATE.grid()).seeds == alpha.seeds


def test_a_task_without_the_grid_has_no_part_in_the_choice_of_scales(results):
    [alpha, beta], _ = boards(Store(results / "ablation").records(), Store(results / "ablation").replicates)
    late = {canonical(spec) for spec in LATE.variants.values()} | {EARLY.whole}
    other = replace(alpha, task="gamma_home", rows={spec: row for spec, row in alpha.rows.items() if spec in late})
    chosen = choose_all([alpha, beta, other], LATE.grid(), "adwm")
    assert chosen == choose_all([alpha, beta], LATE.grid(), "adwm") and "gamma_home" not in chosen["tasks"]
    assert set(tuned_scales.grids([beta, other], LATE.grid(), OMEGAS, ETAS)) == {"beta_web (pooled)"}
    answers = [board_answer(b, variants(), grids(), references(), 20) for b in (beta, other)]
    assert "gamma_home" in as_markdown(answers) and "gamma_home" not in grid_markdown(answers, OMEGAS, ETAS)


def test_without_cells_it_says_which_command_makes_them(tmp_path):
    with pytest.raises(BenchError, match="studies.ablation run"):
        Table(tmp_path).main()


def test_a_bare_name_means_the_defaults():
    assert [bracketed(spec) for spec in ("adwm", "adwm[eta=0.0]")] == ["adwm[]", "adwm[eta=0.0]"]
    assert set(variants().values()) | {s for grid in grids().values() for s in grid.values()} == set(specs())


def test_every_row_is_compared_with_its_own_training():
    found = references()
    assert set(found) == set(specs())
    adapters = {spec: registry.make_estimator(spec).params() for spec in (*found, *(r.kernel for r in found.values()))}
    for spec, reference in found.items():
        whole, kernel = registry.make_estimator(reference.whole), adapters[reference.kernel]
        assert (whole.omega, whole.eta, kernel["omega"], kernel["eta"]) == (1.5, 0.3, 1.0, 0.0)
        assert (whole.adapter, whole.heads) == (kernel["adapter"], kernel["heads"])
        brief = spec in {canonical(s) for s in EARLY.variants.values()} | set(EARLY.grid().values())
        assert (whole.adapter, whole.heads) == (("short", "logged") if brief else ("long", "mixed"))


def test_each_training_has_a_line_of_its_own_along_its_rows(made):
    from studies.ablation_figure import ablation_figure

    answers = made["ablation"]["boards"]
    axes = ablation_figure(answers).axes[0]
    lines = [line for line in axes.lines if line.get_linestyle() == "--" and len(line.get_xdata()) == 2]
    spans = sorted(tuple(line.get_ydata()) for line in lines if line.get_xdata()[0] == line.get_xdata()[1])
    late, early = len(LATE.variants), len(EARLY.variants)
    assert spans == [(-0.45, late - 0.55), (late - 0.45, late + early - 0.55)]
