"""The front door: what it says, what it returns, and that bad input costs one clear error and nothing else."""

from __future__ import annotations

import dataclasses
import errno
import os
import resource
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest

from bench import catalog, registry
from bench.errors import DataError
from bench.plan import Selection, plan
from bench.store import Store
from bench.timings import collect_timings, duration, predict
from tests.house import ROOT, WEIGHTED, constant

SMALL = ("--n", "30", "--log", "pooled", "--backend", "serial")


def contents(results: Path) -> dict[str, bytes]:
    return {str(p.relative_to(results)): p.read_bytes() for p in results.rglob("*") if p.is_file()}


def test_help_imports_nothing_heavy_and_answers_at_once():
    def seconds() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    command = [sys.executable, "-X", "importtime", "run_bench.py", "--help"]
    before = seconds()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert seconds() - before < 1.0
    imported = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "tyro" in imported and not imported & {"torch", "numpy", "pandas", "scipy", "pyarrow", "joblib", "bench"}
    for command in ("run", "report", "status", "list", "collect", "import"):
        assert f"• {command} " in done.stdout


def test_planning_waits_for_no_heavy_library():
    """What only `fit` needs is imported there: finding out that a leaderboard is finished must take seconds."""
    code = "import sys, run_bench, bench.runner; from bench import registry as r\n"
    code += "for name in r.estimator_names(): r.estimator_class(name)\n"
    code += "for name in r.task_names(): r.task(name)\n"
    code += "print(*{'torch', 'transformers', 'sklearn', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_list_shows_tasks_policies_and_estimators_with_their_parameters(move_in, bench):
    move_in({"weighted": WEIGHTED})
    code, out, _ = bench("list")
    assert code == 0
    for text in ("coins", "pooled, far", "call coins", "bold", "heads 90% of the time"):
        assert text in out
    assert "weighted: Weights with noise, so that every random stream shows." in out
    assert "scale: float = 0.01    How much noise." in out
    assert "on the leaderboard: weighted, weighted[scale=0.5]" in out
    assert "bold" not in bench("list", "estimators")[1]
    assert bench("list", "policies", "--task", "coins")[0] == 0
    assert bench("list", "tasks", "--task", "coins")[0] == 2


def test_every_registered_estimator_is_listed_as_it_is():
    for name in registry.estimator_names():
        cls = registry.estimator_class(name)
        listed = catalog.parameters(name)
        assert [p.name for p in listed] == [f.name for f in dataclasses.fields(cls)]
        assert all(p.description for p in listed), f"{name}: a parameter has no string underneath"
        assert catalog.variants(name) == [f"{name}[{v}]" if v else name for v in cls.variants]
        assert registry.summary("estimators", name).endswith((".", "!"))


def test_a_task_without_recording_is_listed_as_such(move_in, bench, monkeypatch):
    move_in({})

    def nothing(self):
        raise DataError("task 'coins' has no recording at here")

    monkeypatch.setattr(type(registry.task("coins")), "targets", nothing)
    assert "not recorded" in bench("list", "tasks")[1] and "not recorded" in bench("list", "policies")[1]
    code, _, err = bench("list", "policies", "--task", "coins")
    assert code == 2 and err == "error: task 'coins' has no recording at here\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run --task coin", "unknown task 'coin'. Did you mean 'coins'?"),
        ("run --estimator wieghted", "unknown estimator 'wieghted'. Did you mean 'weighted'?"),
        ("run --estimator weighted[skale=2]", "unknown parameter of weighted 'skale'. Did you mean 'scale'?"),
        ("run --policy blod", "unknown policy 'blod'. Did you mean 'bold'?"),
        ("run --redo wieghted", "unknown estimator 'wieghted'. Did you mean 'weighted'?"),
        ("run --n 30 --seed 100 --backend serial", "holds 3,000 episodes, blocks 0 to 99 of n = 30"),
        ("run --workers 0", "give at least 1"),
        ("run --workers 2 --backend serial", "only with loky"),
        ("run --results file/in/the/way --backend serial", "cannot write"),
        ("list policies --task coin", "unknown task 'coin'. Did you mean 'coins'?"),
        ("status --log poold", "unknown log 'poold'. Did you mean 'pooled'?"),
    ],
)
def test_bad_input_costs_one_clear_error(move_in, bench, arguments, message):
    move_in({"weighted": WEIGHTED})
    Path("file").write_text("in the way")
    code, _, err = bench(*arguments.split())
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert code == 2 and len(errors) == 1 and message in errors[0] and "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run --polcy bold", "--policy"),
        ("run --profile quik", "'quick', 'published'"),
        ("rnu", "run"),
        ("run --n x", "--n"),
    ],
)
def test_misspelled_options_are_refused_with_what_was_probably_meant(move_in, bench, arguments, message):
    move_in({})
    code, out, err = bench(*arguments.split())
    assert code == 2 and message in " ".join((out + err).replace("│", " ").split())


