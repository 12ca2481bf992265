"""A grid of small panels, one per estimator, that share their axes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.plots.style import Margins, grid, label, legend_below, legend_height, new_figure, place, title

COLUMNS = 5
LEGEND_COLUMNS = 4


def small_multiples(
    specs: Sequence[str], heading: str, xlabel: str, ylabel: str, handles: Sequence[object]
) -> tuple[Figure, list[Axes]]:
    """One titled panel for each spec, in reading order, without empty frames; labels and legend stand outside.

    Args:
        handles: entries of the legend.
    """
    columns = max(min(COLUMNS, len(specs)), 3)  # room for the heading
    rows = math.ceil(len(specs) / columns)
    below = legend_height(len(handles), LEGEND_COLUMNS)
    figure = new_figure((1.75, 1.5), (rows, columns), (0.16, 0.42), Margins(0.75, 0.15, 0.78, 0.62 + below))
    panels = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel())
    for axes in panels[len(specs) :]:
        axes.set_visible(False)
    for i, (axes, spec) in enumerate(zip(panels, specs, strict=False)):
        name = textwrap.fill(label(spec, separator=": "), 30)
        axes.set_title(name, fontsize=7.5, linespacing=1.1, pad=3, y=1.0)  # y: searching for it takes a while
        grid(axes, "both")
        axes.tick_params(labelbottom=i + columns >= len(specs))
    width, height = figure.get_size_inches()
    place(figure, width / 2, below + 0.12, xlabel, ha="center", va="bottom", fontsize=9)
    place(figure, 0.12, (height + below - 0.2) / 2, ylabel, ha="left", va="center", rotation=90, fontsize=9)
    title(figure, heading)
    legend_below(figure, handles, LEGEND_COLUMNS)
    return figure, panels[: len(specs)]


def decades(axes: Axes, axis: str, low: float, high: float) -> None:
    """A logarithmic axis with a tick at each power of ten (1, 2, 5 within less than two of them) and none between."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1,) if high / low > 100 else (1, 2, 5)
    ticks = [s * 10.0**e for e in exponents for s in steps if low <= s * 10.0**e <= high]
    axes.set(**{f"{axis}scale": "log", f"{axis}lim": (low, high)})
    axes.minorticks_off()
    axes.set(**{f"{axis}ticks": ticks, f"{axis}ticklabels": [np.format_float_positional(t, trim="-") for t in ticks]})
