"""What must hold for every estimator and every task, as named checks that anybody can run.

A check is a function that raises where something does not hold. Checks of estimators take a factory of unfitted
estimators and a task with exact values; checks of tasks take the task.

    from bench import conformance, registry
    conformance.failures(MyEstimator, registry.task(...))     # {"check_...": "what does not hold"}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bench.conformance import accuracy, contract, robustness, tasks
from bench.conformance.contract import Factory
from bench.task import Task

EstimatorCheck = Callable[[Factory, Task], None]
TaskCheck = Callable[[Task], None]


def _checks(*modules: object) -> dict[str, Callable[..., None]]:
    """Functions named `check_...`, in the order in which they stand."""
    return {name: f for m in modules for name, f in vars(m).items() if name.startswith("check_")}


ESTIMATOR_CHECKS: dict[str, EstimatorCheck] = _checks(contract, robustness, accuracy)
TASK_CHECKS: dict[str, TaskCheck] = _checks(tasks)


def failures(make: Factory, task: Task, names: Iterable[str] = tuple(ESTIMATOR_CHECKS)) -> dict[str, str]:
    """Runs checks on an estimator and returns those that fail, each with what does not hold.

    Args:
        make: gives a new, unfitted estimator each time, e.g. its class.
        task: a small task that knows the exact values of its targets.
        names: which checks; default: all.
    """
    found = {}
    for name in names:
        try:
            ESTIMATOR_CHECKS[name](make, task)
        except Exception as error:  # whatever an estimator raises is the finding
            found[name] = f"{type(error).__name__}: {error}"
    return found