def test_a_second_run_computes_nothing_and_changes_nothing(move_in, bench):
    house = move_in({"weighted": WEIGHTED})
    assert bench("run", *SMALL)[0] == 0
    before = contents(house.results)
    house.write_estimator("weighted", WEIGHTED + "\nprint('imported, but not run')\n")
    code, out, _ = bench("run", *SMALL)
    assert code == 0 and "8 cells, 8 stored, 0 to compute" in out
    assert contents(house.results) == before


def test_truth_is_written_and_restored_when_it_is_gone(move_in, bench):
    house = move_in({"weighted": WEIGHTED})
    path = house.results / "truth" / "coins.json"
    bench("run", *SMALL, "--policy", "bold")
    written = path.read_bytes()
    path.unlink()
    code, out, _ = bench("run", *SMALL, "--policy", "bold")
    assert code == 0 and "0 to compute" in out and path.read_bytes() == written


def test_a_failed_cell_makes_the_exit_code_and_is_retried(move_in, bench):
    house = move_in({"broken": constant("if policy.name == 'shy': raise ValueError('bad luck')")})
    code, out, err = bench("run", *SMALL)
    assert code == 1 and "3 done, 1 failed" in out and "will be retried" in err
    assert "\n  coins pooled n=30 seed=0 broken -> shy: ValueError: bad luck\nDetails: `reason` in" in err
    code, out, _ = bench("status", "--n", "30", "--log", "pooled")
    assert code == 0 and "coins pooled n=30 seed=0 broken -> shy: ValueError: bad luck" in out
    house.write_estimator("broken", constant())
    code, out, _ = bench("run", *SMALL)
    assert code == 0 and "4 cells, 3 stored, 1 to compute" in out and "1 done" in out


def test_half_written_results_are_set_aside_said_and_computed_anew(move_in, bench):
    house = move_in({"weighted": WEIGHTED})
    bench("run", *SMALL, "--estimator", "weighted[]")
    before = {r.cell.key: r.value for r in Store(house.results).records()}
    first, second = sorted(house.results.rglob("*/weighted/*.json"))[:2]
    first.write_bytes(first.read_bytes()[:200])
    second.with_suffix(".npz").unlink()
    out = bench("status", "--n", "30", "--log", "pooled")[1]
    assert f"{first.name}:  Invalid JSON" in out or f"{first.name}: Invalid JSON" in out
    assert "the .npz beside it is missing" in out
    code, out, err = bench("run", *SMALL, "--estimator", "weighted[]")
    assert code == 0 and "4 cells, 2 stored, 2 to compute" in out
    assert err.count("unreadable, set aside and computed anew") == 2
    assert {r.cell.key: r.value for r in Store(house.results).records()} == before


def test_a_disk_that_fills_up_ends_the_run_in_words_and_loses_nothing(move_in, bench, monkeypatch):
    house = move_in({"weighted": WEIGHTED})
    replace, written = os.replace, []

    def fills_up(source, target):
        written.append(target)
        if len(written) > 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fills_up)
    code, _, err = bench("run", *SMALL)
    monkeypatch.setattr(os, "replace", replace)
    assert code == 2 and err.count("error: cannot write") == 1 and "No space left on device. Free some space" in err
    stored = len(list(Store(house.results).records()))
    assert 0 < stored < 8 and not list(house.results.rglob("*.tmp"))
    code, out, _ = bench("run", *SMALL)
    assert code == 0 and f"8 cells, {stored} stored, {8 - stored} to compute" in out


