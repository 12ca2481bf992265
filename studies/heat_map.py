"""Grids of numbers over two scales of guidance, drawn as heat maps that can be read without color."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.plots.style import RC, Margins, new_figure, place, title

CMAP = "cividis_r"
"""Even in lightness: dark is large, in print and for every color vision."""


def heat_maps(
    grids: Mapping[str, np.ndarray], omegas: Sequence[float], etas: Sequence[float], heading: str, unit: str
) -> Figure:
    """One panel per grid, each number written in its cell, a dash where there is none; one scale of colors for all.

    Args:
        grids: title of a panel to (len(omegas), len(etas)) numbers, NaN where there is none.
        unit: what the numbers are.
    """
    with matplotlib.rc_context(RC):
        shape = (1, max(len(grids), 1))
        panel = (0.62 * len(etas) + 0.2, 0.42 * len(omegas) + 0.1)
        wide = max(panel[0], 2.3)  # room for the titles
        figure = new_figure((wide, panel[1]), shape, (0.35, 0.0), Margins(0.65, 0.25, 0.6, 0.72))
        panels = figure.subplots(*shape, sharey=True, squeeze=False)[0]
        everything = np.concatenate([grid.ravel() for grid in grids.values()]) if grids else np.zeros(0)
        known = everything[np.isfinite(everything)]
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
        for axes, (name, grid) in zip(panels, grids.items(), strict=True):
            axes.set_title(name, pad=5, y=1.0)
            _heat_map(axes, grid, omegas, etas, low, high)
        panels[0].set_ylabel("omega (action)")
        width = figure.get_size_inches()[0]
        place(figure, width / 2, 0.08, unit, ha="center", va="bottom", fontsize=8)
        title(figure, heading)
        return figure


def _heat_map(
    axes: Axes, grid: np.ndarray, omegas: Sequence[float], etas: Sequence[float], low: float, high: float
) -> None:
    drawn = np.ma.masked_invalid(grid)
    axes.imshow(drawn, cmap=CMAP, vmin=low, vmax=high if high > low else low + 1.0, aspect="auto", origin="lower")
    for (i, j), value in np.ndenumerate(grid):
        dark = np.isfinite(value) and high > low and (value - low) / (high - low) > 0.55
        text = f"{value:.3f}" if np.isfinite(value) else "–"
        axes.text(j, i, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    axes.set_xticks(range(len(etas)), [f"{x:g}" for x in etas])
    axes.set_yticks(range(len(omegas)), [f"{x:g}" for x in omegas])
    axes.set_xlabel("eta (continuation)")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
