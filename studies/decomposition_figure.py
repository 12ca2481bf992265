"""Differences of errors with their intervals, board by board and step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.plots.style import COLORS, INK, RC, Margins, grid, new_figure, text_width, title

WORSE, BETTER, OPEN = COLORS["importance weighting"], COLORS["world model"], "#8a8a8a"


def decomposition_figure(answers: Sequence[Mapping[str, Any]], steps: Sequence[str]) -> Figure:
    """One panel per step, one line per board: what the step adds to the error, as a share of the range.

    Args:
        answers: what `studies.decomposition.board_answer` found on each board.
        steps: their names, in order.
    """
    with matplotlib.rc_context(RC):
        names = [f"{a['task']}, {a['log']}" for a in answers]
        margins = Margins(text_width(names, 8) + 0.3, 0.2, 0.8, 0.6)
        figure = new_figure((1.5, 0.26 * len(names) + 0.2), (1, len(steps)), (0.2, 0.0), margins)
        panels = figure.subplots(1, len(steps), sharex=True, sharey=True, squeeze=False)[0]
        for k, (axes, step) in enumerate(zip(panels, steps, strict=True)):
            axes.set_title(step, pad=5, y=1.0)
            for y, answer in enumerate(answers):
                _line(axes, y, answer["steps"][k])
            axes.axvline(0, color=INK, lw=0.9, zorder=0)
            grid(axes, "x")
            axes.tick_params(axis="y", length=0)
        panels[0].set_ylim(len(names) - 0.4, -0.6)
        panels[0].set_yticks(range(len(names)), names)
        figure.supxlabel(
            "what the step adds to mean absolute error / range of true values (left of 0: better)", fontsize=8
        )
        title(figure, "Where the error comes from")
        return figure


def _line(axes: Axes, y: int, step: Mapping[str, Any]) -> None:
    if not step["cells"]:
        where = ("axes fraction", "data")
        axes.annotate("no cells", (0.5, y), xycoords=where, ha="center", va="center", fontsize=7, style="italic")
        return
    sure = WORSE if step["low"] > 0 else BETTER if step["high"] < 0 else OPEN
    axes.plot([step["low"], step["high"]], [y, y], color=sure, lw=1.6, solid_capstyle="butt")
    axes.plot(step["difference"], y, "o", color=sure, ms=4.5)