def test_stopping_says_how_to_go_on(move_in, bench):
    house = move_in({"weighted": WEIGHTED, "xeno": constant("if policy.name == 'fair': raise KeyboardInterrupt")})
    code, _, err = bench("run", *SMALL, "--redo", "xeno")
    assert code == 130 and "Stopped: 9 of 12 cells are stored. Go on with:" in err
    assert f"python run_bench.py run {' '.join(SMALL)}\n" in err
    house.write_estimator("xeno", constant())
    assert "12 cells, 9 stored, 3 to compute" in bench("run", *SMALL)[1]


def test_redo_computes_again_what_it_names_and_only_that(move_in, bench):
    house = move_in({"weighted": WEIGHTED, "flat": constant()})
    bench("run", *SMALL)
    before = contents(house.results / "cells")
    code, out, _ = bench("run", *SMALL, "--redo", "weighted[scale=0.5]", "--policy", "bold")
    assert code == 0 and "forgot 1 stored cells" in out and "1 to compute" in out
    after = contents(house.results / "cells")
    assert set(after) == set(before)
    assert [k for k in before if before[k] != after[k] and k.endswith(".npz")] == []


def test_dry_run_predicts_from_timings_and_touches_nothing(move_in, bench):
    house = move_in({"slow": constant("time.sleep(0.05)")})
    out = bench("run", *SMALL, "--dry-run")[1]
    assert "no timing yet" in out and "Not in this figure: 4 cells" in out and not house.results.exists()
    bench("run", *SMALL, "--policy", "bold")
    before = contents(house.results)
    [timed] = Store(house.results).records()
    per_policy = timed.prepare_seconds + timed.estimate_seconds
    expected = duration(timed.fit_seconds + 3 * per_policy)
    out = bench("run", *SMALL, "--dry-run")[1]
    assert "3 cells in 1 fits are missing" in out and f"Expect {expected} with 1 worker(s)" in out
    assert f"up to {timed.peak_memory_mb:.0f} MB per worker" in out
    doubled = duration(2 * (timed.fit_seconds + 4 * per_policy))
    out = bench("run", *SMALL, "--n", "60", "--dry-run")[1]
    assert "scaled from n=30" in out and f"Expect {doubled} " in out
    others = ("--policy", "shy", "--policy", "fair", "--policy", "bold")
    assert f"Expect {expected} " in bench("run", *SMALL, *others, "--results", "new", "--dry-run")[1]
    assert contents(house.results) == before and not Path("new").exists()
    bench("run", *SMALL)
    assert "Nothing to do" in bench("run", *SMALL, "--dry-run")[1]


def test_seconds_of_a_gpu_predict_only_where_there_are_no_others(move_in, bench):
    house = move_in({"flat": constant()})
    bench("run", *SMALL, "--policy", "bold")
    [timed] = Store(house.results).records()
    job = replace(plan(Selection(tasks=(timed.cell.task,), estimators=("flat",)))[0], n=timed.cell.n_trajectories)
    fast = timed.model_copy(update={"fit_seconds": 1000.0, "diagnostics": {"fit_on_gpu": 1.0}})
    slow = timed.model_copy(update={"fit_seconds": 5000.0})
    both, alone = (predict(job, collect_timings(records)) for records in ([fast, slow], [fast]))
    assert both.seconds >= 5000 and not both.on_gpu and both.basis == "timed"
    assert 1000 <= alone.seconds < 5000 and alone.on_gpu and alone.basis == "timed, trained on a GPU"


