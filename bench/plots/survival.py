"""Error against overlap over all boards, all estimators in one plot: who survives where importance weights do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.plots.overlap import SMALLEST, effective_share
from bench.plots.panels import decades
from bench.plots.style import (
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
    place,
    text_width,
    title,
)
from bench.scoring import Scores, Standing

BINS = 6
"""Of equal numbers of cells; those without any overlap stand beside them."""
LARGEST = 3.0
"""Mean errors above this multiple of the range are drawn here, and those below `SMALLEST` there."""
LINE = 0.15
"""Inches between two names, at least."""
PANEL = (6.2, 4.3)
NOTE = "bold, in hindsight: the best of each family, and of the last bin; no line where cells of a bin are missing"


@dataclass(frozen=True)
class Bins:
    """Cells (board, seed, policy) by overlap.

    Attributes:
        names: of the B bins, from none to large. counts: (B,) cells.
        errors: spec to (B,) mean |error| / range of true values; NaN where a cell of the bin is missing or declined.
    """

    names: list[str]
    counts: list[int]
    errors: dict[str, np.ndarray]


def binned(standings: Sequence[Standing], count: int = BINS) -> Bins | None:
    """All cells of some boards; None where fewer than two bins have any.

    A cell's overlap is Kish's effective sample size over n, see `effective_share`; a cell in which no estimator knew
    one (no logged episode is possible under the policy) has none.
    """
    shares = [effective_share(s).ravel() for s in standings]
    share = np.concatenate(shares) if shares else np.zeros(0)
    known = share[share > 0]
    if len(known) < 2 * count:
        return None
    edges = np.quantile(known, np.linspace(0, 1, count + 1)[1:-1])
    of = np.where(share > 0, 1 + np.searchsorted(edges, share, side="right"), 0)
    used = [b for b in range(count + 1) if (of == b).any()]
    errors = {}
    for spec in dict.fromkeys(spec for s in standings for spec in s.table):
        error = np.concatenate([_errors(s, spec) for s in standings])
        errors[spec] = np.array([error[of == b].mean() for b in used])
    spans = [f"{low:.2g} to {high:.2g}" for low, high in zip([known.min(), *edges], [*edges, known.max()], strict=True)]
    return Bins([["none", *spans][b] for b in used], [int((of == b).sum()) for b in used], errors)


def _errors(standing: Standing, spec: str) -> np.ndarray:
    """(S * P,) |error| / range, NaN where there is none."""
    row = standing.board.rows.get(spec)
    if row is None:
        return np.full(standing.board.n_expected, np.nan)
    return np.where(row.done, np.abs(row.value - standing.board.truth) / standing.board.span, np.nan).ravel()


def survival_figure(scores: Scores) -> Figure | None:
    """One line per estimator over bins of overlap. Bold, in hindsight: the best of every family, and of the last bin;
    named besides: every estimator with its defaults."""
    with_span = [s for s in scores.main if s.board.span > 0]
    standings = [s for s in with_span if not s.board.exact] or with_span
    found = binned(standings)
    if found is None:
        return None
    drawn = {spec: y for spec, y in found.errors.items() if not np.isnan(y).all()}
    best = _best(drawn, scores.families)
    named = {spec: label(spec, separator=": ") for spec in drawn if spec in best or "[" not in spec}
    other = Line2D([], [], color="#999999", lw=0.7, label="other estimators and variants")
    handles = [*family_handles(scores.families[spec] for spec in drawn), other]
    with matplotlib.rc_context(RC):
        margins = Margins(0.75, 1.1 * text_width(named.values(), 8) + 0.6, 0.75, 0.85 + legend_height(len(handles), 4))
        figure = new_figure(PANEL, (1, 1), (0, 0), margins)
        axes = figure.subplots()
        for spec, y in drawn.items():
            family = scores.families[spec]
            strong = {"lw": 1.9, "ms": 5.5, "marker": marker(family), "zorder": 3}
            weak = {"lw": 0.7, "alpha": 0.45}
            axes.plot(np.clip(y, SMALLEST, LARGEST), color=color(family), **(strong if spec in best else weak))
        shown = np.concatenate([y[~np.isnan(y)] for y in drawn.values()]).clip(SMALLEST, LARGEST)
        decades(axes, "y", shown.min() / 1.3, shown.max() * 1.15)
        ticks = [f"{name}\n{n:,} cells" for name, n in zip(found.names, found.counts, strict=True)]
        axes.set_xticks(range(len(ticks)), ticks)
        axes.set_xlim(-0.25, len(ticks) - 0.85)
        axes.set(xlabel="effective sample size / n", ylabel="mean |error| / range of true values")
        grid(axes, "y")
        _write_names(
            axes,
            {name: (drawn[spec], color(scores.families[spec]), spec in best) for spec, name in named.items()},
        )
        title(figure, f"Error against overlap, {len(standings)} boards together")
        middle, gray = figure.get_size_inches()[0] / 2, "#555555"
        place(figure, middle, -0.36, NOTE, ha="center", va="top", fontsize=8.5, color=gray)
        legend_below(figure, handles, 4)
        return figure


def _best(errors: Mapping[str, np.ndarray], families: Mapping[str, str]) -> set[str]:
    """Of each family the least mean error of those that fill most bins; and the least of the last bin."""

    def rank(spec: str) -> tuple[int, float]:
        return int(np.isnan(errors[spec]).sum()), float(np.nanmean(errors[spec]))

    best: dict[str, str] = {}
    for spec in sorted(errors, key=rank):
        best.setdefault(families[spec], spec)
    return {*best.values(), min(errors, key=lambda spec: np.nan_to_num(errors[spec][-1], nan=np.inf))}


def _write_names(axes: Axes, lines: Mapping[str, tuple[np.ndarray, str, bool]]) -> None:
    """Each name beside the end of its line, moved apart where they would overlap.

    Args:
        lines: name to (B,) heights, color, and whether it is bold.
    """
    low, high = np.log(axes.get_ylim())
    ends = {name: int(np.flatnonzero(~np.isnan(y))[-1]) for name, (y, *_) in lines.items()}
    wanted = {name: float(np.clip(y[ends[name]], SMALLEST, LARGEST)) for name, (y, *_) in lines.items()}
    order = sorted(wanted, key=wanted.__getitem__)
    at = np.array([(np.log(wanted[name]) - low) / (high - low) * PANEL[1] for name in order])
    for _ in range(200):  # pushes neighbors apart, a little at a time, so that groups stay around their lines
        push = np.maximum(LINE - np.diff(at), 0) / 2
        at[:-1] -= push
        at[1:] += push
    for name, y in zip(order, at, strict=True):
        _, shade, bold = lines[name]
        axes.annotate(
            name,
            (ends[name], wanted[name]),
            xytext=(1.06, y / PANEL[1]),
            textcoords="axes fraction",
            va="center",
            fontsize=8 if bold else 7,
            fontweight="bold" if bold else "normal",
            color=shade,
            arrowprops={"arrowstyle": "-", "lw": 0.6, "color": shade, "shrinkA": 0, "shrinkB": 4, "relpos": (0, 0.5)},
        )
