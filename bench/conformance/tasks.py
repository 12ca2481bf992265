"""Checks of tasks: cards, logs, agents and truth say the same thing, and say it completely."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from bench.data import LoggedDataset, Step, Trajectory
from bench.errors import UnknownNameError
from bench.policy import Policy
from bench.task import Task

TOLERANCE = 1e-4
"""Largest difference, in nats, between a log-probability at sampling time and the same one by scoring."""
FEWEST_TARGETS, MOST_EPSILON_SWEEP, FEWEST_EPISODES = 6, 4, 600
PART = 60
"""Episodes of each log on which policies are questioned."""


def check_card(task: Task) -> None:
    """The card says everything a reader must know."""
    card = task.card
    for name in ("description", "environment", "source", "license"):
        assert str(getattr(card, name)).strip(), f"card.{name} is empty"
    assert card.horizon >= 1 and 0 < card.gamma <= 1, f"horizon {card.horizon}, gamma {card.gamma}"
    assert card.return_range[0] < card.return_range[1], f"return_range {card.return_range}"
    assert isinstance(card.deterministic, bool), "card.deterministic must be True or False"


def check_logs_follow_the_card(task: Task) -> None:
    """Every log can be read, measures the same estimand as the card, and stays in the range of returns."""
    assert len(set(task.logs())) == len(task.logs()) > 0, f"logs: {task.logs()}"
    low, high = task.card.return_range
    for name, data in _logs(task):
        assert (data.task, data.gamma, data.horizon) == (task.name, task.card.gamma, task.card.horizon), (
            f"header of log {name}"
        )
        returns = data.columns.returns(data.gamma)
        assert low - 1e-6 <= returns.min() and returns.max() <= high + 1e-6, (
            f"log {name}: returns from {returns.min()} to {returns.max()}, the card says {task.card.return_range}"
        )
        assert set(np.unique(data.columns.logger)) == set(range(len(data.loggers))), (
            f"log {name}: a logger without episodes"
        )


def check_every_step_has_propensities(task: Task) -> None:
    """The logs know the log-probability of each action under the logger that took it and under all others."""
    for name, data in _logs(task):
        assert data.has_propensities, f"log {name} lacks behavior_logp"
        k = len(data.loggers)
        for t in data.trajectories:
            complete = all(s.logger_logps is not None and len(s.logger_logps) == k for s in t.steps)
            assert complete, f"log {name}, episode {t.id}: logger_logps must hold {k} values at every step"
            own = data.loggers.index(t.logger)
            gap = max(abs(s.logger_logps[own] - s.behavior_logp) for s in t.steps)
            assert gap <= TOLERANCE, (
                f"log {name}, episode {t.id}: logger_logps and behavior_logp differ by {gap:.2g} nats"
            )


def check_fingerprints_are_stable(task: Task) -> None:
    """The same log has the same fingerprint each time, another log another one."""
    prints = [task.log_fingerprint(name) for name in task.logs()]
    assert prints == [task.log_fingerprint(name) for name in task.logs()], "a fingerprint changes between two calls"
    assert len(set(prints)) == len(prints), "two logs have the same fingerprint"


def check_instances_are_visited_equally_often(task: Task) -> None:
    """Logs (each logger by itself) and truth visit every instance of the list equally often."""
    names = tuple(task.instances())
    if not names:
        return
    assert len(set(names)) == len(names), "an instance is listed twice"
    for log, data in _logs(task):
        for logger in data.loggers:
            seen = Counter(t.instance for t in data.trajectories if t.logger == logger)
            _equally_often(seen, names, f"log {log}, logger {logger}")
    for card in task.targets():
        seen = Counter(task.truth(card.name).instance.tolist())
        _equally_often(seen, range(len(names)), f"truth of {card.name}")


def check_targets_are_described(task: Task) -> None:
    """Enough targets, each with a name of its own and a description; few of them from the paper's epsilon sweep."""
    cards = task.targets()
    names = [card.name for card in cards]
    assert len(set(names)) == len(names) >= FEWEST_TARGETS, f"targets: {names}"
    assert all(card.description.strip() for card in cards), "a target without description"
    sweep = [card for card in cards if card.epsilon_sweep]
    assert len(sweep) <= MOST_EPSILON_SWEEP, (
        f"{len(sweep)} targets belong to the epsilon sweep, at most {MOST_EPSILON_SWEEP} may"
    )
    assert all(0 < card.epsilon <= 1 for card in sweep), "a target of the epsilon sweep without epsilon"


