"""Fixtures shared by several rooms."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

for _pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_pool, "1")  # before torch starts: on a busy machine threads wait for each other

from tests.house import House, build_house  # noqa: E402


@pytest.fixture
def make_house(tmp_path: Path) -> Callable[[Mapping[str, str]], House]:
    """Builds a copy of the repository in which plug-ins can be added, changed and broken."""
    return lambda estimators: build_house(tmp_path / "house", estimators)


@pytest.fixture
def move_in(make_house, monkeypatch) -> Iterator[Callable[[Mapping[str, str]], House]]:
    """Builds a house and makes this process live in it: its plug-ins are the registered ones, its root the folder."""
    from bench import material

    caches = [f for f in vars(material).values() if hasattr(f, "cache_clear")]

    def move(estimators: Mapping[str, str]) -> House:
        house = make_house(estimators)
        for package in ("estimators", "tasks"):
            monkeypatch.setattr(importlib.import_module(package), "__path__", [str(house.root / package)])
            for name in [n for n in sys.modules if n.startswith(f"{package}.")]:
                monkeypatch.delitem(sys.modules, name)
        monkeypatch.chdir(house.root)
        monkeypatch.setattr(sys, "dont_write_bytecode", True)  # an estimator may change twice within a second
        for cache in caches:
            cache.cache_clear()
        return house

    before = dict(sys.modules)
    yield move
    for name in [
        n for n in sys.modules if n.startswith(("estimators.", "tasks.")) and before.get(n) is not sys.modules[n]
    ]:
        del sys.modules[name]
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def bench(monkeypatch, capsys) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Calls the front door in this process: arguments -> exit code, standard output, standard error."""
    import run_bench

    for name in run_bench.THREAD_VARIABLES:
        monkeypatch.setenv(name, os.environ.get(name, "1"))
    handler = signal.getsignal(signal.SIGTERM)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["run_bench.py", *arguments])
        try:
            code = run_bench.main()
        except SystemExit as error:  # tyro's way to refuse
            code = error.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    yield call
    signal.signal(signal.SIGTERM, handler)
