"""WebArena-style episodes on our own sites: its page text, its actions, its configs and its scores, in process.

Values measured here are not comparable with published ones: the sites are small and ours. Element ids differ in every
episode, as they do there, so the same decision is another text each time. The score comes once, at `stop`, or where the
harness stops an agent that repeats itself or does not write actions, as WebArena's does. That one scores at its step
limit, too; here an episode that reaches it has reward 0 (of the logged ones, none would have passed).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from bench.rng import rng_for
from tasks.webarena.accessibility import ElementIds
from tasks.webarena.actions import Action, ActionError, fenced, parse_action
from tasks.webarena.browser import Browser
from tasks.webarena.canonical import raw_webarena
from tasks.webarena.configs import WebTask, resolved
from tasks.webarena.evaluators import score
from tasks.webarena.site import Site

STEP_LIMIT = 10
"""Steps an agent may take per episode. The runner applies it; the environment itself has no limit."""
VERSION = "webarena-style sites 2"
"""Version of the sites, their texts and rules."""

FAILURES = 3
"""Texts in a row that are no action, or equal actions, after which an episode is stopped."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


class WebEnvironment:
    """One episode at a time over a fixed set of tasks; instances are named by `WebTask.instance`.

    Args:
        tasks: what can be asked.
        ids: source of the element ids.
        by_name: actions are the normal forms of `tasks.webarena.canonical`, which name elements by role and name.
    """

    def __init__(self, tasks: Iterable[WebTask], ids: np.random.Generator, by_name: bool = False):
        self.tasks = {task.instance: task for task in tasks}
        self._rng = ids
        self._by_name = by_name
        self._task: WebTask | None = None
        self._site: Site | None = None

    def seed(self, seed: int) -> None:
        """Makes the element ids of the episodes that follow a function of a seed."""
        self._rng = rng_for("webarena", "ids", seed)

    def reset(self, instance: str) -> tuple[str, str]:
        """Starts an episode on untouched sites.

        Args:
            instance: name of a task.

        Returns:
            The intent, and the text of the page the episode starts on.

        Raises:
            ValueError: there is no such task, or our sites cannot play it.
        """
        if instance not in self.tasks:
            raise ValueError(f"no task {instance!r} among the {len(self.tasks)} of this environment.")
        task = self.tasks[instance]
        reason = task.unplayable()
        if reason is not None:
            raise ValueError(f"task {instance} {reason}.")
        self.close()
        self._task, self._site = task, Site(task.world)
        urls = [resolved(url) for url in task.start_url.split(" |AND| ")]
        self.browser = Browser(self._site, ElementIds(self._rng), urls)
        self._done: list[Action | None] = []
        return task.intent, self.browser.text()

    def step(self, action: str) -> tuple[str, float, bool]:
        """Takes one action of WebArena's grammar, alone or between ``` fences in longer text.

        Returns:
            The page; the reward, which is the score where the episode ends and 0 before; and whether it ended.

        Raises:
            RuntimeError: no episode is running.
        """
        if self._task is None or self._site is None:
            raise RuntimeError(f"step({action!r}): no episode is running; call reset(instance) first.")
        action = _CONTROL.sub("", action.encode("utf-8", "replace").decode("utf-8"))
        if self._by_name:
            action = raw_webarena(action, self.browser.text())
        inner = fenced(action)
        try:
            parsed = parse_action(action if inner is None else inner)
        except ActionError:
            parsed = None
        self._done.append(parsed)
        if parsed is not None and parsed.verb == "stop":
            return self._end(parsed.text)
        if parsed is not None:
            self.browser.act(parsed)
        if self._stuck():
            return self._end("")
        return self.browser.text(), 0.0, False

    def close(self) -> None:
        """Frees the data base of the running episode."""
        if self._site is not None:
            self._site.close()
        self._task = self._site = None

    def _end(self, answer: str) -> tuple[str, float, bool]:
        reward = score(self._task, answer, self.browser.document, self._site)
        text = self.browser.text()
        self.close()
        return text, reward, True

    def _stuck(self) -> bool:
        """Whether WebArena's harness would stop the agent now."""
        last = self._done[-1]
        if last is not None and last.verb == "type":
            return self._done.count(last) >= FAILURES
        recent = self._done[-FAILURES:]
        return len(recent) == FAILURES and all(done == last for done in recent)
