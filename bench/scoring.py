"""From stored cells to scored boards: everything tables and figures show is computed here, once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from bench.board import Board, Row, boards
from bench.ceiling import Ceiling, ceilings
from bench.comparisons import Comparison, compare
from bench.coverage import Coverage, coverage
from bench.errors import BenchError
from bench.inference import Measured, draw, measure
from bench.reference import RealEpisodes, real_episodes
from bench.store import Store

NEARLY_ALL = 0.8
"""Share of the cells of the fullest size that a larger size must have to be shown in its place."""
DRAWS = 1000
"""Bootstrap draws behind every interval of the leaderboard; boards that only feed the size curve get a quarter."""


@dataclass(frozen=True)
class Standing:
    """One board with its scores.

    Attributes:
        table: metrics by estimator spec; coverage: of its intervals, likewise.
        ceilings: what a perfect estimator would score, by metric.
        comparisons: paired differences; empty on boards that only feed the size curve.
        real: the error of m real episodes, where the on-policy returns are known.
        main: shown in the leaderboard (of several log sizes, see `_main_boards`).
    """

    board: Board
    table: Mapping[str, Mapping[str, Measured]]
    coverage: Mapping[str, Coverage]
    ceilings: Mapping[str, Ceiling | None]
    comparisons: tuple[Comparison, ...]
    real: RealEpisodes | None
    main: bool

    @cached_property
    def order(self) -> tuple[str, ...]:
        """Specs from best to worst: by error, then those that miss cells, then those without an estimate."""

        def place(spec: str) -> tuple[bool, bool, float, str]:
            mae = self.table[spec]["mae"].value
            return mae is None, not self.complete(spec), mae or 0.0, spec

        return tuple(sorted(self.table, key=place))

    def complete(self, spec: str) -> bool:
        """The estimator has an estimate for every cell of the board."""
        return bool(self.board.rows[spec].done.all())

    def count(self, spec: str, status: str = "done") -> int:
        """Cells of an estimator with this status."""
        return int((self.board.rows[spec].status == status).sum())

    def real_episodes_worth(self, spec: str) -> int | None:
        """How many real episodes of each target err as much (`RealEpisodes.break_even`); None where that is unknown."""
        mae = self.table[spec]["mae"].value
        if mae is None or self.real is None:
            return None
        judged = self.board.rows[spec].done.any(axis=0)
        return self.real.break_even(mae, [p for p, done in zip(self.board.policies, judged, strict=True) if done])


@dataclass(frozen=True)
class Scores:
    """All boards of a results folder, sorted by task, log and size, and what a reader must be told about the cells."""

    standings: tuple[Standing, ...]
    notes: tuple[str, ...]

    @property
    def main(self) -> tuple[Standing, ...]:
        """The boards of the leaderboard, one per task and log; of each task the log with most cells first."""
        shown = [s for s in self.standings if s.main]
        return tuple(sorted(shown, key=lambda s: (s.board.task, -s.board.n_expected, s.board.log)))

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks, sorted."""
        return tuple(sorted({s.board.task for s in self.standings}))

    @property
    def families(self) -> dict[str, str]:
        """Family of every spec."""
        return {spec: row.family for s in self.standings for spec, row in s.board.rows.items()}


def score(results_dir: Path, n_draws: int = DRAWS) -> Scores:
    """Scores all stored cells.

    Args:
        n_draws: bootstrap draws; 0 for plug-in values without intervals and comparisons (for a quick look).

    Raises:
        BenchError: the folder holds no cell that can be scored.
        DataError: a file in it is damaged.
    """
    store = Store(results_dir)
    found, notes = boards(store.records(), store.replicates)
    notes += [f"{path} cannot be read and was left out: {why}" for path, why in sorted(store.unreadable.items())]
    if not found:
        raise BenchError(
            " ".join([f"{store.cells} holds no cell that can be scored.", *notes])
            + f" Run `python run_bench.py run --results {store.results}` first, or name another folder with --results."
        )
    shown = _main_boards(found)
    real = {task: real_episodes(store.results, task) for task in sorted({b.task for b in found})}
    standings = [
        _standing(b, i in shown, real[b.task], n_draws if i in shown else n_draws // 4) for i, b in enumerate(found)
    ]
    return Scores(tuple(standings), tuple(notes))


def main_boards(found: list[Board]) -> list[Board]:
    """The boards of the leaderboard, of all sizes that are stored: one per task and log."""
    return [found[i] for i in sorted(_main_boards(found))]


def _main_boards(found: list[Board]) -> Collection[int]:
    """Positions of the boards to show: of each task and log the largest size at which about as many policies are judged
    by as many estimators as at any. A few cells of another size do not change the board."""
    counts = [sum(int(row.done.any(axis=0).sum()) for row in board.rows.values()) for board in found]
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, board in enumerate(found):
        groups[board.task, board.log].append(i)
    shown = set()
    for members in groups.values():
        most = max(counts[i] for i in members)
        shown.add(max((i for i in members if counts[i] >= NEARLY_ALL * most), key=lambda i: found[i].n))
    return shown


def _standing(board: Board, main: bool, real: RealEpisodes | None, n_draws: int) -> Standing:
    draws = draw(board, n_draws) if n_draws else None
    table = {spec: measure(board, row, draws) for spec, row in board.rows.items()}
    return Standing(
        board=board,
        table=table,
        coverage={spec: coverage(board, row) for spec, row in board.rows.items()},
        ceilings=ceilings(board),
        comparisons=tuple(compare(board, table, draws)) if main and draws else (),
        real=real,
        main=main,
    )


def median_of(values: np.ndarray) -> float | None:
    """Median of what is known; None where nothing is."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else None


def cost_seconds(row: Row) -> float | None:
    """Median seconds to fit plus median seconds to prepare for one policy and to judge it."""
    parts = [median_of(seconds) for seconds in (row.fit_seconds, row.prepare_seconds, row.estimate_seconds)]
    known = [x for x in parts if x is not None]
    return sum(known) if known else None
