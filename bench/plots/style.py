"""How every figure looks: colors by family, labels of estimators, axes, and files that come out the same every time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import TextPath

from bench.registry import parse_spec

# Okabe & Ito (2008), told apart with every common color blindness; each family has a marker too, for print in gray
COLORS = {
    "reference": "#7A7A7A",
    "importance weighting": "#E69F00",
    "direct": "#56B4E9",
    "doubly robust": "#0072B2",
    "world model": "#009E73",
    "joint diffusion": "#CC79A7",
    "diffusion world model": "#D55E00",
    "hybrid": "#000000",
    "other": "#F0E442",
}
MARKERS = {
    "reference": "s",
    "importance weighting": "o",
    "direct": "^",
    "doubly robust": "v",
    "world model": "D",
    "joint diffusion": "p",
    "diffusion world model": "X",
    "hybrid": "h",
    "other": "<",
}
FAINT = "#B8B8B8"
BAND = "#D9D9D9"
INK = "#333333"
RC = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.labelsize": 9.0,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.fontsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.linewidth": 0.7,
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.7,
    "svg.hashsalt": "ope-agents-bench",
    "svg.fonttype": "path",
}
DPI = 150


@dataclass(frozen=True)
class Margins:
    """Inches around the axes of a figure. Placed by hand: automatic layout takes longer than drawing."""

    left: float
    right: float
    top: float
    bottom: float


def new_figure(
    panel: tuple[float, float], shape: tuple[int, int], gap: tuple[float, float], margins: Margins
) -> Figure:
    """An empty figure outside the state of pyplot, ready for `subplots`.

    Args:
        panel: width and height of each panel; gap: between panels, both in inches.
        shape: rows and columns of panels.
    """
    rows, columns = shape
    width = margins.left + columns * panel[0] + (columns - 1) * gap[0] + margins.right
    height = margins.top + rows * panel[1] + (rows - 1) * gap[1] + margins.bottom
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    figure.subplots_adjust(
        left=margins.left / width,
        right=1 - margins.right / width,
        top=1 - margins.top / height,
        bottom=margins.bottom / height,
        wspace=gap[0] / panel[0],
        hspace=gap[1] / panel[1],
    )
    return figure


def text_width(texts: Iterable[str], size: float) -> float:
    """Inches that the widest of some lines of text takes at a font size in points."""
    font = FontProperties(family="DejaVu Sans", size=size)
    return max(
        (TextPath((0, 0), text, prop=font).get_extents().width / 72 for text in texts if text.strip()), default=0.0
    )


def place(figure: Figure, x: float, y: float, text: str, **style: object) -> None:
    """Text at a distance in inches from the left and lower edge; negative distances count from the other one."""
    width, height = figure.get_size_inches()
    figure.text(x % width / width, y % height / height, text, **style)


def title(figure: Figure, text: str) -> None:
    """The title of a figure, in its middle."""
    place(figure, figure.get_size_inches()[0] / 2, -0.12, text, ha="center", va="top", fontsize=11, fontweight="bold")


def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Writes `<name>.svg` and `<name>.png` without dates, so that equal cells give equal files."""
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(RC):
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
        figure.savefig(folder / f"{name}.png", dpi=DPI, metadata={"Software": None})
    return [folder / f"{name}.svg", folder / f"{name}.png"]


def label(spec: str, separator: str = "\n") -> str:
    """A spec for an axis: the name, then what differs from the defaults; `=true` goes without saying."""
    name, params = parse_spec(spec)
    inside = ", ".join(key if value == "true" else f"{key}={value.removesuffix('.0')}" for key, value in params.items())
    return f"{name}{separator}{inside}" if inside else name


def color(family: str) -> str:
    """Color of a family."""
    return COLORS.get(family, COLORS["other"])


def marker(family: str) -> str:
    """Marker of a family."""
    return MARKERS.get(family, MARKERS["other"])


def family_handles(families: Iterable[str]) -> list[Line2D]:
    """Legend entries of the families that occur, in the order of `COLORS`."""
    present = set(families)
    return [
        Line2D([], [], color=color(f), marker=marker(f), markersize=6, linestyle="none", label=f)
        for f in COLORS
        if f in present
    ]


def legend_height(count: int, columns: int) -> float:
    """Inches that a legend of `count` entries takes."""
    return 0.2 * -(-count // columns) + 0.1


def legend_below(figure: Figure, handles: Sequence[object], columns: int) -> None:
    """The one legend of a figure, at its lower edge."""
    figure.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 0.0), ncols=columns, frameon=False)


def grid(axes: Axes, axis: str) -> None:
    """Light grid lines along one axis or "both"."""
    axes.grid(True, axis=axis, which="major")
    axes.tick_params(length=2.5, color="#888888")
