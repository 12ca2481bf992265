"""Small multiples of the horizon curve: one panel per measure, one line per model."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bench.plots.style import RC, Margins, grid, legend_below, legend_height, new_figure, place, title
from studies._model_styles import REALITY, legend_columns, looks

PANELS = {
    "token_f1": "observation, token F1",
    "exact_match": "observation, exact matches\n[share]",
    "text_distance": "observation, distance in the\nfrozen encoder [1 - cosine]",
    "action_error": "action not recovered from the\ntwo observations [share]",
    "reward_error": "|error| of the step's reward\n[reward]",
    "return_error": "|error| of the reward so far\n[reward]",
    "termination_error": "over in one, not in the other\n[share of episodes]",
    "compared": "episodes that the model has\nnot ended too early [share]",
}
FEWEST = 5
"""Points of fewer episodes are left out of the figure."""
WIDTH = 10.5
"""Inches, about."""


def horizon_figure(task: str, found: Mapping[str, Any]) -> Figure | None:
    """The curve of one task; None where no model has a point.

    Args:
        found: what `studies.horizon` keeps of a task.
    """
    models = {name: entry["curves"] for name, entry in found["models"].items() if "curves" in entry}
    if not models:
        return None
    style = looks(list(models))
    handles = [style[name].handle for name in models]
    handles.append(Line2D([], [], color=REALITY, lw=1.4, ls="-", label="real pairs of observations"))
    columns = legend_columns(handles, WIDTH)
    below = legend_height(len(handles), columns)
    with matplotlib.rc_context(RC):
        figure = new_figure((2.1, 1.55), (2, 4), (0.48, 0.62), Margins(0.5, 0.15, 0.85, 0.62 + below))
        axes = figure.subplots(2, 4, sharex=True).ravel()
        for panel, (measure, text) in zip(axes, PANELS.items(), strict=True):
            for name, curves in models.items():
                _line(panel, curves[measure], style[name].style(3.2))
            if measure == "action_error":
                _line(panel, found["real_action_error"], {"color": REALITY, "lw": 1.4})
            panel.set_title(text, fontsize=8.5, linespacing=1.1, pad=4)
            _frame(panel, found["horizon"])
        width = figure.get_size_inches()[0]
        place(figure, width / 2, below + 0.12, "depth [actions since the first observation]", ha="center", va="bottom")
        title(figure, f"{task}: open loop under logged actions, from held-out first observations")
        note = f"{found['episodes']} held-out episodes, models of n = {found['n']:,}; bands: 95 % intervals, pointwise"
        place(figure, width / 2, -0.34, textwrap.fill(note, 120), ha="center", va="top", fontsize=8.5, color="#555555")
        legend_below(figure, handles, columns)
    return figure


def _line(panel: Axes, points: list[dict[str, float]], style: dict[str, object]) -> None:
    points = [p for p in points if p["episodes"] >= FEWEST]
    depth = [p["depth"] for p in points]
    low, mean, high = ([p[what] for p in points] for what in ("low", "mean", "high"))
    panel.fill_between(depth, low, high, color=style["color"], alpha=0.12, lw=0)
    panel.plot(depth, mean, markevery=max(1, len(depth) // 7), **style)


def _frame(panel: Axes, horizon: int) -> None:
    panel.set_xlim(0.6, horizon + 0.4)
    panel.set_ylim(0.0, min(panel.get_ylim()[1], 1.04))
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    grid(panel, "both")
    panel.tick_params(labelbottom=True)
