"""The tabular check of guidance: what is exact must be exact, what is biased as biased as was worked out before."""

from __future__ import annotations

import json

import numpy as np
import pytest

from studies.guidance_bias import (
    FORMS,
    STEPS,
    Form,
    biases,
    continuations,
    draw_processes,
    guided_kernels,
    main,
    one_decision,
    scale,
    value,
)
from studies.heat_map import heat_maps

REFERENCE = {
    Form(1, 0): 0.000,
    Form(1, 1, "ratio"): 0.000,
    Form(1, 0.3): 0.075,
    Form(2, 0): 0.155,
    Form(1, 1, "target"): 0.162,
    Form(2, 1): 0.234,
    Form(1, 1): 0.240,
    Form(0, 0): 0.283,
}
"""Relative bias, from the project's reference on the method (adwm-method.md, section 1.3), computed independently."""


@pytest.fixture(scope="module")
def processes():
    return draw_processes(300)


@pytest.mark.parametrize("form", [Form(1, 0), Form(1, 1, "ratio"), Form(1, 0.3, "ratio")], ids=lambda f: f.label)
def test_the_true_kernel_and_the_correct_ratio_have_no_bias(processes, form):
    assert np.abs(biases(processes, form)).max() < 1e-12


@pytest.mark.parametrize("form", REFERENCE, ids=lambda f: f.label)
def test_the_table_agrees_with_the_reference_to_its_printed_digits(processes, form):
    assert form in FORMS
    relative = np.abs(biases(processes, form)).mean() / scale(processes)
    assert round(float(relative), 3) == REFERENCE[form]


def test_the_scales_of_the_registered_estimator_are_in_the_table():
    from bench.registry import make_estimator

    shipped = make_estimator("adwm")
    assert Form(shipped.omega, shipped.eta) in FORMS


def test_one_decision_needs_the_denominator():
    without, ratio = one_decision(behavior=0.8, target=0.5)
    assert without == pytest.approx(0.8, abs=1e-12)
    assert ratio == pytest.approx(0.5, abs=1e-12)


def test_values_and_kernels_agree_with_a_walk_over_all_paths():
    few = draw_processes(2)
    kernels = guided_kernels(few, Form(2, 1))
    assert len(kernels) == STEPS
    assert all(np.allclose(kernel.sum(axis=-1), 1) for kernel in kernels)

    def walk(m: int, state: int, t: int) -> float:
        if t == 2:
            return 0.0
        return sum(
            few.target[m, state, a]
            * (few.reward[m, state, a] + sum(p * walk(m, s, t + 1) for s, p in enumerate(kernels[t][m, state, a])))
            for a in range(3)
        )

    by_hand = [sum(few.initial[m, s] * walk(m, s, 0) for s in range(4)) for m in range(2)]
    assert value(few, few.target, kernels[:2]) == pytest.approx(by_hand, abs=1e-12)


def test_the_continuation_is_one_after_the_last_action_and_everywhere_with_ratios(processes):
    assert (continuations(processes, "behavior")[-1] == 1).all()
    assert np.abs(np.stack(continuations(processes, "ratio")) - 1).max() < 1e-12
    assert (np.stack(continuations(processes, "target")[:-1]) < 1).all()


def test_the_answer_is_kept_with_its_table_and_figure(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("bench.plots.style.DPI", 50)
    main(count=5, results=tmp_path)
    kept = json.loads((tmp_path / "studies" / "guidance_bias.json").read_text(encoding="utf-8"))
    assert kept["table"] in capsys.readouterr().out
    assert [row["relative_bias"] for row in kept["forms"]] == sorted(row["relative_bias"] for row in kept["forms"])
    assert kept["grid"]["relative_bias"][1][0] < 1e-12
    assert kept["provenance"]["packages"]["numpy"]
    assert {p.name for p in (tmp_path / "studies" / "figures").iterdir()} == {"guidance_bias.svg", "guidance_bias.png"}


def test_heat_maps_share_one_scale_of_colors():
    grids = {"near": np.array([[0.203, 0.205]]), "wide": np.array([[0.1, 0.9]]), "none": np.array([[np.nan, np.nan]])}
    panels = heat_maps(grids, (1.0,), (0.0, 1.0), "x", "y").axes
    assert {axes.images[0].get_clim() for axes in panels} == {(0.1, 0.9)}