def check_no_target_is_a_logger(task: Task) -> None:
    """No target is a logger under another name: on its episodes it disagrees about what is likely."""
    for policy in _targets(task):
        for log, data in _parts(task):
            assert policy.name not in data.loggers, f"{policy.name} is a logger of {log}"
            logp = np.concatenate(policy.log_prob_episodes(data.trajectories))
            for k, logger in enumerate(data.loggers):
                mine = data.columns.logger[data.columns.episode] == k
                gap = np.abs(logp[mine] - data.columns.behavior_logp[mine]).max()
                assert gap > 100 * TOLERANCE, (
                    f"target {policy.name} scores the episodes of logger {logger} ({log}) as that logger does"
                )


def check_log_probabilities_are_valid(task: Task) -> None:
    """One natural log of a probability per logged action: never above 0, never NaN."""
    for policy in (*_loggers(task), *_targets(task)):
        for log, data in _parts(task):
            values = policy.log_prob_episodes(data.trajectories)
            assert [v.shape for v in values] == [(len(t),) for t in data.trajectories], (
                f"{policy.name} on {log}: shapes"
            )
            flat = np.concatenate(values)
            assert (flat <= 1e-6).all(), f"{policy.name} on {log}: {flat[~(flat <= 1e-6)][0]} is no log-probability"


def check_every_logged_action_is_possible(task: Task) -> None:
    """No target gives a logged action the probability zero: weights may be tiny, but none is exactly nothing."""
    for policy in _targets(task):
        for log, data in _parts(task):
            impossible = ~np.isfinite(np.concatenate(policy.log_prob_episodes(data.trajectories)))
            assert not impossible.any(), (
                f"{policy.name} gives {impossible.mean():.1%} of the actions of {log} probability 0"
            )


def check_loggers_score_what_they_logged(task: Task) -> None:
    """Scoring a logged action gives the log-probability recorded when it was sampled."""
    for log, data in _parts(task):
        for k, name in enumerate(data.loggers):
            scored = np.concatenate(task.policy(name).log_prob_episodes(data.trajectories))
            recorded = np.array([s.logger_logps[k] for t in data.trajectories for s in t.steps])
            gap = np.abs(scored - recorded).max()
            assert gap <= TOLERANCE, f"logger {name} on {log}: scoring and log differ by up to {gap:.2g} nats"


def check_truth(task: Task) -> None:
    """Every target has a true value with enough episodes, inside the range of returns, and an honest uncertainty."""
    low, high = task.card.return_range
    for card in task.targets():
        truth = task.truth(card.name)
        assert truth.policy == card.name and truth.environment.strip(), (
            f"truth of {card.name}: {truth.policy}, {truth.environment!r}"
        )
        assert truth.episodes >= FEWEST_EPISODES, f"truth of {card.name} rests on {truth.episodes} episodes"
        assert len(truth.instance) == truth.episodes, f"truth of {card.name}: instances and returns differ in number"
        assert low - 1e-6 <= truth.returns.min() and truth.returns.max() <= high + 1e-6, (
            f"truth of {card.name} leaves the range"
        )
        assert low <= truth.mean <= high, f"truth of {card.name} is {truth.mean}"
        assert truth.stderr == 0 if truth.exact is not None else 0 < truth.stderr < (high - low) / 4, (
            f"truth of {card.name}: standard error {truth.stderr}"
        )


def check_targets_can_be_ranked(task: Task) -> None:
    """True values spread over more than 4 standard errors, so that ranking them means something."""
    truths = [task.truth(card.name) for card in task.targets()]
    spread = np.ptp([truth.mean for truth in truths])
    assert spread > 4 * max(truth.stderr for truth in truths), f"true values spread over {spread:.3f} only"


