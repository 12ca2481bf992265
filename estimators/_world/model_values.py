"""A policy's Q at logged steps, learned from episodes that were simulated in a world model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bench.data import LoggedDataset, Trajectory
from estimators._averagers import TargetActions, Trees, returns_to_go
from estimators._features import HASHING, LogTexts
from estimators._fqe import leaf_means


def values_from_simulation(
    data: LoggedDataset,
    simulated: Sequence[Trajectory],
    actions: TargetActions,
    settings: tuple[int, int, int],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Regresses simulated returns-to-go on text features, and predicts at the steps of `data`.

    The episodes were played by the policy itself, so their returns-to-go are draws of its Q under the model: one
    regression, no bootstrapped targets.

    Args:
        data: the logged episodes to predict at, S steps.
        actions: what the policy would do at those steps.
        settings: dimensions of the text vectors, trees, fewest steps in a leaf.

    Returns:
        (S,) Q of the logged actions, (S,) mean of Q over the policy's actions.
    """
    joined = replace(
        data, loggers=(*data.loggers, *{t.logger for t in simulated}), trajectories=(*simulated, *data.trajectories)
    )
    texts = LogTexts(joined, HASHING)
    averager = Trees(texts, *settings)
    mean = leaf_means(averager.fit(joined, np.arange(len(simulated)), rng))
    first = int(joined.columns.offsets[len(simulated)])  # logged steps come after all simulated ones
    leaf = mean @ returns_to_go(joined)[:first]
    q = (averager.logged() @ leaf)[first:]
    candidates = texts.candidates(actions.step + first, actions.actions)
    return q, actions.mixture @ (averager.query(candidates) @ leaf)
