"""Two numbers per estimator in one plane: what it costs against how it errs, how wide against how often right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.plots.panels import decades
from bench.plots.style import INK, RC, Margins, color, grid, label, marker, new_figure, text_width, title
from bench.scoring import Standing, cost_seconds


@dataclass(frozen=True)
class Spot:
    """One estimator in a plane.

    Attributes:
        whole: it has all cells of its board; others are drawn hollow.
        on_gpu: some of its training was done on a GPU, so that its seconds are not those of a CPU.
    """

    spec: str
    family: str
    x: float
    y: float
    whole: bool = True
    on_gpu: bool = False

    @property
    def name(self) -> str:
        """As the key has it."""
        return label(self.spec, ": ") + (" (GPU)" if self.on_gpu else "")

    @property
    def look(self) -> dict[str, Any]:
        """Its marker."""
        shade = color(self.family)
        face = {} if self.whole else {"markerfacecolor": "white", "markeredgecolor": shade, "markeredgewidth": 1.2}
        return {"marker": marker(self.family), "color": shade, "linestyle": "none"} | face


def cost_figure(standing: Standing) -> Figure | None:
    """Error against seconds, with the line of those that nobody beats in both; None without timings.

    The line is drawn through complete rows that were trained on a CPU: others do not compare.
    """
    span = standing.board.span or 1.0
    spots = []
    for spec in standing.order:
        row, mae = standing.board.rows[spec], standing.table[spec]["mae"].value
        seconds = cost_seconds(row)
        if seconds is not None and mae:
            whole, on_gpu = standing.complete(spec), bool(row.on_gpu.any())
            spots.append(Spot(spec, row.family, max(seconds, 1e-4), mae / span, whole, on_gpu))
    if not spots:
        return None
    with matplotlib.rc_context(RC):
        line = Line2D([], [], color=INK, lw=0.9, label="none is both cheaper and better (complete, no GPU)")
        figure, axes = _plane(spots, f"{standing.board.label}: cost and error", line)
        best = _undominated([s for s in spots if s.whole and not s.on_gpu])
        axes.step([s.x for s in best], [s.y for s in best], where="post", color=INK, lw=0.9, zorder=1)
        decades(axes, "x", min(s.x for s in spots) / 2, max(s.x for s in spots) * 2.5)
        decades(axes, "y", min(s.y for s in spots) / 1.7, max(s.y for s in spots) * 1.7)
        axes.set_xlabel("seconds to fit and to judge one policy (medians)")
        axes.set_ylabel("mean absolute error / range of true values")
        _number(axes, spots)
        return figure


def interval_figure(standing: Standing) -> Figure | None:
    """Coverage against width of the 95 % intervals; None where no interval describes the error of an estimate."""
    span = standing.board.span or 1.0
    spots = []
    for spec in standing.order:
        found = standing.coverage[spec]
        if found.share is not None and found.width:
            whole = standing.complete(spec)
            spots.append(Spot(spec, standing.board.rows[spec].family, found.width / span, found.share, whole))
    if not spots:
        return None
    with matplotlib.rc_context(RC):
        line = Line2D([], [], color=INK, lw=0.9, linestyle=(0, (2, 2)), label="nominal 95 %")
        figure, axes = _plane(spots, f"{standing.board.label}: width and coverage of 95 % intervals", line)
        axes.axhline(0.95, color=INK, lw=0.9, linestyle=(0, (2, 2)), zorder=1)
        decades(axes, "x", min(s.x for s in spots) / 1.5, max(s.x for s in spots) * 1.7)
        axes.set(xlabel="mean width of the interval / range of true values", ylim=(-0.06, 1.08))
        axes.set_ylabel("share of intervals that hold the true value")
        _number(axes, spots)
        return figure


def _undominated(spots: Sequence[Spot]) -> list[Spot]:
    """By rising cost, those with a smaller error than all cheaper ones."""
    found: list[Spot] = []
    for spot in sorted(spots, key=lambda s: (s.x, s.y)):
        if not found or spot.y < found[-1].y:
            found.append(spot)
    return found


def _plane(spots: Sequence[Spot], heading: str, line: Line2D) -> tuple[Figure, Axes]:
    """The spots, and the key on the right, numbered as they are."""
    key = [Line2D([], [], **s.look, markersize=6, label=f"{i}  {s.name}") for i, s in enumerate(spots, 1)]
    if not all(s.whole for s in spots):
        hollow = Spot("", "other", 0, 0, whole=False).look | {"color": INK, "markeredgecolor": INK}
        key.append(Line2D([], [], **hollow, markersize=6, label="hollow: cells are missing or declined"))
    aside = text_width([entry.get_label() for entry in [*key, line]], 7.5) + 0.75
    figure = new_figure((4.7, max(3.2, 0.168 * len(spots) + 0.3)), (1, 1), (0, 0), Margins(0.75, aside, 0.5, 0.55))
    axes = figure.subplots()
    for spot in spots:
        edge = {"markeredgecolor": "white", "markeredgewidth": 0.5}
        axes.plot(spot.x, spot.y, **(edge | spot.look), markersize=7, zorder=3)
    grid(axes, "both")
    axes.legend(
        handles=[*key, line],
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        frameon=False,
        fontsize=7.5,
        labelspacing=0.35,
    )
    title(figure, heading)
    return figure, axes


def _number(axes: Axes, spots: Sequence[Spot]) -> None:
    """Writes each number beside its spot, at the first of sixteen places that is free of spots and other numbers."""
    scale = axes.figure.dpi / 72
    at = axes.transData.transform([(s.x, s.y) for s in spots]) / scale  # points
    taken = [*at]
    angles = np.deg2rad([0, 90, 180, 270, 45, 135, 225, 315])
    offsets = [r * np.array([np.cos(a), np.sin(a)]) for r in (10.0, 18.0) for a in angles]
    for i, spot in enumerate(spots):
        distance = [
            min(np.abs((at[i] + o - t) / (10, 8)).max() for j, t in enumerate(taken) if j != i)
            if len(taken) > 1
            else 9.0
            for o in offsets
        ]
        free = [k for k, d in enumerate(distance) if d >= 1]
        offset = offsets[free[0] if free else int(np.argmax(distance))]
        taken.append(at[i] + offset)
        axes.annotate(
            str(i + 1),
            (spot.x, spot.y),
            xytext=offset,
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=7.5,
        )
