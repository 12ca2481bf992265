"""Results on disk survive crashes, merges and damage; nothing is lost and nothing half-written counts."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from bench.cells import Cell, Record
from bench.errors import DataError
from bench.reference import real_episodes
from bench.store import Store, StoreError
from bench.task import GroundTruth

VALUES = np.array([0.1, np.nan, 0.3])


def cell(policy="p", **params):
    return Cell(
        task="t", log="l", data="d", policy=policy, estimator="e", version=1, params=params, n_trajectories=10, seed=0
    )


def record(policy="p", value=0.25, **params):
    return Record(cell=cell(policy, **params), spec="e", status="done", value=value, diagnostics={"ess": None})


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def test_a_record_comes_back_as_it_was(store):
    store.save(record(), VALUES)
    found = store.load(cell())
    assert found == record() and list(store.records()) == [found]
    np.testing.assert_allclose(store.replicates(found), VALUES)
    assert store.load(cell("other")) is None and not store.unreadable


def test_the_key_depends_on_every_part_of_the_identity():
    base = cell(a=1)
    changes = [
        dict(task="x"), dict(log="x"), dict(data="x"), dict(policy="x"), dict(estimator="x"),
        dict(version=2), dict(params={"a": 2}), dict(n_trajectories=11), dict(seed=1),
    ]  # fmt: skip
    keys = {base.key} | {
        base.model_copy(update=change).model_validate(base.model_dump() | change).key for change in changes
    }
    assert len(keys) == len(changes) + 1


def test_parameters_that_json_turns_into_lists_are_still_the_same_cell(store):
    store.save(record(sizes=(1, 2)), VALUES)
    assert store.load(cell(sizes=(1, 2))) is not None and not store.unreadable


def test_results_of_two_machines_merge_by_copying(tmp_path, store):
    other = Store(tmp_path / "other")
    store.save(record("a"), VALUES)
    other.save(record("b"), VALUES)
    other.save(record("a"), VALUES)
    shutil.copytree(other.results, store.results, dirs_exist_ok=True)
    assert sorted(r.cell.policy for r in store.records()) == ["a", "b"]


@pytest.mark.parametrize("damage", ["truncated", "empty", "binary", "unknown field", "no arrays", "other cell"])
def test_a_damaged_cell_is_missing_and_set_aside_not_deleted(store, damage):
    path = store.save(record(), VALUES)
    content = path.read_bytes()
    match damage:
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
        case "empty":
            path.write_bytes(b"")
        case "binary":
            path.write_bytes(bytes(range(256)))
        case "unknown field":
            path.write_bytes(content.replace(b'"spec"', b'"spek"'))
        case "no arrays":
            path.with_suffix(".npz").unlink()
        case "other cell":
            path.write_bytes(content.replace(b'"seed": 0', b'"seed": 7'))
    before = path.read_bytes()
    assert store.load(cell()) is None and list(store.unreadable) == [path]
    assert store.set_aside() == store.corrupt_files() == [path.with_name(path.name + ".corrupt")]
    assert store.corrupt_files()[0].read_bytes() == before
    assert store.load(cell()) is None and not store.unreadable


def test_damaged_arrays_name_the_file_and_the_way_out(store):
    path = store.save(record(), VALUES).with_suffix(".npz")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=f"{path.name}.*Delete {path.stem}.json beside it and run again"):
        store.replicates(record())


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_record_and_no_fragment(store, monkeypatch, call):
    store.save(record(value=1.0), VALUES)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(StoreError, match="No space left on device. Free some space.*the same command goes on"):
        store.save(record(value=2.0), VALUES)
    monkeypatch.undo()
    assert store.load(cell()).value == 1.0
    assert not list(store.results.rglob("*.tmp"))


def test_a_folder_that_cannot_be_made_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="choose another one with --results"):
        Store(tmp_path / "file").check_writable()


def test_a_read_only_folder_is_refused_in_words(store, monkeypatch):
    path = store.save(record(), VALUES)

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "unlink", refuse)
    monkeypatch.setattr(os, "replace", refuse)
    store.unreadable[path] = "pretend"
    for action in (store.set_aside, lambda: store.forget([cell()]), store.check_writable, lambda: store.save(record())):
        with pytest.raises(StoreError, match="Permission denied"):
            action()
    monkeypatch.undo()
    assert store.load(cell()) == record()


def test_checking_leaves_nothing_behind(store):
    store.check_writable()
    assert not [p for p in store.results.rglob("*") if p.is_file()]


def test_forgetting_removes_both_files_and_counts(store):
    store.save(record("a"), VALUES)
    store.save(record("b"), VALUES)
    assert store.forget([cell("a"), cell("never")]) == 1
    assert len(list(store.results.rglob("*.npz"))) == len(list(store.results.rglob("*.json"))) == 1


def test_sweeping_removes_what_killed_processes_left(store):
    path = store.save(record(), VALUES)
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    old, young = path.with_name(f"a.json.{process.pid}.tmp"), path.with_name(f"b.npz.{process.pid}.tmp")
    in_flight, foreign = path.with_name(f"c.json.{os.getpid()}.tmp"), store.results / "thesis.tmp"
    for file in (old, young, in_flight, foreign):
        file.write_text("half")
    for file in (old, in_flight, foreign):
        os.utime(file, (0, 0))
    store.sweep()
    assert not old.exists() and all(file.exists() for file in (young, in_flight, foreign, path))
    store.sweep(older_than=0.0)
    assert not young.exists() and in_flight.exists() and foreign.exists()


def test_truth_is_kept_in_the_form_the_report_reads(store):
    rng = np.random.default_rng(0)
    truths = [GroundTruth(name, rng.random(40), np.arange(40) % 4, "1") for name in ("a", "b")]
    assert not store.has_truth("t", ["a"])
    store.save_truth("t", truths)
    assert store.has_truth("t", ["a", "b"]) and not store.has_truth("t", ["a", "c"])
    assert set(real_episodes(store.results, "t").errors) == {"a", "b"}
    (store.results / "truth" / "t.json").write_text('{"a": ')
    assert not store.has_truth("t", ["a"])
