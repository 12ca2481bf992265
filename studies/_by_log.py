"""Studies with an entry per log, made one after the other and kept: what was made is not made again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.data import Trajectory
from bench.registry import estimator_class, parse_spec
from bench.rng import rng_for
from bench.stats import resample_counts, resampling_scheme
from studies.answers import keep_answer, kept_answer, made_now, refuse_other_settings

REPLICATES = 1000
"""Bootstrap draws behind an interval over episodes."""
Entries = Mapping[str, Mapping[str, Any]]
"""`<task>, <log>` to what was found there, its settings, and the version of the estimator ("models")."""


def redrawn(name: str, episodes: Sequence[Trajectory], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """How often each of E episodes is drawn in each resample of a study, (REPLICATES, E), instance by instance, and at
    which of all steps each begins, (E,): `counts @ np.add.reduceat(values, first)` are redrawn sums over steps."""
    code = np.unique([t.instance for t in episodes], return_inverse=True)[1]
    scheme, _ = resampling_scheme(code, True)
    counts = resample_counts(code, REPLICATES, rng_for(name, "bootstrap", seed), scheme)
    return counts, np.cumsum([0, *map(len, episodes)])[:-1]


def study_logs(
    name: str,
    spec: str,
    tasks: Sequence[str],
    settings: Mapping[str, Any],
    study: Callable[..., dict[str, Any]],
    as_markdown: Callable[[Entries], str],
    results: Path,
    again: bool,
) -> str:
    """Adds an entry for one log of each task, keeps the answer after each, and returns it as markdown.

    Args:
        name: of the study. spec: of the estimator whose version an entry depends on.
        settings: `log` and whatever else the numbers depend on, the keywords of `study` beside `task`.
        again: begin these logs anew.

    Raises:
        BenchError: an entry was made with other settings.
    """
    kept = kept_answer(results, name)
    found = {} if kept is None else dict(kept["tasks"])
    version = estimator_class(parse_spec(spec)[0]).version
    for task in tasks:
        board = f"{task}, {settings['log']}"
        known = None if again else found.get(board)
        before = None if known is None else {key: known.get(key) for key in settings}
        refuse_other_settings(name, board, before, settings)
        if known is None or known["models"][spec]["version"] != version:
            identity = {spec: {"spec": spec, "version": version, "made": made_now()}}
            found[board] = {**settings, "models": identity, **study(task, **settings)}
            found = dict(sorted(found.items()))
            keep_answer(results, name, {"tasks": found}, as_markdown(found))
    return as_markdown(found)
