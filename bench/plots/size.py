"""Error against log size, one panel per estimator over all the others."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench.plots.panels import decades, small_multiples
from bench.plots.style import BAND, RC, color, family_handles, marker
from bench.scoring import Scores, Standing

BEYOND = 30.0
"""The frame ends at this multiple of the median error."""
Curve = list[tuple[int, float, float | None, float | None]]


def size_figure(scores: Scores, task: str, log: str) -> Figure | None:
    """Error against log size, each estimator over all the others; None where a log was used in one size only."""
    standings = [s for s in scores.standings if (s.board.task, s.board.log) == (task, log) and s.board.span > 0]
    curves = _curves(standings)
    if len(standings) < 2 or not curves:
        return None
    main = next((s for s in standings if s.main), standings[-1])
    order = [spec for spec in main.order if spec in curves] + sorted(set(curves) - set(main.order))
    values = np.array([y for curve in curves.values() for _, y, _, _ in curve])
    low, high = values.min() / 1.6, min(values.max() * 1.6, BEYOND * float(np.median(values)))
    others = Line2D([], [], color="#CCCCCC", lw=1, label="all other estimators")
    band = Patch(color=BAND, label="95 % interval")
    handles = [*family_handles(scores.families[spec] for spec in curves), band, others]
    heading = f"{task}, {log} log: error against log size"
    with matplotlib.rc_context(RC):
        figure, panels = small_multiples(
            order, heading, "logged episodes", "mean absolute error / range of true values", handles
        )
        for axes, spec in zip(panels, order, strict=True):
            for other in curves.values():
                axes.plot([x for x, *_ in other], [y for _, y, *_ in other], color="#DDDDDD", lw=0.7, zorder=1)
            _curve(axes, scores.families[spec], curves[spec], low)
            if min(y for _, y, *_ in curves[spec]) > high:
                axes.text(
                    0.5,
                    0.95,
                    "above the frame",
                    transform=axes.transAxes,
                    ha="center",
                    va="top",
                    fontsize=7.5,
                    style="italic",
                )
            decades(axes, "y", low, high)
            sizes = [s.board.n for s in standings]
            axes.set(xscale="log", xlim=(sizes[0] / 1.15, sizes[-1] * 1.15))
            axes.minorticks_off()
            axes.set_xticks(sizes, [f"{n:,}" for n in sizes])
        return figure


def _curves(standings: Sequence[Standing]) -> dict[str, Curve]:
    """(n, error, low, high) of every estimator that has all cells at two sizes or more; partial points are left out."""
    curves: dict[str, Curve] = {}
    for standing in standings:
        for spec, scores in standing.table.items():
            mae, span = scores["mae"], standing.board.span
            if mae.value and standing.complete(spec):
                bounds = (None if x is None else x / span for x in (mae.low, mae.high))
                curves.setdefault(spec, []).append((standing.board.n, mae.value / span, *bounds))
    return {spec: curve for spec, curve in curves.items() if len(curve) > 1}


def _curve(axes: Axes, family: str, curve: Curve, floor: float) -> None:
    x, y = [c[0] for c in curve], np.array([c[1] for c in curve])
    low, high = (np.array([v if c[k] is None else c[k] for c, v in zip(curve, y, strict=True)]) for k in (2, 3))
    axes.fill_between(x, np.maximum(low, floor), high, color=color(family), alpha=0.18, lw=0)
    axes.plot(x, y, color=color(family), lw=1.6, marker=marker(family), markersize=4.5, zorder=3)
