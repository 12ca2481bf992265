"""One line per estimator, one panel per log: error and rank correlation, each with its interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench.inference import constant_seeds
from bench.plots.panels import decades
from bench.plots.style import (
    BAND,
    INK,
    RC,
    Margins,
    color,
    family_handles,
    grid,
    label,
    legend_below,
    legend_height,
    marker,
    new_figure,
    text_width,
    title,
)
from bench.reference import SHOWN
from bench.scoring import Scores, Standing

Point = tuple[float, float | None, float | None]
"""Value and interval."""
LOG_FROM = 8.0
"""Errors that exceed their median by more than this factor make the axis logarithmic."""
BEYOND = 15.0
"""Errors that exceed their median by more than this factor are written on the edge of the axis."""


def error_figure(scores: Scores, task: str) -> Figure:
    """Mean absolute error of every estimator, with the error of m real episodes as reference lines."""
    line = Line2D([], [], color=INK, linestyle=(0, (2, 2)), lw=0.9, label="error of m real episodes")
    with matplotlib.rc_context(RC):
        standings, specs = _of_task(scores, task)
        figure, panels = _panels(standings, specs, f"{task}: error", [line])
        for axes, standing in zip(panels, standings, strict=True):
            found = {spec: _over_span(standing, spec) for spec in specs if spec in standing.table}
            _error_axis(axes, [p[0] for p in found.values() if p])
            _real_episodes(axes, standing)
            _dots(axes, standing, specs, found.get)
            axes.set_xlabel("mean absolute error / range of true values")
        return figure


def ranking_figure(scores: Scores, task: str) -> Figure:
    """Spearman's rank correlation of every estimator, and the band a perfect one would fall into."""
    band = Patch(color=BAND, label="perfect estimator, given the noise of the truth")
    with matplotlib.rc_context(RC):
        standings, specs = _of_task(scores, task)
        figure, panels = _panels(standings, specs, f"{task}: rank correlation", [band])
        for axes, standing in zip(panels, standings, strict=True):
            ceiling = standing.ceilings["spearman"]
            if ceiling:
                axes.axvspan(ceiling.low, ceiling.high, color=BAND, lw=0)
                axes.axvline(ceiling.value, color=INK, lw=0.9)
            axes.axvline(0, color="#888888", lw=0.7)
            axes.set_xlim(-1.04, 1.04)
            axes.set_xticks([-1, -0.5, 0, 0.5, 1])
            _dots(axes, standing, specs, lambda spec, s=standing: _measured(s, spec, "spearman"), _without_order)
            axes.set_xlabel("Spearman rank correlation with the truth")
        return figure


def _without_order(standing: Standing, spec: str) -> str:
    return "undefined (constant)" if constant_seeds(standing.board.rows[spec]) else "too few estimates"


def _of_task(scores: Scores, task: str) -> tuple[list[Standing], list[str]]:
    """The boards of a task and its estimators, in the order of the first board."""
    standings = [s for s in scores.main if s.board.task == task]
    return standings, list(dict.fromkeys(spec for s in standings for spec in s.order))


def _panels(
    standings: Sequence[Standing], specs: Sequence[str], heading: str, notes: Sequence[object]
) -> tuple[Figure, list[Axes]]:
    """One panel per board, one line per estimator, and the legend of both."""
    families = {spec: row.family for s in standings for spec, row in s.board.rows.items()}
    hollow = Line2D(
        [],
        [],
        color="#888888",
        marker="o",
        markerfacecolor="white",
        linestyle="none",
        label="hollow: cells are missing",
    )
    partial = [hollow] if any(not s.complete(spec) for s in standings for spec in s.table) else []
    handles, columns = [*family_handles(families.values()), *notes, *partial], 3 if len(standings) == 1 else 4
    labels = [label(spec, separator=": ") for spec in specs]
    margins = Margins(text_width(labels, 8) + 0.3, 0.2, 0.85, 0.5 + legend_height(len(handles), columns))
    figure = new_figure((3.1, 0.26 * len(specs) + 0.1), (1, len(standings)), (0.25, 0.0), margins)
    panels = list(figure.subplots(1, len(standings), sharey=True, squeeze=False)[0])
    for axes, standing in zip(panels, standings, strict=True):
        axes.set_title(f"{standing.board.log} log, n = {standing.board.n:,}", pad=13, y=1.0)
        grid(axes, "x")
        axes.tick_params(axis="y", length=0)
    panels[0].set_ylim(len(specs) - 0.4, -0.6)
    panels[0].set_yticks(range(len(specs)), labels)
    title(figure, heading)
    legend_below(figure, handles, columns)
    return figure, panels


