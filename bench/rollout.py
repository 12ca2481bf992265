"""Plays a policy in live environments: a batch of episodes in lockstep, one environment each."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

from bench.data import Step, Trajectory
from bench.errors import BenchError
from bench.policy import Decision, Policy
from bench.task import Environment


@dataclass(frozen=True)
class EpisodeJob:
    """One episode to be played: its id, its instance, and the seed of the policy's randomness."""

    id: str
    instance: str
    seed: int


def play(
    policy: Policy,
    environments: Sequence[Environment],
    jobs: Sequence[EpisodeJob],
    step_limit: int,
    threads: Executor,
) -> list[Trajectory]:
    """Plays one episode per job, at most as many as there are environments.

    Returns:
        Trajectories in the order of the jobs, every step with the policy's log-probability and token ids.
    """
    live = list(environments[: len(jobs)])
    opened = list(threads.map(lambda pair: pair[0].reset(pair[1].instance), zip(live, jobs, strict=True)))
    session = policy.start([goal for goal, _ in opened], [job.seed for job in jobs])
    shown: list[str | None] = [observation for _, observation in opened]
    steps: list[list[Step]] = [[] for _ in jobs]
    final: list[str] = [""] * len(jobs)
    terminated = [False] * len(jobs)
    for _ in range(step_limit):
        decisions = session.step(shown)
        rows = [i for i, d in enumerate(decisions) if d is not None]
        answers = threads.map(lambda i, now=decisions: live[i].step(now[i].action), rows)
        following: list[str | None] = [None] * len(jobs)
        for i, (observation, reward, done) in zip(rows, answers, strict=True):
            steps[i].append(_step(shown[i], decisions[i], reward))
            final[i], terminated[i] = observation, done
            following[i] = None if done else observation
        shown = following
        if not any(o is not None for o in shown):
            break
    return [
        Trajectory(job.id, job.instance, goal, tuple(s), last, done, not done, policy.name)
        for job, (goal, _), s, last, done in zip(jobs, opened, steps, final, terminated, strict=True)
    ]


def _step(observation: str, decision: Decision, reward: float) -> Step:
    return Step(observation, decision.action, reward, decision.tokens, decision.log_prob)


@dataclass
class Remembered:
    """What an environment answered after a sequence of actions, and what came next."""

    observation: str
    reward: float = 0.0
    terminated: bool = False
    goal: str = ""
    next: dict[str, Remembered] = field(default_factory=dict)


class RememberingEnvironment:
    """A deterministic environment that answers from memory what was asked before.

    The environment itself is only moved when something new is asked: it is then reset and led through the actions so
    far. Episodes of the same instance often begin alike, and simulators are slow.

    Args:
        memory: instance to what is known of it; may be shared by environments.
    """

    def __init__(self, environment: Environment, memory: dict[str, Remembered]):
        self.environment, self.memory = environment, memory
        self._moved: int | None = None  # how many of `_actions` the environment itself has taken; None: another episode

    def reset(self, instance: str) -> tuple[str, str]:
        """See `Environment`."""
        self._instance, self._actions, self._moved = instance, [], None
        if instance not in self.memory:
            goal, observation = self.environment.reset(instance)
            self._moved = 0
            self.memory[instance] = Remembered(observation, goal=goal)
        self._node = self.memory[instance]
        return self._node.goal, self._node.observation

    def step(self, action: str) -> tuple[str, float, bool]:
        """See `Environment`."""
        known = self._node.next.get(action)
        if known is None:
            self._catch_up()
            known = self._node.next[action] = Remembered(*self.environment.step(action))
            self._moved = len(self._actions) + 1
        self._actions.append(action)
        self._node = known
        return known.observation, known.reward, known.terminated

    def close(self) -> None:
        """See `Environment`."""
        self.environment.close()

    def _catch_up(self) -> None:
        """Leads the environment to where the episode is.

        Raises:
            BenchError: it answers otherwise than before.
        """
        observation = self._node.observation
        if self._moved is None:
            _, observation = self.environment.reset(self._instance)
            self._moved = 0
        for action in self._actions[self._moved :]:
            observation, _, _ = self.environment.step(action)
        self._moved = len(self._actions)
        if observation != self._node.observation:
            raise BenchError(
                f"{self._instance}: the same actions brought another observation the second time; the environment is "
                "not deterministic and must not be remembered."
            )


class MaskedEnvironment:
    """An environment whose observations say nothing: does an agent read what it is shown?"""

    def __init__(self, environment: Environment, text: str = "..."):
        self.environment, self.text = environment, text

    def reset(self, instance: str) -> tuple[str, str]:
        """See `Environment`."""
        goal, _ = self.environment.reset(instance)
        return goal, self.text

    def step(self, action: str) -> tuple[str, float, bool]:
        """See `Environment`."""
        _, reward, done = self.environment.step(action)
        return self.text, reward, done

    def close(self) -> None:
        """See `Environment`."""
        self.environment.close()
