"""Every estimate against the true value, one panel per estimator."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from scipy.stats import norm

from bench.plots.panels import small_multiples
from bench.plots.style import BAND, INK, RC, color, family_handles, marker
from bench.scoring import Standing

Z95 = float(norm.ppf(0.975))
DOTTED = (0, (1, 1.2))


def truth_figure(standing: Standing) -> Figure | None:
    """Estimates with their intervals over the band of a perfect estimator; None without any estimate.

    What lies outside the frame is drawn on its edge and counted.
    """
    specs = [spec for spec in standing.order if standing.count(spec)]
    if not specs:
        return None
    heading = f"{standing.board.label}: estimate against truth"
    families = [standing.board.rows[spec].family for spec in specs]
    band = Patch(color=BAND, label="perfect estimator: 95 % noise of the measured truth")
    edge = Line2D([], [], color=INK, marker="^", markersize=5, linestyle="none", label="outside the frame")
    dotted = Line2D([], [], color=INK, lw=0.8, linestyle=DOTTED, label="interval of the simulation alone")
    simulating = any(standing.board.rows[spec].simulation_only for spec in specs)
    handles = [*family_handles(families), *([] if standing.board.exact else [band]), edge]
    handles += [dotted] if simulating else []
    with matplotlib.rc_context(RC):
        figure, panels = small_multiples(specs, heading, "true value (mean return)", "estimate (mean return)", handles)
        low, high = _frame(standing)
        panels[0].set(xlim=(low, high), ylim=(low, high))
        panels[0].xaxis.set_major_locator(MaxNLocator(4))
        panels[0].yaxis.set_major_locator(MaxNLocator(4))
        for axes, spec in zip(panels, specs, strict=True):
            _band(axes, standing, low, high)
            outside = _estimates(axes, standing, spec, low, high)
            missing = standing.board.n_expected - standing.count(spec)
            words = [f"{outside} outside" if outside else "", f"{missing} missing" if missing else ""]
            _remark(axes, "\n".join(filter(None, words)), standing, spec)
        return figure


def _remark(axes: Axes, text: str, standing: Standing, spec: str) -> None:
    """A few words in the corner that the estimates leave free: below the line, or above it where most are too low."""
    row = standing.board.rows[spec]
    above = float(np.nanmedian(row.value - standing.board.truth)) < 0
    place = dict(ha="left", va="top") if above else dict(ha="right", va="bottom")
    x, y = (0.03, 0.97) if above else (0.97, 0.03)
    axes.text(x, y, text, transform=axes.transAxes, fontsize=7, color="#555555", **place)


def _frame(standing: Standing) -> tuple[float, float]:
    """Limits of both axes: the true values with half as much room again on either side."""
    board = standing.board
    margin = 0.5 * board.span or 0.5
    return float(board.truth.min() - margin), float(board.truth.max() + margin)


def _band(axes: Axes, standing: Standing, low: float, high: float) -> None:
    half = Z95 * float(np.sqrt((standing.board.stderr**2).mean()))
    axes.fill_between([low, high], [low - half, high - half], [low + half, high + half], color=BAND, lw=0)
    axes.plot([low, high], [low, high], color=INK, lw=0.8)


def _estimates(axes: Axes, standing: Standing, spec: str, low: float, high: float) -> int:
    """Draws the cells of one estimator; returns how many estimates lie outside the frame."""
    row = standing.board.rows[spec]
    truth = np.broadcast_to(standing.board.truth, row.value.shape)[row.done]
    value, bottom, top = (x[row.done] for x in (row.value, row.low, row.high))
    inside = (value >= low) & (value <= high)
    shade = color(row.family)
    style = DOTTED if row.simulation_only else "solid"
    lines = {"color": shade, "lw": 0.8, "alpha": 0.45, "linestyle": style}
    axes.vlines(truth, np.clip(bottom, low, high), np.clip(top, low, high), **lines)
    axes.plot(
        truth[inside],
        value[inside],
        marker=marker(row.family),
        markersize=4,
        markeredgewidth=0,
        linestyle="none",
        color=shade,
    )
    for beyond, edge, shape in ((value > high, high, "^"), (value < low, low, "v")):
        axes.plot(
            truth[beyond],
            np.full(beyond.sum(), edge),
            marker=shape,
            markersize=4.5,
            linestyle="none",
            color=shade,
            markeredgecolor=INK,
            markeredgewidth=0.4,
            clip_on=False,
            zorder=4,
        )
    return int((~inside).sum())
