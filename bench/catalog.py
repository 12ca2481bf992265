"""What there is to choose from: tasks, policies, estimators and their parameters, as text."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tabulate import tabulate

from bench import registry
from bench.errors import DataError
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
    found: dict[str, Parameter] = {}
    constants = _constants(estimator)
    for node in _lineage(estimator):
        for name, statement, text in _fields(node):
            default = "required" if statement.value is None else ast.unparse(statement.value)
            found[name] = Parameter(name, ast.unparse(statement.annotation), constants.get(default, default), text)
    return list(found.values())


def _constants(estimator: str) -> dict[str, str]:
    """Constants that the files of an estimator define, by name: a default may be one."""
    return {
        name: ast.unparse(statement.value)
        for path in source_files(estimator)
        for statement in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(statement, ast.Assign | ast.AnnAssign) and isinstance(statement.value, ast.Constant)
        for name in _assigned(statement)
    }


def variants(estimator: str) -> list[str]:
    """The specs that a leaderboard runs, read without importing the estimator."""
    inside: Sequence[str] = ("",)
    for node in _lineage(estimator):
        for statement in node.body:
            if isinstance(statement, ast.Assign | ast.AnnAssign) and "variants" in _assigned(statement):
                inside = ast.literal_eval(statement.value)
    return [f"{estimator}[{text}]" if text else estimator for text in inside]


def _lineage(estimator: str) -> list[ast.ClassDef]:
    """The class of an estimator, after the classes in `estimators/` that it inherits from."""
    classes: dict[str, ast.ClassDef] = {}
    for path in source_files(estimator):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        classes |= {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}

    def lineage(name: str) -> list[ast.ClassDef]:
        bases = [
            base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in classes[name].bases
        ]
        above = [node for base in reversed(bases) if base in classes for node in lineage(base)]
        return [*above, classes[name]] if above or "Estimator" in bases else []

    own = ast.parse(registry.module_path("estimators", estimator).read_text(encoding="utf-8"))
    found = [lineage(node.name) for node in own.body if isinstance(node, ast.ClassDef)]
    return max(found, key=len, default=[])


def _assigned(statement: ast.Assign | ast.AnnAssign) -> set[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, ast.AnnAssign, str]]:
    """Name, definition and the string underneath of each dataclass field."""
    for statement, following in zip(node.body, [*node.body[1:], None], strict=True):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        if "ClassVar" in ast.unparse(statement.annotation):
            continue
        text = ""
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            text = " ".join(str(following.value.value).split())
        yield statement.target.id, statement, text


def list_estimators() -> str:
    """Every estimator, its parameters, and the variants a leaderboard runs."""
    blocks = []
    for name in registry.estimator_names():
        lines = [f"{name}: {registry.summary('estimators', name)}"]
        lines += [f"    {p.name}: {p.type} = {p.default}    {p.description}".rstrip() for p in parameters(name)]
        lines.append(f"    on the leaderboard: {', '.join(variants(name))}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) or "no estimator in estimators/"


_REFERENCE = re.compile(
    r"(?P<who>[A-Z]{4,}|[A-Z][\w-]+(?:(?:, [A-Z][\w-]+)*,? & [A-Z][\w-]+| et al\.)? \(?(?:19|20)\d\d)"
    r"(?:,? \(?arXiv (?P<arxiv>\d{4}\.\d{4,5}))?"
)


def sources(estimator: str) -> list[str]:
    """The papers that the docstring of an estimator's class names, as markdown, each once."""
    text = " ".join((ast.get_docstring(_lineage(estimator)[-1]) or "").split())
    found: dict[str, str | None] = {}
    for match in _REFERENCE.finditer(text):
        who, arxiv = match["who"].replace("(", ""), match["arxiv"]
        if arxiv or who[-1].isdigit():
            found[who] = found.get(who) or arxiv
    return [f"[{who}](https://arxiv.org/abs/{arxiv})" if arxiv else who for who, arxiv in found.items()]


def list_tasks() -> str:
    """Every task with its logs."""
    rows = []
    for name in registry.task_names():
        task = registry.task(name)
        try:
            recorded = [", ".join(task.logs()), len(task.targets())]
        except DataError:  # named here, explained by whoever wants to use it
            recorded = ["not recorded", 0]
        rows.append([name, task.card.horizon, *recorded, task.card.description, task.card.environment])
    return tabulate(rows, headers=["task", "step limit", "logs", "targets", "description", "environment"])


def list_policies(tasks: Sequence[str] = ()) -> str:
    """The targets of every task that is recorded, or of the tasks named.

    Raises:
        DataError: a task that was named has no recording.
    """
    rows = []
    for name in tasks or registry.task_names():
        try:
            rows += [[name, card.name, card.description] for card in registry.task(name).targets()]
        except DataError:
            if tasks:
                raise
            rows.append([name, "", "not recorded"])
    return tabulate(rows, headers=["task", "policy", "description"])
