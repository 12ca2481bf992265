"""Keeps the numbers of a README current: text between markers is replaced by tables and figure links.

Markers are comments, invisible on the page: what stands between `<!-- generated:NAME -->` and `<!-- end:NAME -->`
belongs to the generator. Names: `leaderboard` (averages over tasks and logs), `matrix` (per log, every estimator on
every task), `tasks` (a table per task and log), `figures`, `task:<name>` (tables and figures of one task),
`figure:<name>` (one figure), `facts` (what the cells are), `estimators` (what there is to choose from).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bench import registry
from bench.catalog import sources
from bench.errors import BenchError, UnknownNameError
from bench.leaderboard import without_sweep
from bench.overall import ALL, overall, ranked_boards
from bench.report import FOLDER, LEGEND, board_facts, boards_named, left_out
from bench.scoring import Scores, Standing, score
from bench.tables import (
    DASH,
    MATRIX_LEGEND,
    cells,
    matrix_table,
    named,
    number,
    overall_table,
    percent,
    rank,
    table,
    with_interval,
)

_BLOCK = re.compile(r"(<!-- generated:([\w:.-]+) -->\n)(.*?)(<!-- end:\2 -->)", re.S)
_MARKER = re.compile(r"<!-- (?:generated|end):[\w:.-]+ -->")


def update_readme(readme: Path, results_dir: Path) -> list[str]:
    """Replaces every generated block of a file in place; run it after `write_report`, whose figures it links to.

    Returns:
        Names of the blocks, in order.

    Raises:
        BenchError: a marker without its counterpart, a figure that was not drawn, or no marker at all.
        UnknownNameError: a block nobody knows how to fill.
    """

    def sections() -> dict[str, str]:
        figures = _figures(readme.resolve().parent, Path(results_dir).resolve() / FOLDER / "figures")
        return _sections(score(Path(results_dir)), figures)

    return fill_blocks(readme, sections)


def fill_blocks(
    page: Path, sections: Callable[[], Mapping[str, str]], prose: Callable[[str], str] = lambda text: text
) -> list[str]:
    """Replaces every generated block of a page in place.

    Args:
        sections: gives name to text of every block there could be; called once the markers are found to be in order.
        prose: renews what stands between the blocks.

    Returns:
        Names of the blocks, in order.

    Raises:
        BenchError: a marker without its counterpart, or no marker at all.
        UnknownNameError: a block nobody knows how to fill.
    """
    text = page.read_text(encoding="utf-8")
    names = [match[2] for match in _BLOCK.finditer(text)]
    if 2 * len(names) != len(_MARKER.findall(text)) or not names:
        raise BenchError(
            f"{page}: {len(names)} blocks, {len(_MARKER.findall(text))} markers. Each block needs a line "
            "`<!-- generated:NAME -->` before it and a line `<!-- end:NAME -->` after it; blocks cannot be nested."
        )
    found = sections()
    for name in names:
        if name not in found:
            raise UnknownNameError(f"generated block of {page.name}", name, found)
    page.write_text(_BLOCK.sub(lambda m: f"{m[1]}\n{found[m[2]]}\n\n{m[4]}", prose(text)), encoding="utf-8")
    return names


def _figures(home: Path, folder: Path) -> dict[str, str]:
    """Figure name to its address as seen from the README."""
    if not folder.is_relative_to(home):
        raise BenchError(f"{folder} lies outside {home}: a README can only show figures below its own folder.")
    return {path.stem: path.relative_to(home).as_posix() for path in sorted(folder.glob("*.svg"))}


def _sections(scores: Scores, figures: Mapping[str, str]) -> dict[str, str]:
    found = {"leaderboard": _leaderboard(scores), "facts": _facts(scores)}
    found |= {f"figure:{name}": f"![{name.replace('_', ' ')}]({address})" for name, address in figures.items()}
    of_tasks = [f"{kind}_{task}" for kind in ("error", "ranking") for task in scores.tasks]
    shown = ["overview", "overlap", *of_tasks]
    found["figures"] = "\n\n".join(found[f"figure:{name}"] for name in shown if name in figures)
    found |= {"matrix": _matrices(scores), "estimators": _estimators()}
    boards = {task: [s for s in scores.main if s.board.task == task] for task in scores.tasks}
    found["tasks"] = "\n\n".join(part for task in scores.tasks for s in boards[task] for part in _board(s, "### "))
    for task in scores.tasks:
        drawn = [name for name in (f"error_{task}", f"ranking_{task}") if name in figures]
        parts = [part for s in boards[task] for part in _board(s, "#### ")]
        found[f"task:{task}"] = "\n\n".join([*parts, *(found[f"figure:{name}"] for name in drawn)])
    return found


def _matrices(scores: Scores) -> str:
    """One matrix per log: what is good on one is rarely good on another."""
    logs = list(dict.fromkeys(s.board.log for s in scores.main))
    parts = [
        part
        for log in logs
        for part in (f"**Log `{log}`**", matrix_table([s for s in scores.main if s.board.log == log]))
    ]
    return "\n\n".join([*parts, MATRIX_LEGEND, *_notes(scores)])


def _notes(scores: Scores) -> list[str]:
    return ["\n".join(f"- {note}" for note in scores.notes)] if scores.notes else []


def _estimators() -> str:
    """Every estimator in a line: its family, what it does, and the papers behind it."""
    rows = [
        [
            f"`{name}`",
            registry.estimator_class(name).family,
            registry.summary("estimators", name),
            "; ".join(sources(name)) or DASH,
        ]
        for name in registry.estimator_names()
    ]
    return table(["estimator", "family", "what it is", "sources"], sorted(rows, key=lambda row: (row[1], row[0])))


def _leaderboard(scores: Scores) -> str:
    averages = [row for row in overall(scores) if row.log == ALL]
    if not averages:
        return "No task has targets of different value: there is nothing to average."
    head = f"Averages over {boards_named(ranked_boards(scores))}; tasks weigh the same. {left_out(scores)}".strip()
    return "\n\n".join([head, overall_table(averages), LEGEND, *_notes(scores)])


def _board(standing: Standing, heading: str) -> Iterator[str]:
    """Facts and a table short enough for a README; everything else is in the leaderboard."""
    board = standing.board
    yield f"{heading}{board.task}: {board.log} log, n = {board.n:,}"
    yield board_facts(standing)
    rows = []
    for spec in standing.order:
        scores = standing.table[spec]
        mae, coverage = scores["mae"].value, percent(standing.coverage[spec].share)
        over = number(mae / board.span) if mae is not None and board.span > 0 else DASH
        order = rank(standing, spec, "spearman", interval=True)
        other = [number(scores[name].value) for name in (without_sweep("spearman"), "pairwise_accuracy", "regret@1")]
        rows.append(
            [named(standing, spec), with_interval(scores["mae"]), over, order, *other, coverage, cells(standing, spec)]
        )
    perfect = [
        standing.ceilings[name]
        for name in ("mae", "spearman", without_sweep("spearman"), "pairwise_accuracy", "regret@1")
    ]
    mae, *ranks = [number(c.value if c else None) for c in perfect]
    over = number(perfect[0].value / board.span) if perfect[0] and board.span > 0 else DASH
    rows.append(["*perfect estimator*", mae, over, *ranks, DASH, ""])
    header = [
        "estimator",
        "MAE [95 %]",
        "MAE / range",
        "Spearman [95 %]",
        "without sweep",
        "pairs in order",
        "regret@1",
    ]
    yield table([*header, "interval covers", "cells"], rows)


def _facts(scores: Scores) -> str:
    """How many cells of what stand behind the tables."""
    status = [
        str(x) for s in scores.standings for row in s.board.rows.values() for x in row.status.ravel() if x != "missing"
    ]
    count = {kind: status.count(kind) for kind in ("done", "unsupported", "failed")}
    text = f"{len(status):,} cells: {count['done']:,} estimates, {count['unsupported']:,} declined with a reason"
    text += f", {count['failed']:,} failed" if count["failed"] else ""
    specs, tasks = len(scores.families), len(scores.tasks)
    names = len({spec.split("[")[0] for spec in scores.families})
    on = f"{tasks} task{'s' if tasks != 1 else ''} ({', '.join(scores.tasks)})"
    return f"{text}; {names} estimators in {specs} variants on {on}."
