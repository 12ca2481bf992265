"""adwm's error taken apart: differences are those that were put in, and what is missing is said."""

from __future__ import annotations

import os

import pytest

from bench.errors import BenchError
from bench.store import Store
from studies.answers import figure_folder, kept_answer
from studies.decomposition import (
    CHANGE,
    CORRECTED,
    KERNEL,
    SOFT,
    STEPS,
    UNCORRECTED,
    canonical,
    clear,
    main,
    with_adjusted,
    with_uncorrected,
)
from tests.synthetic_results import Maker, write_results

STEADY = dict(family="diffusion world model", noise=0.0, simulation=True)
MAKERS = {
    "behavior_average": Maker("reference", noise=0.03, pull=1.0),
    "fitted_q": Maker("direct", bias=0.15, noise=0.0),
    canonical(KERNEL): Maker(bias=0.1, **STEADY),
    canonical(SOFT): Maker(bias=0.3, **STEADY),
    canonical("adwm"): Maker(bias=0.25, **STEADY),
    canonical("gaussian_wm"): Maker(bias=0.1, **STEADY),
    canonical("retrieval_wm"): Maker(bias=0.2, partial=True, **STEADY),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        logs = {"pooled": {100: (0, 1)}}
        write_results(folder, makers=MAKERS, tasks=["alpha_world"], logs=logs, policies=6, replicates=30)
    return folder


def test_steps_are_the_differences_that_were_put_in(results, capsys):
    main(results, n_draws=100)
    (board,) = kept_answer(results, "decomposition")["boards"]
    assert board["kernel"]["value"] == pytest.approx(0.1, abs=0.02)  # true values are measured, and with them the range
    found = {step["step"]: step for step in board["steps"]}
    assert set(found) == {step.name for step in STEPS}
    assert found["soft tokens"]["difference"] == pytest.approx(0.2, rel=0.02) and found["soft tokens"]["low"] > 0
    assert found["guidance"]["difference"] == pytest.approx(-0.05, rel=0.02) and found["guidance"]["high"] < 0
    assert found["diffusion"]["difference"] == pytest.approx(0, abs=1e-6)
    assert found["soft tokens"]["blocks"] == {"0": pytest.approx(0.2, rel=0.02), "1": pytest.approx(0.2, rel=0.02)}
    assert list(found["learning"]["blocks"]) == ["0"]
    assert found["learning"]["cells"] == 6 and board["cells"] == 12  # the second seed of one of the two is missing
    assert found["latents"] == {"step": "latents", "cells": 0}
    rivals = board["rivals"]
    assert rivals["best"] == "fitted_q" and rivals["value"] == pytest.approx(0.15, abs=0.02)
    assert rivals["minus"][0]["difference"] == pytest.approx(-0.05, rel=0.02) and rivals["minus"][0]["high"] < 0
    text = capsys.readouterr().out
    assert "**+0.199**" in text and "-0.099" in text and "†" in text
    assert (figure_folder(results) / "decomposition.svg").exists()


def test_a_correction_is_compared_with_its_own_simulations_without_it(tmp_path):
    """Not with stored cells of the kernel, which may be of another training."""
    makers = {canonical(KERNEL): Maker(bias=0.4, **STEADY), CORRECTED: Maker(bias=0.05, **STEADY)}
    write_results(tmp_path, makers=makers, tasks=["alpha_world"], logs={"pooled": {100: (0, 1)}}, policies=6)
    store = Store(tmp_path)
    changed = [r for r in store.records() if r.spec == CORRECTED][1:]
    for record in changed:  # the first is of a version that does not tell
        record.diagnostics[CHANGE] = -0.2
        store.save(record, store.replicates(record))
    records, replicates = with_uncorrected(store.records(), store.replicates)
    others = [r for r in records if r.spec == UNCORRECTED]
    assert len(others) == len(changed) == 11 and len({r.cell.key for r in records}) == len(records)
    for one, other in zip(sorted(changed, key=_where), sorted(others, key=_where), strict=True):
        assert other.value == pytest.approx(one.value + 0.2)
        assert replicates(other) == pytest.approx(store.replicates(one) + 0.2)
        assert (replicates(one) == store.replicates(one)).all()
    main(tmp_path, n_draws=100)
    (board,) = kept_answer(tmp_path, "decomposition")["boards"]
    (step,) = [step for step in board["steps"] if step["step"] == "new actions"]
    truths = [record.truth for record in store.records()]
    expected = -0.2 / (max(truths) - min(truths))
    assert step["cells"] == len(changed)
    assert step["difference"] == pytest.approx(expected, rel=1e-3) and step["high"] < 0


def _where(record) -> tuple[int, str]:
    return record.cell.seed, record.cell.policy


def test_without_the_kernel_there_is_nothing_to_take_apart(tmp_path):
    makers = {"behavior_average": MAKERS["behavior_average"]}
    write_results(
        tmp_path, makers=makers, tasks=["alpha_world"], logs={"pooled": {100: (0,)}}, policies=3, replicates=5
    )
    with pytest.raises(BenchError, match="holds no cells of"):
        main(tmp_path, n_draws=10)


def test_a_difference_is_clear_only_once_the_number_of_boards_is_allowed_for():
    def board(p: float) -> dict:
        step = {"step": "soft tokens", "cells": 12, "p": p, "difference": 0.1, "low": 0.01, "high": 0.2}
        return {"steps": [step], "rivals": {"best": None}}

    boards = [board(p) for p in (0.01, 0.03, 0.04)]
    first, second, third = (a["steps"][0] for a in with_adjusted([*boards, {**board(1), "steps": [{"cells": 0}]}])[:3])
    assert [s["p_holm"] for s in (first, second, third)] == pytest.approx([0.03, 0.06, 0.06])
    assert [clear(s) for s in (first, second, third)] == [True, False, False] and not clear({"cells": 0})
    assert "p_holm" not in boards[0]["steps"][0]  # what was given is left as it was


def test_the_rival_is_picked_and_shown_on_the_cells_of_the_kernel(tmp_path):
    """Right on the second block alone, which the kernel lacks, must not make an estimator the best one."""
    kernel, steady = canonical(KERNEL), Maker("direct", bias=0.15, noise=0.0)
    makers = {kernel: Maker(bias=0.1, **STEADY), "fitted_q": steady, "prefix_tree": Maker("direct", noise=0.0)}
    write_results(tmp_path, makers=makers, tasks=["alpha_world"], logs={"pooled": {100: (0, 1)}}, policies=6)
    store = Store(tmp_path)
    for record in list(store.records()):
        if record.spec == kernel and record.cell.seed == 1:
            record.status, record.value, record.reason = "failed", None, "x"
            store.save(record)
        elif record.spec == "prefix_tree" and record.cell.seed == 0:
            record.value += 0.2
            store.save(record, store.replicates(record) + 0.2)
    main(tmp_path, n_draws=20)
    (board,) = kept_answer(tmp_path, "decomposition")["boards"]
    assert board["seeds"] == 1 and board["cells"] == 6 and board["expected"] == 12
    assert board["rivals"]["best"] == "fitted_q" and board["rivals"]["minus"][0]["cells"] == 6
    assert "alpha_world, pooled: one seed" in kept_answer(tmp_path, "decomposition")["table"]
