"""Runs that are killed, interrupted or lose a worker: real processes, real signals, and nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.house import WEIGHTED, House, constant

RUN = ("run", "--n", "60", "--log", "pooled")
DIFFERS_BETWEEN_RUNS = ("fit_seconds", "prepare_seconds", "estimate_seconds", "peak_memory_mb", "provenance")


def comparable(results: Path) -> dict[str, object]:
    """Every file of a results folder; records without what legitimately differs between runs."""
    found: dict[str, object] = {}
    for path in sorted(p for p in results.rglob("*") if p.is_file()):
        name = str(path.relative_to(results))
        found[name] = path.read_bytes()
        if name.startswith("cells") and path.suffix == ".json":
            found[name] = {k: v for k, v in json.loads(path.read_text()).items() if k not in DIFFERS_BETWEEN_RUNS}
    return found


def stored(house: House, results: str = "results") -> list[Path]:
    return list((house.root / results).glob("cells/*/*/*.json"))


def wait_for(condition, process, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it did not get there in time"
        time.sleep(0.02)


@pytest.fixture
def house(make_house) -> House:
    """An estimator that everything shows in, and one that can be told to dawdle or to die for one policy."""
    source = constant("while policy.name == 'shy' and Path('dawdle').exists(): time.sleep(0.02)")
    return make_house({"weighted": WEIGHTED, "zombie": source})


@pytest.fixture
def undisturbed(house) -> dict[str, object]:
    """What an undisturbed run in worker processes leaves."""
    house.cli(*RUN, "--backend", "loky", "--workers", "2", "--results", "reference")
    return comparable(house.root / "reference")


def test_kill_and_resume_ends_where_an_undisturbed_run_on_two_workers_ends(house, undisturbed):
    (house.root / "dawdle").touch()
    process = house.start(*RUN, "--backend", "serial")
    wait_for(lambda: len(stored(house)) == 10, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    kept = {p: p.read_bytes() for p in stored(house)}
    assert len(kept) == 10
    (house.root / "dawdle").unlink()
    again = house.cli(*RUN, "--backend", "serial")
    assert "12 cells, 10 stored, 2 to compute" in again.stdout
    assert {p: p.read_bytes() for p in kept} == kept
    assert comparable(house.results) == undisturbed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_a_clean_state_and_says_how_to_go_on(house, number):
    (house.root / "dawdle").touch()
    process = house.start(*RUN, "--backend", "loky", "--workers", "2")
    wait_for(lambda: len(stored(house)) == 10, process)
    begun = time.monotonic()
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # a terminal tells the whole group
    else:
        process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and time.monotonic() - begun < 20
    assert "Stopped: 10 of 12 cells are stored. Go on with:\n  python run_bench.py run --n 60" in err
    assert "Traceback" not in out + err
    assert not list(house.results.rglob("*.tmp")) and len(stored(house)) == 10
    end = time.monotonic() + 5  # loky's resource tracker leaves when it sees that it is alone
    while _alive(process.pid):
        assert time.monotonic() < end, "worker processes were left behind"
        time.sleep(0.02)


def _alive(session: int) -> list[int]:
    """Processes of a session that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, owner = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(owner) == session and state != "Z":
            found.append(int(stat.parent.name))
    return found


def test_a_killed_worker_costs_the_cells_in_flight_and_nothing_else(house, undisturbed):
    house.write_estimator("zombie", constant("if policy.name == 'shy': os.kill(os.getpid(), signal.SIGKILL)"))
    done = house.cli(*RUN, "--backend", "loky", "--workers", "1", code=1)
    assert "10 done, 2 failed" in done.stdout and "Traceback" not in done.stderr
    failed = [r for r in (json.loads(p.read_text()) for p in stored(house)) if r["status"] == "failed"]
    assert {(r["spec"], r["cell"]["policy"]) for r in failed} == {("zombie", "shy"), ("zombie", "unmeasured")}
    assert all("the system killed a worker process" in r["reason"] for r in failed)
    house.write_estimator("zombie", constant())
    house.cli(*RUN, "--backend", "serial")
    assert comparable(house.results) == undisturbed
