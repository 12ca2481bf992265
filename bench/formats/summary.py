"""What was understood of a log, for a terminal."""

from __future__ import annotations

import numpy as np

from bench import registry
from bench.data import LoggedDataset
from bench.formats.log import Import

WIDTH = 13


def summary(log: Import, data: LoggedDataset) -> str:
    """What was understood and what was dropped, one fact per line.

    Args:
        log: the log as read.
        data: its episodes.
    """
    columns = data.columns
    lengths, returns = columns.lengths, columns.returns(data.gamma)
    facts = [
        ("format", log.format),
        ("task", f"{data.task}; horizon {data.horizon}, gamma {data.gamma:g}"),
        ("episodes", f"{len(data)} on {len(columns.instances)} instances, {len(columns.rewards)} steps"),
        (
            "length",
            f"min {lengths.min()}, median {np.median(lengths):g}, mean {lengths.mean():.2f}, max {lengths.max()}",
        ),
        ("return", f"mean {returns.mean():.4g}, min {returns.min():.4g}, max {returns.max():.4g}"),
        ("reward", _reward(data)),
        ("success", _success(log)),
        *(("logger", line) for line in _loggers(data, returns)),
        ("ended", _endings(data)),
        ("propensities", _propensities(data)),
        ("estimators", _estimators(data)),
        *(("dropped", f"{count}: {reason}") for reason, count in sorted(log.dropped.items())),
        *([] if log.dropped else [("dropped", "nothing")]),
        *(("note", note) for note in log.notes),
    ]
    return "\n".join(f"{name:<{WIDTH}}{text}" for name, text in facts)


def _reward(data: LoggedDataset) -> str:
    """Where in an episode rewards are, and whether they differ at all."""
    columns = data.columns
    last = np.zeros(len(columns.rewards), dtype=bool)
    last[columns.offsets[1:] - 1] = True
    mean = f"mean {columns.rewards.mean():.4g} per step"
    if not columns.rewards.any():
        return "0 at every step: all episodes are alike to an estimator"
    if not columns.rewards[~last].any():
        return f"{mean}; only final scores: no step but the last of an episode has one"
    return f"{mean}; nonzero at {np.mean(columns.rewards != 0):.1%} of the steps"


def _success(log: Import) -> str:
    """The share of successes among the episodes that say (metadata.success)."""
    said = [log.extras[t.id].metadata.get("success") for t in log.episodes if t.id in log.extras]
    known = [value for value in said if isinstance(value, bool)]
    if not known:
        return "not recorded (metadata.success)"
    return f"{np.mean(known):.1%} of the {len(known)} episodes that record it"


def _loggers(data: LoggedDataset, returns: np.ndarray) -> list[str]:
    """One line per logger: episodes, mean length, mean return."""
    width = max(map(len, data.loggers))
    lines = []
    for i, name in enumerate(data.loggers):
        own = data.columns.logger == i
        if own.any():
            moments = f"mean length {data.columns.lengths[own].mean():.2f}, mean return {returns[own].mean():.4g}"
            lines.append(f"{name:<{width}}  {own.sum()} episodes, {moments}")
        else:
            lines.append(f"{name:<{width}}  no episode")
    return lines


def _endings(data: LoggedDataset) -> str:
    """How episodes ended; running out of steps is not an end of the environment's making."""
    ends = np.array([[t.terminated, t.truncated] for t in data.trajectories])
    neither = int((~ends.any(axis=1)).sum())
    unmarked = f", {neither} episodes are marked neither" if neither else ""
    terminated, truncated = ends.mean(axis=0)
    return f"{terminated:.1%} terminated, {truncated:.1%} truncated (cut short, which is no failure){unmarked}"


def _propensities(data: LoggedDataset) -> str:
    known = ~np.isnan(data.columns.behavior_logp)
    if known.all():
        joint = all(s.logger_logps is not None for t in data.trajectories for s in t.steps)
        others = ", under all loggers too" if joint and len(data.loggers) > 1 else ""
        return f"recorded for every step{others}"
    return f"recorded for {known.mean():.1%} of the steps only" if known.any() else "absent"


def _estimators(data: LoggedDataset) -> str:
    """Which estimators the log itself rules out; a policy may rule out more."""
    names = registry.estimator_names()
    needy = [] if data.has_propensities else [n for n in names if registry.estimator_class(n).needs_propensities]
    able = [n for n in names if n not in needy]
    refusing = f"; refuse it for lack of propensities: {', '.join(needy)}" if needy else ""
    return f"have the log-probabilities they need: {', '.join(able) or 'none'}{refusing}"
