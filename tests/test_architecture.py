"""The house stands as designed: imports go one way, names are honest, the front door is light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import registry
from tests.house import ROOT

FORBIDDEN = {
    "bench": {"estimators", "tasks", "run_bench", "studies", "tests"},
    "estimators": {"tasks", "run_bench", "studies", "tests"},
    "tasks": {"estimators", "run_bench", "studies", "tests"},
    "studies": {"run_bench", "tests"},
}
MODULES = [path for room in FORBIDDEN for path in sorted((ROOT / room).rglob("*.py"))]
VAGUE = {"utils", "util", "common", "helpers", "misc", "shared"}
NOT_IMPORT_NAMES = {"scikit-learn": "sklearn"}


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(module: ast.Module) -> Iterator[str]:
    """First part of every absolute import, those inside functions too; and whatever importlib is told by name."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0] if node.level == 0 else "."
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
            "import_module",
            "__import__",
        ):
            yield from (
                a.value.split(".")[0] for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)
            )


def docstrings(module: ast.Module) -> set[int]:
    """Identities of the string nodes that only document: docstrings, and strings underneath fields."""
    return {
        id(node.value)
        for node in ast.walk(module)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def words_of(module: ast.Module) -> Iterator[str]:
    """Every word in a string that the program can see."""
    documenting = docstrings(module)
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documenting:
            yield from re.findall(r"\w+", node.value)


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_imports_go_one_way(path):
    room = path.relative_to(ROOT).parts[0]
    wrong = FORBIDDEN[room] & set(imported(tree(path)))
    assert not wrong, f"{label(path)} imports {sorted(wrong)}: {room} must not know them"
    assert "." not in set(imported(tree(path))), f"{label(path)} uses a relative import; write {room}.…"


@pytest.mark.parametrize("path", [ROOT / "run_bench.py", *sorted((ROOT / "benchmarks").glob("*.py"))], ids=label)
def test_nobody_imports_a_study(path):
    assert "studies" not in set(imported(tree(path))), f"{label(path)} imports a study: studies only read"


def test_an_import_in_the_wrong_direction_would_be_seen():
    source = "def f():\n    from tasks.x import y\n    importlib.import_module('estimators.z')\n    from . import q"
    assert set(imported(ast.parse(source))) == {"tasks", "estimators", "."}


def test_a_task_does_not_reach_into_another():
    for name in registry.task_names():
        for path in sorted((ROOT / "tasks" / name).rglob("*.py")):
            others = set(re.findall(r"\btasks\.(\w+)", path.read_text(encoding="utf-8"))) - {name}
            others &= set(registry.task_names())  # `tasks` may be a variable, too
            assert not others, f"{label(path)} reaches into {sorted(others)}"


@pytest.mark.parametrize("path", [path for path in MODULES if path.is_relative_to(ROOT / "bench")], ids=label)
def test_the_machinery_names_no_estimator_and_no_task(path):
    plug_ins = {*registry.estimator_names(), *registry.task_names()}
    found = plug_ins & set(words_of(tree(path)))
    assert not found, f"{label(path)} names {sorted(found)}: what is special about them belongs in their own files"


def test_a_plug_in_named_in_code_would_be_seen_and_one_in_a_docstring_is_not():
    source = '"""As in adwm."""\nx: int = 0\n"""Like adwm."""\nraise ValueError(f"use fitted_q[{x}]")'
    assert set(words_of(ast.parse(source))) == {"use", "fitted_q"}


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_modules_are_named_for_what_is_in_them(path):
    assert path.stem.strip("_") not in VAGUE, f"{label(path)}: say what is in it"


def test_no_module_shadows_a_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    declared = {re.match(r"[\w.-]+", requirement)[0].lower() for group in groups for requirement in group}
    taken = {NOT_IMPORT_NAMES.get(name, name.replace("-", "_")) for name in declared}
    assert {"numpy", "torch", "sklearn"} <= taken
    wrong = [label(path) for path in MODULES if path.stem in taken]
    top_level = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert not wrong and not top_level & (taken | sys.stdlib_module_names)


def loaded_after(*arguments: str) -> set[str]:
    """Top-level modules that a run of the front door imports."""
    command = [sys.executable, "-X", "importtime", "run_bench.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    names = {
        line.rpartition("|")[2].strip().split(".")[0]
        for line in done.stderr.splitlines()
        if line.startswith("import time:")
    }
    assert "tyro" in names
    return names


@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help"), ("list", "estimators")], ids=" ".join)
def test_help_and_lists_import_no_heavy_library(arguments):
    heavy = {"torch", "transformers", "sklearn", "matplotlib"} & loaded_after(*arguments)
    assert not heavy, f"run_bench.py {' '.join(arguments)} imports {sorted(heavy)}"
