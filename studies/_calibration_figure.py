"""Simulated against real lengths and successes, and whether what the models say of ending and reward holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.plots.style import FAINT, RC, Margins, grid, legend_below, legend_height, new_figure, place, title
from studies._model_styles import Look, legend_columns, looks

LARGEST, SMALLEST = 11.0, 3.0
"""Of the markers of bins, points; the area stands for the number of steps."""
FEWEST = 5
"""Bins of fewer steps are left out of the figure."""
WIDTH = 9.4
"""Inches, about."""
HEAD_PANELS = {
    ("real", "ending"): "ending [probability],\nafter the real observation",
    ("generated", "ending"): "ending [probability],\nafter the model's own",
    ("real", "reward"): "reward of the step,\nafter the real observation",
    ("generated", "reward"): "reward of the step,\nafter the model's own",
}


def calibration_figure(task: str, found: Mapping[str, Any]) -> Figure:
    """The figure of one task.

    Args:
        found: what `studies.calibration` keeps of a task.
    """
    models = found["models"]
    style = looks(list(models))
    handles = [style[name].handle for name in models]
    handles.append(Line2D([], [], color=FAINT, lw=1.2, label="equal"))
    columns = legend_columns(handles, WIDTH)
    below = legend_height(len(handles), columns)
    with matplotlib.rc_context(RC):
        figure = new_figure((2.35, 2.2), (2, 3), (0.62, 0.85), Margins(0.55, 0.15, 0.85, 0.5 + below))
        axes = figure.subplots(2, 3)
        for name, entry in models.items():
            _targets(axes[0, 0], entry, style[name], "length")
            _targets(axes[1, 0], entry, style[name], "success")
        _frame(axes[0, 0], "episode length [steps]", "real", "simulated", (0, 1.04 * found["horizon"]))
        heading = f"success [share of episodes\nwith return >= {found['least']:g}]"
        _frame(axes[1, 0], heading, "real", "simulated", (-0.03, 1.03))
        for panel, ((kind, event), text) in zip(axes[:, 1:].T.ravel()[[0, 2, 1, 3]], HEAD_PANELS.items(), strict=True):
            _heads(panel, models, style, kind, event)
            frame = (-0.03, 1.03) if event == "ending" else None
            _frame(panel, text, "predicted", "happened", frame)
        width = figure.get_size_inches()[0]
        title(figure, f"{task}: what the models promise, and what happens")
        note = (
            f"left: one point per target policy; right: bins of at least {FEWEST} steps of {found['episodes']} "
            "held-out episodes, taken one at a time; area: number of steps"
        )
        place(figure, width / 2, -0.34, note, ha="center", va="top", fontsize=8.5, color="#555555")
        legend_below(figure, handles, columns)
    return figure


def _targets(panel: Axes, entry: Mapping[str, Any], look: Look, what: str) -> None:
    points = [x for x in entry["targets"].values() if "declined" not in x]
    style = look.style(4.5) | {"ls": "none"}
    panel.plot([x[f"real_{what}"] for x in points], [x[f"simulated_{what}"] for x in points], **style, alpha=0.85)


def _heads(panel: Axes, models: Mapping[str, Any], style: Mapping[str, Look], kind: str, event: str) -> None:
    for name, entry in models.items():
        said = entry["heads"].get(kind)
        if said is not None:
            found = [b for b in said[event]["bins"] if b["steps"] >= FEWEST]
            look = style[name].style(1.0)
            for b in found:  # area: how many steps
                size = LARGEST * (b["steps"] / max(x["steps"] for x in found)) ** 0.5
                where = ([b["predicted"]], [b["happened"]])
                panel.plot(*where, **(look | {"ls": "none", "ms": max(size, SMALLEST)}), alpha=0.7)


def _frame(panel: Axes, heading: str, xlabel: str, ylabel: str, limits: tuple[float, float] | None) -> None:
    """The same range on both axes, and the line on which they are equal."""
    panel.set_title(heading, fontsize=8.5, linespacing=1.1, pad=4)
    panel.set(xlabel=xlabel, ylabel=ylabel)
    if limits is None:
        low, high = (f(*panel.get_xlim(), *panel.get_ylim()) for f in (min, max))
        limits = (low, high)
    panel.plot(limits, limits, color=FAINT, lw=1.2, zorder=0)
    panel.set(xlim=limits, ylim=limits)
    panel.locator_params(nbins=5)
    grid(panel, "both")
