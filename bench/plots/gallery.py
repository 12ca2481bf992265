"""Which figures a report holds, by file name."""

from __future__ import annotations

from collections.abc import Iterator

from matplotlib.figure import Figure

from bench.plots.forest import error_figure, ranking_figure
from bench.plots.overlap import overlap_figure
from bench.plots.overview import overview_figure
from bench.plots.planes import cost_figure, interval_figure
from bench.plots.size import size_figure
from bench.plots.survival import survival_figure
from bench.plots.truth import truth_figure
from bench.scoring import Scores


def figures(scores: Scores) -> Iterator[tuple[str, Figure]]:
    """All figures that the scored cells allow, one at a time."""
    yield "overview", overview_figure(scores)
    survival = survival_figure(scores)
    if survival is not None:
        yield "overlap", survival
    for task in scores.tasks:
        yield f"error_{task}", error_figure(scores, task)
        yield f"ranking_{task}", ranking_figure(scores, task)
    for standing in scores.main:
        where = f"{standing.board.task}_{standing.board.log}"
        drawn = {
            "truth": truth_figure(standing),
            "size": size_figure(scores, standing.board.task, standing.board.log),
            "overlap": overlap_figure(standing),
            "intervals": interval_figure(standing),
            "cost": cost_figure(standing),
        }
        yield from ((f"{kind}_{where}", figure) for kind, figure in drawn.items() if figure)
