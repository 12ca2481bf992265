"""Bars of the ablation: the error of every variant, and a line where the kernel stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench.plots.style import (
    COLORS,
    INK,
    RC,
    Margins,
    color,
    grid,
    legend_below,
    legend_height,
    new_figure,
    text_width,
    title,
)
from studies.ablation_table import why_empty

KERNEL = "kernel of the same training"
FAINT = 0.4
"""Opacity of bars over fewer cells than the board has."""


def ablation_figure(answers: Sequence[Mapping[str, Any]]) -> Figure:
    """One panel per board, one bar per variant, in the order of the ablation.

    Args:
        answers: what `studies.ablation_table.board_answer` found on each board.
    """
    with matplotlib.rc_context(RC):
        names = [row["variant"] for row in answers[0]["variants"]]
        present = {row["family"] for answer in answers for row in answer["variants"] if row["cells"]}
        families = [family for family in COLORS if family in present]
        handles = [*(Patch(color=color(f), label=f) for f in families)]
        handles.append(Line2D([], [], color=INK, linestyle=(0, (2, 2)), lw=0.9, label=KERNEL))
        if any(0 < row["cells"] < row["expected"] for answer in answers for row in answer["variants"]):
            handles.append(Patch(color=INK, alpha=FAINT, label="pale: cells are missing"))
        below = legend_height(len(handles), 3)
        margins = Margins(text_width(names, 8) + 0.3, 0.2, 0.65, 0.5 + below)
        figure = new_figure((2.8, 0.28 * len(names) + 0.1), (1, len(answers)), (0.25, 0.0), margins)
        panels = figure.subplots(1, len(answers), sharey=True, squeeze=False)[0]
        for axes, answer in zip(panels, answers, strict=True):
            axes.set_title(f"{answer['task']}: {answer['log']} log, n = {answer['n']:,}", pad=5, y=1.0)
            _bars(axes, answer)
        panels[0].set_ylim(len(names) - 0.4, -0.6)
        panels[0].set_yticks(range(len(names)), names)
        title(figure, "Ablation")
        legend_below(figure, handles, 3)
        return figure


def _bars(axes: Axes, answer: Mapping[str, Any]) -> None:
    span = answer["range"] or 1.0
    for y, row in enumerate(answer["variants"]):
        if not row["cells"]:
            where = ("axes fraction", "data")
            axes.annotate(why_empty(row), (0.02, y), xycoords=where, va="center", fontsize=7.5, style="italic")
            continue
        mae = row["mae"]
        complete = row["cells"] == row["expected"]
        axes.barh(y, mae["value"] / span, height=0.62, color=color(row["family"]), alpha=1.0 if complete else FAINT)
        if mae["low"] is not None:
            axes.plot([mae["low"] / span, mae["high"] / span], [y, y], color=INK, lw=1.2, solid_capstyle="butt")
    for spec in dict.fromkeys(row["compared_with"]["kernel"] for row in answer["variants"]):
        _kernel_line(axes, answer["variants"], spec, span)
    axes.set_xlim(left=0.0)
    grid(axes, "x")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("mean absolute error / range of true values")


def _kernel_line(axes: Axes, rows: Sequence[Mapping[str, Any]], kernel: str, span: float) -> None:
    """Where a control stands, along the rows that are compared with it."""
    places = [y for y, row in enumerate(rows) if row["compared_with"]["kernel"] == kernel]
    control = next(row for row in rows if row["estimator"] == kernel)
    if control["cells"]:
        x = control["mae"]["value"] / span
        y = [min(places) - 0.45, max(places) + 0.45]
        axes.plot([x, x], y, color=INK, lw=0.9, linestyle=(0, (2, 2)), zorder=3)
