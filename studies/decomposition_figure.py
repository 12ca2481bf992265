"""Differences of errors with their intervals, board by board and step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.plots.style import INK, RC, Margins, grid, legend_below, legend_height, new_figure, place, text_width, title
from bench.tables import PARTIAL

COLUMNS = 4
"""Panels in a row."""
CLEAR, OPEN = INK, "#9a9a9a"
"""Colors of differences that are told apart from 0 and of those that are not: families have others."""
LEVEL = 0.05
"""Of adjusted p-values."""


def decomposition_figure(answers: Sequence[Mapping[str, Any]], steps: Sequence[str]) -> Figure:
    """One panel per step, one line per board: what the step adds to the error, as a share of the range.

    Args:
        answers: what `studies.decomposition.board_answer` found on each board.
        steps: their names, in order.
    """
    with matplotlib.rc_context(RC):
        names = [f"{a['task']}, {a['log']}" + ("" if a["cells"] == a["expected"] else f" {PARTIAL}") for a in answers]
        margins = Margins(text_width(names, 8) + 0.3, 0.2, 0.8, 0.75 + legend_height(2, 2))
        columns = min(COLUMNS, len(steps))
        shape = (-(-len(steps) // columns), columns)
        figure = new_figure((1.5, 0.26 * len(names) + 0.2), shape, (0.2, 0.35), margins)
        panels = figure.subplots(*shape, sharex=True, sharey=True, squeeze=False).ravel()
        for axes in panels[len(steps) :]:
            axes.set_visible(False)
        for k, (axes, step) in enumerate(zip(panels, steps, strict=False)):
            axes.set_title(step, pad=5, y=1.0)
            for y, answer in enumerate(answers):
                _line(axes, y, answer["steps"][k])
            axes.axvline(0, color=INK, lw=0.9, zorder=0)
            grid(axes, "x")
            axes.tick_params(axis="y", length=0)
            axes.tick_params(axis="x", labelbottom=k + columns >= len(steps))  # the lowest of its column
        panels[0].set_ylim(len(names) - 0.4, -0.6)
        panels[0].set_yticks(range(len(names)), names)
        words = "what the step adds to mean absolute error / range of true values (left of 0: better)"
        width = figure.get_size_inches()[0]
        place(figure, width / 2, legend_height(2, 2) + 0.12, words, ha="center", va="bottom", fontsize=8)
        title(figure, "Where the error comes from")
        handles = [
            Line2D([], [], color=CLEAR, marker="o", ms=4.5, lw=1.6, label="told apart from 0 (Holm, 5 %)"),
            Line2D([], [], color=OPEN, marker="o", ms=4.5, lw=1.6, mfc="white", label="not told apart"),
        ]
        legend_below(figure, handles, 2)
        return figure


def _line(axes: Axes, y: int, step: Mapping[str, Any]) -> None:
    if not step["cells"]:
        where = ("axes fraction", "data")
        axes.annotate("no cells", (0.5, y), xycoords=where, ha="center", va="center", fontsize=7, style="italic")
        return
    sure = step["p_holm"] < LEVEL
    shade = CLEAR if sure else OPEN
    axes.plot([step["low"], step["high"]], [y, y], color=shade, lw=1.6, solid_capstyle="butt")
    axes.plot(step["difference"], y, "o", color=shade, ms=4.5, mfc=shade if sure else "white")