def _measured(standing: Standing, spec: str, name: str) -> Point | None:
    measured = standing.table[spec][name]
    return None if measured.value is None else (measured.value, measured.low, measured.high)


def _over_span(standing: Standing, spec: str) -> Point | None:
    point = _measured(standing, spec, "mae")
    span = standing.board.span or 1.0
    return None if point is None else tuple(None if x is None else x / span for x in point)


def _error_axis(axes: Axes, values: Sequence[float]) -> None:
    """Logarithmic where the values differ by orders of magnitude, from zero otherwise; the largest may lie beyond."""
    known = np.array([v for v in values if v > 0])
    if not len(known):
        return
    top = min(known.max() * 1.3, BEYOND * float(np.median(known)))
    if top > LOG_FROM * np.median(known):
        decades(axes, "x", known.min() / 2.2, top)
    else:
        axes.set_xlim(0.0, top)


def _real_episodes(axes: Axes, standing: Standing) -> None:
    errors = standing.real.mae(standing.board.policies) if standing.real else ()
    labeled: list[float] = []
    for m in SHOWN:
        if m > len(errors):
            continue
        x = float(errors[m - 1]) / (standing.board.span or 1.0)
        place = axes.transAxes.inverted().transform(axes.transData.transform((x, 0)))[0]
        if 0 < place < 1 and all(abs(place - other) > 0.04 for other in labeled):  # labels of closer ones would overlap
            labeled.append(place)
            axes.axvline(x, color=INK, lw=0.9, linestyle=(0, (2, 2)), zorder=1)
            axes.annotate(
                str(m),
                (x, 1),
                xycoords=("data", "axes fraction"),
                xytext=(0, 1),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=7.5,
                color=INK,
            )


def _dots(
    axes: Axes,
    standing: Standing,
    specs: Sequence[str],
    point: Callable[[str], Point | None],
    undefined: Callable[[Standing, str], str] = lambda standing, spec: "no estimate",
) -> None:
    """A dot and an interval for each estimator; a word where there is no number; hollow where cells are missing.

    An interval that goes on beyond the frame ends in an arrowhead on it.
    """
    for y, spec in enumerate(specs):
        found = point(spec) if spec in standing.table else None
        if found is None:
            text = undefined(standing, spec) if spec in standing.table and standing.count(spec) else "no estimate"
            axes.annotate(
                text,
                (0.02, y),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=7.5,
                color="#777777",
                style="italic",
            )
            continue
        shade = color(standing.board.rows[spec].family)
        value, low, high = found
        left, right = axes.get_xlim()
        if value > right:
            axes.annotate(
                f"{value:.2g} \N{RIGHTWARDS ARROW}",
                (0.99, y),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="center",
                fontsize=8,
                color=INK,
            )
            continue
        if low is not None and high is not None:
            axes.plot([max(low, left), min(high, right)], [y, y], color=shade, lw=1.6, solid_capstyle="butt", zorder=2)
            if high > right:
                axes.plot(right, y, marker=">", markersize=4.5, color=shade, clip_on=False, zorder=3)
        axes.plot(
            value,
            y,
            marker=marker(standing.board.rows[spec].family),
            markersize=6.5,
            color=shade,
            markerfacecolor=shade if standing.complete(spec) else "white",
            zorder=3,
            clip_on=False,
        )
    for y in range(len(specs)):
        axes.axhline(y, color="#F0F0F0", lw=0.6, zorder=0)
