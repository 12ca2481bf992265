"""What there is to choose from: tasks, policies, estimators and their parameters, as text."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass

from tabulate import tabulate

from bench import registry
from bench.provenance import source_files


@dataclass(frozen=True)
class Parameter:
    """A hyper-parameter as it stands in the source."""

    name: str
    type: str
    default: str
    description: str


def parameters(estimator: str) -> list[Parameter]:
    """The fields of an estimator's dataclass, inherited ones first, read without importing it."""
    classes: dict[str, ast.ClassDef] = {}
    for path in source_files(estimator):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        classes |= {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    own = ast.parse(registry.module_path("estimators", estimator).read_text(encoding="utf-8"))
    found: dict[str, Parameter] = {}
    for node in own.body:
        if isinstance(node, ast.ClassDef) and _is_estimator(node, classes):
            found = _fields(node, classes)
    return list(found.values())


def _base_names(node: ast.ClassDef) -> list[str]:
    return [base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in node.bases]


def _is_estimator(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> bool:
    bases = _base_names(node)
    return "Estimator" in bases or any(_is_estimator(classes[base], classes) for base in bases if base in classes)


def _fields(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    for base in reversed(_base_names(node)):
        if base in classes:
            found |= _fields(classes[base], classes)
    for statement, following in zip(node.body, [*node.body[1:], None], strict=True):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        kind = ast.unparse(statement.annotation)
        if "ClassVar" in kind:
            continue
        text = ""
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            text = " ".join(str(following.value.value).split())
        default = "required" if statement.value is None else ast.unparse(statement.value)
        found[statement.target.id] = Parameter(statement.target.id, kind, default, text)
    return found


def list_estimators() -> str:
    """Every estimator, its parameters, and the variants a leaderboard runs."""
    blocks = []
    for name in registry.estimator_names():
        lines = [f"{name}: {registry.summary('estimators', name)}"]
        lines += [f"    {p.name}: {p.type} = {p.default}    {p.description}".rstrip() for p in parameters(name)]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) or "no estimator in estimators/"


def list_tasks() -> str:
    """Every task with its logs."""
    rows = []
    for name in registry.task_names():
        task = registry.task(name)
        card = task.card
        rows.append(
            [name, card.horizon, ", ".join(task.logs()), len(task.targets()), card.environment, card.description]
        )
    return tabulate(rows, headers=["task", "step limit", "logs", "targets", "environment", "description"])


def list_policies(tasks: Sequence[str] = ()) -> str:
    """The targets of every task, or of the tasks named."""
    rows = []
    for name in tasks or registry.task_names():
        rows += [[name, card.name, card.description] for card in registry.task(name).targets()]
    return tabulate(rows, headers=["task", "policy", "description"])
