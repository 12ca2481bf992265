"""Keeps docs/world-models.md and the pages behind it true: fills their generated blocks and the numbers in their prose
from the answers of all studies and from stored cells.

    python -m studies.write

Blocks are marked as in the README (`bench.readme`). `study:<name>` is the table of a study and its figures, a line that
says which command makes it where it has not been run; `world-models` is the leaderboard of everything that simulates,
beside the best classical estimator and the baseline of each board; `steps` sums the decomposition up; `trainings` says
how the models behind it were trained. Numbers in prose: `studies._values`.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.cells import Record
from bench.comparisons import baseline, best_classical
from bench.errors import BenchError
from bench.readme import fill_blocks
from bench.registry import estimator_class, parse_spec
from bench.report import LEGEND
from bench.scoring import DRAWS, Scores, Standing, cost_seconds, score
from bench.store import Store
from bench.tables import DASH, cells, named, number, percent, rank, table, training, with_interval
from studies._trainings import trainings_text
from studies._values import fill_values, page_values
from studies.answers import RESULTS, figure_folder, kept_answer, start

PAGE = Path("docs") / "world-models.md"
"""The summary; the pages behind it stand in a folder of the same name."""
PAGES = (PAGE, *(PAGE.with_suffix("") / f"{name}.md" for name in ("errors", "parts", "ranking", "simulations")))
STUDIES = {
    "decomposition": "decomposition",
    "held_out_omega": "held_out_omega",
    "new_actions": "new_actions",
    "guidance_bias": "guidance_bias",
    "ablation": "ablation table",
    "tuned_scales": "ablation table",
    "paper_protocol": "paper_protocol",
    "horizon": "horizon",
    "calibration": "calibration",
}
"""Study to the command that makes its answer, after `python -m studies.`."""
GRID = "ablation_grid"
"""The block of the grid, which is a part of the ablation with a figure of its own."""
SIMULATING = ("world model", "joint diffusion", "diffusion world model", "hybrid")
"""Families of the estimators that simulate."""


class Blocks(Mapping[str, str]):
    """Name to text of every block there could be on a page; each is made when it is asked for.

    Args:
        scores: of the leaderboard; None without cells.
    """

    def __init__(self, page: Path, results: Path, scores: Scores | None, records: Sequence[Record]):
        self._makers: dict[str, Callable[[], str]] = {
            f"study:{name}": functools.partial(study_text, page, results, name) for name in STUDIES
        }
        self._makers[f"study:{GRID}"] = lambda: study_text(page, results, "ablation", key="grid_table", figure=GRID)
        self._makers["steps"] = lambda: study_text(
            page, results, "decomposition", key="summary", figure="decomposition"
        )
        self._makers["world-models"] = lambda: leaderboard_text(scores)
        self._makers["trainings"] = lambda: trainings_text(records)

    def __getitem__(self, name: str) -> str:
        return self._makers[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def update_pages(pages: Sequence[Path], results: Path, n_draws: int = DRAWS) -> dict[Path, list[str]]:
    """Renews every generated block and every number in the prose of these pages; returns the names of their blocks.

    Args:
        n_draws: bootstrap draws behind the intervals.

    Raises:
        BenchError: markers without counterparts, an unknown block or kind of value, a damaged answer.
    """
    stored = any((Path(results) / "cells").glob("*/*/*.json"))
    scores = score(results, n_draws) if stored else None
    records = list(Store(results).records())
    values = page_values(results, scores, records)
    return {
        page: fill_blocks(
            page,
            functools.partial(Blocks, page, results, scores, records),
            functools.partial(fill_values, values=values),
        )
        for page in pages
    }


def study_text(page: Path, results: Path, name: str, key: str = "table", figure: str = "") -> str:
    """Table and figures of a study.

    Args:
        key: of the table in the answer.
        figure: the one figure to show; default: all of the study but the grid's.
    """
    answer = kept_answer(results, name)
    if answer is None:
        first = "`python -m studies.ablation run`, then " if STUDIES[name].startswith("ablation") else ""
        return f"Not run yet: {first}`python -m studies.{STUDIES[name]}` makes this."
    if not isinstance(answer.get(key), str):
        raise BenchError(f"the answer of {name} holds no {key!r}. Run `python -m studies.{STUDIES[name]}` again.")
    drawn = sorted(figure_folder(results).glob("*.svg"))
    shown = [p for p in drawn if (p.stem == figure if figure else _belongs(p.stem, name))]
    links = [_image(path, page) for path in shown]
    notes = ["\n".join(f"- {note}" for note in answer["notes"])] if answer.get("notes") and key == "table" else []
    return "\n\n".join([answer[key], *notes, *links, *_made(answer)])


def _made(answer: Mapping[str, Any]) -> list[str]:
    """When and by which code an answer was made, and what has changed since."""
    source = answer.get("provenance", {})
    if not source.get("started"):
        return []
    commit = f", commit {source['commit'][:8]}" if source.get("commit") else ""
    entries = [x for task in _tasks(answer) for x in task.get("models", {}).values() if x]
    days = sorted({entry["made"] for entry in entries if "made" in entry}) or [f"{source['started'][:10]}{commit}"]
    return [f"*Made on {'; '.join(days)}: `{source['command']}`*", *_outdated(answer)]


def _outdated(answer: Mapping[str, Any]) -> list[str]:
    """Models whose code has another version now than when the answer was made."""
    found = {}
    for task in _tasks(answer):
        for name, entry in task.get("models", {}).items():
            spec = entry.get("spec", name)
            if spec and "version" in entry:
                now = estimator_class(parse_spec(spec)[0]).version
                if entry["version"] != now:
                    found[spec] = f"`{spec}` (version {entry['version']}, now {now})"
    return [f"Made by older versions of {', '.join(found.values())}."] if found else []


def _tasks(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    tasks = answer.get("tasks", {})
    return list(tasks.values()) if isinstance(tasks, dict) else []


def _belongs(stem: str, name: str) -> bool:
    return (stem == name or stem.startswith(f"{name}_")) and stem != GRID


def _image(path: Path, page: Path) -> str:
    """A figure as seen from a page."""
    address = Path(os.path.relpath(path.resolve(), page.resolve().parent)).as_posix()
    return f"![{path.stem.replace('_', ' ')}]({address})"


def leaderboard_text(scores: Scores | None) -> str:
    """Everything that simulates, per board; a line that says what to do where there are no cells."""
    if scores is None:
        return "No cells are stored: `python run_bench.py run --profile published` makes them."
    parts = [part for standing in scores.main for part in _board_parts(standing)]
    return "\n\n".join([*parts, LEGEND, *(["\n".join(f"- {note}" for note in scores.notes)] if scores.notes else [])])


def _board_parts(standing: Standing) -> Iterator[str]:
    board = standing.board
    simulating = [spec for spec in standing.order if board.rows[spec].family in SIMULATING]
    if not simulating:
        yield f"**{board.label}**: no world model has cells."
        return
    others = {best_classical(board, standing.table): "best classical", baseline(board): "baseline"}
    shown = [spec for spec in standing.order if spec in simulating or spec in others]
    rows = [_row(standing, spec, others.get(spec, "")) for spec in shown]
    header = ["estimator", "MAE [95 %]", "MAE / range", "bias", "Spearman [95 %]", "without sweep", "declined"]
    yield f"**{board.label}**"
    yield table([*header, "s (fit and one policy)", "cells"], rows)


def _row(standing: Standing, spec: str, role: str) -> list[str]:
    scores, board = standing.table[spec], standing.board
    mae = scores["mae"]
    over = number(mae.value / board.span) if mae.value is not None and board.span > 0 else DASH
    return [
        named(standing, spec) + (f" ({role})" if role else ""),
        with_interval(mae),
        over,
        number(scores["bias"].value, sign=True),
        rank(standing, spec, "spearman", interval=True),
        number(scores["spearman_without_sweep"].value),
        percent(standing.count(spec, "unsupported") / board.n_expected),
        training(cost_seconds(board.rows[spec]), bool(board.rows[spec].on_gpu.any())),
        cells(standing, spec),
    ]


def main(pages: tuple[Path, ...] = PAGES, results: Path = RESULTS) -> None:
    """Renews the pages on world models.

    Args:
        pages: which.
        results: folder of the results.
    """
    for page, names in update_pages(pages, results).items():
        print(f"renewed in {page}: {', '.join(names)}")


if __name__ == "__main__":
    sys.exit(start(main))
