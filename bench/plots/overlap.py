"""Error against overlap: every cell at the share of the log that its importance weights leave in effect."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from bench.plots.panels import decades, small_multiples
from bench.plots.style import RC, color, family_handles, marker
from bench.scoring import Standing

SMALLEST, LARGEST = 1e-3, 10.0
"""Errors below this share of the range, and above `LARGEST`, are drawn here, to keep the axis short."""


def overlap_figure(standing: Standing) -> Figure | None:
    """|error| of each cell against its effective sample size over n; None where no estimator recorded one."""
    share = effective_share(standing)
    specs = [spec for spec in standing.order if (standing.board.rows[spec].done & ~np.isnan(share)).any()]
    if not specs or standing.board.span == 0:
        return None
    families = {spec: standing.board.rows[spec].family for spec in specs}
    heading = f"{standing.board.label}: error against overlap (errors clipped to {SMALLEST:g} ... {LARGEST:g})"
    known = share[share > 0]
    with matplotlib.rc_context(RC):
        figure, panels = small_multiples(
            specs,
            heading,
            "effective sample size / n",
            "|error| / range of true values",
            family_handles(families.values()),
        )
        for axes, spec in zip(panels, specs, strict=True):
            error = np.abs(standing.board.rows[spec].value - standing.board.truth) / standing.board.span  # (S, P)
            axes.plot(
                share.ravel(),
                np.clip(error, SMALLEST, LARGEST).ravel(),
                linestyle="none",
                marker=marker(families[spec]),
                markersize=3.8,
                markeredgewidth=0,
                color=color(families[spec]),
                alpha=0.85,
            )
            decades(axes, "x", known.min() / 1.3, min(known.max() * 1.3, 1.3))
            decades(axes, "y", SMALLEST / 1.5, LARGEST * 1.5)
        return figure


def effective_share(standing: Standing) -> np.ndarray:
    """(S, P) Kish's effective sample size over n, median over the estimators that recorded it; NaN where none did."""
    stacked = np.stack([row.ess for row in standing.board.rows.values()])  # (R, S, P)
    known = ~np.isnan(stacked).all(axis=0)
    share = np.full(known.shape, np.nan)
    share[known] = np.nanmedian(stacked[:, known], axis=0) / standing.board.n
    return share
