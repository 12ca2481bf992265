"""Plug-ins by file name: `estimators/<name>.py` and `tasks/<name>/`. Listing names imports nothing."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import json
import math
import pkgutil
import re
import typing
from pathlib import Path
from typing import Any, TypeVar

from bench.errors import BenchError, UnknownNameError
from bench.estimator import Estimator
from bench.task import Task

T = TypeVar("T")
_SPEC = re.compile(r"^\s*([A-Za-z_]\w*)\s*(?:\[(.*)\])?\s*$", re.S)


def _package_path(package: str) -> Path:
    module = importlib.import_module(package)
    return Path(module.__path__[0])


def names(package: str) -> list[str]:
    """Public modules of a package, sorted; found by file name alone."""
    return sorted(m.name for m in pkgutil.iter_modules([str(_package_path(package))]) if not m.name.startswith("_"))


def estimator_names() -> list[str]:
    """Every registered estimator."""
    return names("estimators")


def task_names() -> list[str]:
    """Every registered task."""
    return names("tasks")


def module_path(package: str, name: str) -> Path:
    """The file behind a plug-in, or behind a shared part of a package (`_name`)."""
    base = _package_path(package) / name
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def summary(package: str, name: str) -> str:
    """First line of a plug-in's docstring, read without importing it."""
    doc = ast.get_docstring(ast.parse(module_path(package, name).read_text(encoding="utf-8"))) or ""
    return doc.split("\n")[0]


def _load(package: str, kind: str, name: str, base: type[T]) -> type[T]:
    known = names(package)
    if name not in known:
        raise UnknownNameError(kind, name, known)
    module = importlib.import_module(f"{package}.{name}")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, base)
        and value is not base
        and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise BenchError(
            f"{module.__file__} must define exactly one {base.__name__}, found {len(found)}: "
            f"{[c.__name__ for c in found]}. Move shared parts to a file that starts with an underscore."
        )
    found[0].name = name
    return found[0]


def estimator_class(name: str) -> type[Estimator]:
    """The estimator class in `estimators/<name>.py`."""
    return _load("estimators", "estimator", name, Estimator)


def task(name: str) -> Task:
    """The task in `tasks/<name>/`."""
    return _load("tasks", "task", name, Task)()


def parse_spec(spec: str) -> tuple[str, dict[str, str]]:
    """Splits `name[key=value,key=value]` into name and raw parameters."""
    match = _SPEC.match(spec)
    if not match:
        raise BenchError(f"cannot read the spec {spec!r}. Write name or name[parameter=value,parameter=value].")
    name, inside = match.groups()
    params: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in (inside or "").split(","))):
        key, equals, value = part.partition("=")
        if not equals:
            raise BenchError(f"cannot read {part!r} in the spec {spec!r}. Write parameter=value.")
        if key.strip() in params:
            raise BenchError(f"parameter {key.strip()!r} is given twice in the spec {spec!r}.")
        params[key.strip()] = value.strip()
    return name, params


def make_estimator(spec: str) -> Estimator:
    """Builds an estimator from a spec such as `importance_sampling[self_normalized=true]`."""
    name, raw = parse_spec(spec)
    cls = estimator_class(name)
    hints = typing.get_type_hints(cls)
    fields = {f.name: hints[f.name] for f in dataclasses.fields(cls)}
    params = {}
    for key, text in raw.items():
        if key not in fields:
            raise UnknownNameError(f"parameter of {name}", key, fields)
        params[key] = _convert(name, key, text, fields[key])
    return cls(**params)


def _convert(name: str, key: str, text: str, hint: Any) -> Any:
    """Turns the text of a spec into a value of the field's type."""
    options = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        if text in options:
            return text
        raise UnknownNameError(f"value of {name}[{key}]", text, map(str, options))
    kinds = [k for k in (options or (hint,)) if k is not type(None)]
    if type(None) in options and text.lower() in ("none", "null"):
        return None
    for kind in kinds:
        if typing.get_origin(kind) is typing.Literal:
            return _convert(name, key, text, kind)
        if kind is bool and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if kind in (int, float):
            try:
                number = kind(text)
            except ValueError:
                continue
            if not math.isfinite(number):
                raise BenchError(f"{name}[{key}={text}]: must be finite.")
            return number
        if kind is str:
            return text
    wanted = " or ".join(getattr(k, "__name__", str(k)) for k in kinds)
    raise BenchError(f"{name}[{key}={text}]: {text!r} is not a {wanted}.")


def spec_of(estimator: Estimator) -> str:
    """The shortest spec that rebuilds an estimator: only what differs from the defaults."""
    defaults = type(estimator)().params()
    changed = {k: v for k, v in estimator.params().items() if v != defaults[k]}
    inside = ",".join(f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in sorted(changed.items()))
    return f"{estimator.name}[{inside}]" if inside else estimator.name
