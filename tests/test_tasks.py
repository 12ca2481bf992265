"""Every registered task passes every check, but for those it declares in `known_failures`, which must fail."""

from __future__ import annotations

import pytest

from bench import registry
from bench.conformance import TASK_CHECKS
from bench.recorded import MANIFEST, RecordedTask
from bench.task import Task

NAMES = registry.task_names()


@pytest.fixture(scope="module")
def tasks() -> dict[str, Task]:
    """Tasks made so far: what they read is read once."""
    return {}


@pytest.mark.parametrize("check", TASK_CHECKS)
@pytest.mark.parametrize("name", NAMES)
def test_task(name, check, tasks, request):
    task = tasks.setdefault(name, registry.task(name))
    if isinstance(task, RecordedTask) and not (task.folder / MANIFEST).exists():
        pytest.skip(f"{name} has no recording yet ({task.folder.name}/{MANIFEST}): there is nothing to check")
    if check in task.known_failures:
        request.node.add_marker(pytest.mark.xfail(strict=True, reason=task.known_failures[check]))
    TASK_CHECKS[check](task)


@pytest.mark.parametrize("name", NAMES)
def test_declared_failures_exist_and_have_a_reason(name):
    for check, reason in registry.task(name).known_failures.items():
        assert check in TASK_CHECKS, f"{name} declares the failure of {check}, which is no check"
        assert len(reason) > 15, f"{name} fails {check} for no good reason: {reason!r}"
