"""Plays a policy in live environments: a batch of episodes in lockstep, one environment each."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from bench.data import Step, Trajectory
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
        answers = threads.map(lambda i: live[i].step(decisions[i].action), rows)
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
