"""The whole leaderboard at a glance: one row per estimator, one column per task and log, error left, ranking right."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.transforms import offset_copy

from bench.inference import constant_seeds
from bench.overall import ALL, overall
from bench.plots.style import (
    RC,
    Margins,
    color,
    family_handles,
    label,
    legend_below,
    legend_height,
    marker,
    new_figure,
    place,
    text_width,
    title,
)
from bench.scoring import Scores, Standing
from bench.tables import CONSTANT, DASH, PARTIAL

COLUMNS = 4


def overview_figure(scores: Scores) -> Figure:
    """Error (divided by the range) and rank correlation of every estimator on every board."""
    ranked = [row.spec for row in overall(scores) if row.log == ALL]
    specs = ranked + sorted(set(scores.families) - set(ranked))
    standings, handles = list(scores.main), family_handles(scores.families.values())
    labels, names = [label(spec, ": ") for spec in specs], [f"{s.board.task}, {s.board.log}" for s in standings]
    words = f"{PARTIAL} cells are missing    {CONSTANT} undefined: all estimates are equal    {DASH} no estimate"
    with matplotlib.rc_context(RC):
        slanted = 0.6 * text_width(names, 8)
        margins = Margins(text_width(labels, 8) + 0.5, 0.15, 0.62, slanted + 0.5 + legend_height(len(handles), COLUMNS))
        figure = new_figure((max(0.62 * len(standings), 2.7), 0.25 * len(specs)), (1, 2), (0.3, 0), margins)
        left, right = figure.subplots(1, 2, sharey=True)
        errors = np.array([[_error(s, spec) for s in standings] for spec in specs], dtype=float)
        ranks = np.array([[_rank(s, spec) for s in standings] for spec in specs], dtype=float)
        _heat(
            left, errors, LogNorm(0.03, 1.0), "cividis_r", [[_error_text(s, spec) for s in standings] for spec in specs]
        )
        _heat(
            right, ranks, Normalize(-0.2, 1.0), "cividis", [[_rank_text(s, spec) for s in standings] for spec in specs]
        )
        left.set_title("mean absolute error / range of true values", y=1.0)
        right.set_title("Spearman rank correlation", y=1.0)
        for axes in (left, right):
            axes.set_xticks(range(len(standings)), names, rotation=30, ha="right", rotation_mode="anchor")
            axes.tick_params(length=0)
            axes.spines[:].set_visible(False)
        left.set_yticks(range(len(specs)), labels)
        left.tick_params(axis="y", pad=17)
        for y, spec in enumerate(specs):
            shape, shade = marker(scores.families[spec]), color(scores.families[spec])
            at = offset_copy(left.get_yaxis_transform(), figure, x=-10, units="points")
            left.plot(0, y, transform=at, marker=shape, color=shade, markersize=5.5, clip_on=False)
        title(figure, "Off-policy evaluation leaderboard (complete rows first, then the best; yellow is better)")
        legend_below(figure, handles, COLUMNS)
        place(
            figure,
            figure.get_size_inches()[0] / 2,
            legend_height(len(handles), COLUMNS) + 0.05,
            words,
            ha="center",
            fontsize=8,
        )
        return figure


def _heat(axes: Axes, values: np.ndarray, norm: Normalize, colors: str, texts: Sequence[Sequence[str]]) -> None:
    shown = np.ma.masked_invalid(np.clip(values, norm.vmin, norm.vmax))
    scale = matplotlib.colormaps[colors].with_extremes(bad="#F2F2F2")
    axes.imshow(shown, norm=norm, cmap=scale, aspect="auto")
    for (y, x), value in np.ndenumerate(shown):
        red, green, blue, _ = (1, 1, 1, 1) if np.ma.is_masked(value) else scale(norm(value))
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
        axes.text(x, y, texts[y][x], ha="center", va="center", fontsize=7.5, color="white" if dark else "black")


def _error(standing: Standing, spec: str) -> float:
    mae = standing.table[spec]["mae"].value if spec in standing.table else None
    return np.nan if mae is None or standing.board.span == 0 else mae / standing.board.span


def _rank(standing: Standing, spec: str) -> float:
    value = standing.table[spec]["spearman"].value if spec in standing.table else None
    return np.nan if value is None else value


def _error_text(standing: Standing, spec: str) -> str:
    value = _error(standing, spec)
    if np.isnan(value):
        return DASH
    text = f"{value:.2f}" if value < 10 else f"{value:.0f}" if value < 1000 else f"{value:.0e}"
    return text + _mark(standing, spec)


def _rank_text(standing: Standing, spec: str) -> str:
    value = _rank(standing, spec)
    if np.isnan(value):
        return CONSTANT if spec in standing.table and constant_seeds(standing.board.rows[spec]) else DASH
    return f"{value:.2f}{_mark(standing, spec)}"


def _mark(standing: Standing, spec: str) -> str:
    return "" if standing.complete(spec) else f" {PARTIAL}"