def check_next_actions(task: Task) -> None:
    """`n` texts at every step of every episode, the same ones for the same seed."""
    for policy in _targets(task):
        for log, data in _parts(task, 5):
            drawn = policy.next_actions(data.trajectories, 4, seed=0)
            assert [len(steps) for steps in drawn] == [len(t) for t in data.trajectories], (
                f"{policy.name} on {log}: episodes or steps"
            )
            flat = [actions for steps in drawn for actions in steps]
            texts = all(isinstance(a, tuple) and len(a) == 4 and all(isinstance(x, str) for x in a) for a in flat)
            assert texts, f"{policy.name} on {log}: not a tuple of 4 texts at every step"
            assert drawn == policy.next_actions(data.trajectories, 4, seed=0), (
                f"{policy.name}: the same seed gives other actions"
            )


def check_seeds_determine_episodes(task: Task) -> None:
    """The same seed gives the same action, whatever the batch; different seeds give different ones somewhere."""
    _, data = _parts(task, 8)[0]
    starts = data.trajectories
    goals, shown = [t.goal for t in starts], [t.steps[0].observation for t in starts]
    seeds, differ = list(range(len(starts))), False
    for policy in _ends(task):
        first, again, other = (policy.start(goals, s).step(shown) for s in (seeds, seeds, [s + 100 for s in seeds]))
        texts = [decision.action for decision in first]
        assert texts == [decision.action for decision in again], f"{policy.name}: the same seeds give other actions"
        alone = policy.start(goals[3:4], seeds[3:4]).step(shown[3:4])[0]
        assert alone.action == texts[3], f"{policy.name}: an episode depends on the rest of its batch"
        differ |= texts != [decision.action for decision in other]
    assert differ, "no seed changes any action"


def check_decisions_carry_their_log_probability(task: Task) -> None:
    """What a session says about an action it takes is what scoring says about it."""
    _, data = _parts(task, 8)[0]
    starts = data.trajectories
    for policy in _ends(task):
        session = policy.start([t.goal for t in starts], list(range(len(starts))))
        decisions = session.step([t.steps[0].observation for t in starts])
        taken = [_one_step(i, t, d.action, d.tokens) for i, (t, d) in enumerate(zip(starts, decisions, strict=True))]
        scored = np.concatenate(policy.log_prob_episodes(taken))
        gap = np.abs(scored - [d.log_prob for d in decisions]).max()
        assert gap <= TOLERANCE, f"{policy.name}: sampling and scoring differ by {gap:.2g} nats"


def check_unknown_names_are_answered_with_known_ones(task: Task) -> None:
    """A misspelled log, policy or target is an error that lists what there is."""
    for ask in (task.log, task.policy, task.truth):
        try:
            ask("nonesuch")
        except UnknownNameError as error:
            assert "Known: " in str(error), str(error)
        else:
            raise AssertionError(f"{ask.__name__}('nonesuch') must raise UnknownNameError")


def _logs(task: Task) -> Iterable[tuple[str, LoggedDataset]]:
    return ((name, task.log(name)) for name in task.logs())


def _parts(task: Task, n: int = PART) -> list[tuple[str, LoggedDataset]]:
    return [(name, data.subset(min(n, len(data)), 0)) for name, data in _logs(task)]


def _loggers(task: Task) -> Iterable[Policy]:
    return (task.policy(name) for name in {name: None for _, data in _logs(task) for name in data.loggers})


def _targets(task: Task) -> Iterable[Policy]:
    return (task.policy(card.name) for card in task.targets())


def _ends(task: Task) -> list[Policy]:
    """The first and the last target: loading the model of each would take too long."""
    names = [card.name for card in task.targets()]
    return [task.policy(names[0]), task.policy(names[-1])]


def _one_step(i: int, like: Trajectory, action: str, tokens: tuple[int, ...] | None) -> Trajectory:
    return Trajectory(f"{i}", like.instance, like.goal, (Step(like.steps[0].observation, action, 0.0, tokens),))


def _equally_often(seen: Counter, names: Sequence[object], where: str) -> None:
    assert set(seen) == set(names), f"{where}: visits {len(seen)} of {len(names)} instances, or others"
    assert len(set(seen.values())) == 1, (
        f"{where}: between {min(seen.values())} and {max(seen.values())} visits per instance"
    )
