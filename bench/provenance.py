"""Where numbers come from: code, packages, command. Taken once in the process the user started, never compared."""

from __future__ import annotations

import ast
import hashlib
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench import registry
from bench.cells import Provenance

PACKAGES = ("numpy", "scipy", "scikit-learn", "pandas", "torch", "transformers", "tokenizers", "joblib")


def take_provenance() -> Provenance:
    """Everything but `source`, which differs between estimators. The host name is left out on purpose."""
    commit, dirty = git_state(Path(__file__).parent.parent)
    return Provenance(
        commit=commit,
        dirty=dirty,
        command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        packages=package_versions(),
        source="",
    )


def package_versions() -> dict[str, str]:
    """Versions of the installed packages that numbers may depend on; none of them is imported."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_state(folder: Path) -> tuple[str | None, bool | None]:
    """Commit, and whether anything but results has changed since; (None, None) outside a git checkout."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--", ".", ":(exclude)results")
    except (OSError, subprocess.CalledProcessError):
        return None, None
    return commit, bool(changed)


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def source_hash(estimator: str) -> str:
    """sha256 of what an estimator's file and the shared parts it imports (`_name.py`, `_name/`), directly or not, do:
    comments, docstrings and layout do not count."""
    digest = hashlib.sha256()
    for path in source_files(estimator):
        meaning = _meaning(ast.parse(path.read_text(encoding="utf-8")))
        digest.update(path.name.encode() + b"\0" + repr(meaning).encode() + b"\0")
    return digest.hexdigest()


def _meaning(node: object) -> object:
    """A syntax tree as nested tuples; empty fields are left out, because newer Pythons have more of them."""
    if isinstance(node, list):
        return tuple(_meaning(x) for x in node if not _is_docstring(x))
    if not isinstance(node, ast.AST):
        return node
    fields = ((name, _meaning(value)) for name, value in ast.iter_fields(node) if name not in ("ctx", "kind"))
    return (type(node).__name__, *((name, value) for name, value in fields if value not in (None, ())))


def _is_docstring(node: object) -> bool:
    """A text that stands for itself, of a module, class, function or attribute."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def source_files(estimator: str) -> list[Path]:
    """The files behind an estimator, sorted; found by reading imports, without importing anything."""
    found: dict[str, list[Path]] = {}
    waiting = [estimator]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        path = registry.module_path("estimators", name)
        files = path.parent.rglob("*.py") if path.name == "__init__.py" else [path]
        found[name] = [file for file in files if file.exists()]
        for file in found[name]:
            waiting += _sibling_imports(ast.parse(file.read_text(encoding="utf-8")))
    return sorted(file for files in found.values() for file in files)


def _sibling_imports(tree: ast.Module) -> list[str]:
    """Names of the modules of `estimators` that a file imports."""
    siblings = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            siblings += [a.name.split(".")[1] for a in node.names if a.name.startswith("estimators.")]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "estimators":
            parts = (node.module or "").split(".")
            siblings += [parts[1]] if len(parts) > 1 else [a.name for a in node.names]
    return siblings
