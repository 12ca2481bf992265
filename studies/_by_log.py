"""Studies with an entry per log, made one after the other and kept: what was made is not made again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.registry import estimator_class, parse_spec
from studies.answers import keep_answer, kept_answer, made_now, refuse_other_settings

Entries = Mapping[str, Mapping[str, Any]]
"""`<task>, <log>` to what was found there, its settings, and the version of the estimator ("models")."""


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