def test_status_tells_stale_and_superseded_cells_apart_and_writes_nothing(move_in, bench):
    house = move_in({"flat": constant()})
    bench("run", *SMALL)
    before = contents(house.results)
    arguments = ("status", "--n", "30", "--log", "pooled")
    assert "stale" not in bench(*arguments)[1]
    house.write_estimator("flat", constant() + "\nCHANGED = True\n")
    assert "flat: 4 cells. If numbers change, bump its version" in bench(*arguments)[1]
    one = min((house.results / "cells").glob("*/*/*.json"))
    plain = one.read_text()
    one.write_text(plain.replace('"computed_as": ""', '"computed_as": "version 0, level"'))
    out = bench(*arguments)[1]
    assert "flat: 3 cells. If" in out and "renamed: computed by an earlier version" in out and "(1 cell)" in out
    one.write_text(plain)
    house.write_estimator("flat", constant().replace("factor: float", "version = 2\n    factor: float"))
    out = bench(*arguments)[1]
    assert "coins pooled flat version 1, data coins-pooled (4 cells)" in out and "stale" not in out
    assert "deleted 0 replaced cells" in bench(*arguments, "--drop-replaced")[1]  # nothing has taken their place yet
    assert contents(house.results) == before
    bench("run", *SMALL)
    out = bench(*arguments, "--drop-replaced")[1]
    assert "deleted 4 replaced cells" in out and "superseded" not in out
    assert "4 stored, 0 to compute" in bench("run", *SMALL)[1]


def test_report_collect_and_import_hand_over_what_they_were_given(move_in, bench, monkeypatch):
    move_in({})
    calls = []

    def fake(name, **answers):
        module = types.ModuleType(name)
        for function, answer in answers.items():
            setattr(
                module, function, lambda *a, function=function, answer=answer, **k: (calls.append((a, k)), answer)[1]
            )
        monkeypatch.setitem(sys.modules, name, module)

    fake("bench.report", write_report=Path("r/report"), leaderboard_text="the leaderboard")
    fake("bench.readme", update_readme=["tasks", "facts"])
    fake("bench.collect", collect=Path("out"))
    fake("bench.importing", import_log="read 3 episodes")
    assert bench("report", "--results", "r", "--readme", "README.md")[0] == 2 and not calls  # before anything is done
    Path("README.md").write_text("a page", encoding="utf-8")
    code, out, _ = bench("report", "--results", "r", "--readme", "README.md")
    assert code == 0 and out.startswith("the leaderboard\n") and "r/report/leaderboard.md" in out
    assert "r/report/figures" in out and "renewed in README.md: tasks, facts" in out
    assert bench("collect", "--task", "coins", "--part", "agents", "--workers", "3")[0] == 0
    assert bench("collect", "--task", "coins", "--out", "here", "--log", "a", "--log", "b")[0] == 0
    assert bench("import", "logs", "--out", "x.parquet", "--task", "coins")[:2] == (0, "read 3 episodes\n")
    assert calls == [
        ((Path("r"),), {}),
        ((Path("r"),), {}),
        ((Path("README.md"), Path("r")), {}),
        (("coins",), dict(out=None, parts=("agents",), workers=3, logs=())),
        (("coins",), dict(out=Path("here"), workers=1, logs=("a", "b"))),
        ((Path("logs"),), dict(task="coins", out=Path("x.parquet"))),
    ]


def test_a_default_that_is_a_constant_is_listed_with_its_value():
    [encoder] = [p for p in catalog.parameters("fitted_q") if p.name == "encoder"]
    assert encoder.default == "'hashing'"


def test_status_gives_every_reason_once_and_speaks_of_cells_beside_the_selection(move_in, bench):
    declines = constant().replace("factor: float", "variants = ('', 'factor=2')\n    factor: float")
    reason = "    def unsupported(self, data, policy):\n        return 'too shy' if policy.name == 'shy' else None\n"
    move_in({"picky": declines.replace("    def fit(", reason + "\n    def fit(", 1)})
    printed = bench("run", *SMALL)[1]
    listed = printed[printed.index("Declined:") :]
    assert listed.count("too shy") == 1 and listed.count("cells of") == 1  # what was done is not among them
    out = bench("status", "--n", "30", "--log", "pooled")[1]
    assert "coins: too shy\n    2 cells of picky, picky[factor=2.0]" in out and "beside" not in out
    assert "8 cells stored here beside this selection" in bench("status", "--n", "60", "--log", "pooled")[1]
