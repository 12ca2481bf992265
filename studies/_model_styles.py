"""One color, marker and line per world model, the same in every figure of the studies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.lines import Line2D

from bench.plots.style import label, text_width
from bench.registry import parse_spec
from studies._worlds import REDRAWN, STEPWISE

# Okabe & Ito (2008), as everywhere; within one estimator, variants differ by line, filling and, in turn, marker
_LOOKS = {
    "adwm": ("#D55E00", "XP*"),
    "autoregressive_wm": ("#009E73", "D"),
    "gaussian_wm": ("#0072B2", "o"),
    "joint_diffusion": ("#CC79A7", "p"),
    "retrieval_wm": ("#E69F00", "^"),
}
_LINES = ("-", "--", ":", "-.")
REALITY = "#555555"


@dataclass(frozen=True)
class Look:
    """How a model is drawn."""

    color: str
    marker: str
    line: str
    filled: bool
    name: str

    @property
    def handle(self) -> Line2D:
        """Its entry in a legend."""
        return Line2D([], [], label=self.name, **self.style(5.0))

    def style(self, size: float) -> dict[str, object]:
        """Keyword arguments of `Axes.plot`."""
        face = self.color if self.filled else "white"
        line = {"color": self.color, "ls": self.line, "lw": 1.4}
        return line | {"marker": self.marker, "ms": size, "mfc": face, "mew": 0.9}


def looks(labels: Sequence[str]) -> dict[str, Look]:
    """The look of each label; the first variant of an estimator is drawn solid."""
    found: dict[str, Look] = {}
    seen: dict[str, int] = {}
    for text in labels:
        if text == REDRAWN:
            found[text] = Look(REALITY, "", (0, (1, 1)), True, text)
            continue
        spec = text.removesuffix(f", {STEPWISE}")
        name = parse_spec(spec)[0]
        k = seen[name] = seen.get(name, -1) + 1
        color, markers = _LOOKS.get(name, ("#000000", "s"))
        marker, line = markers[k % len(markers)], _LINES[k % len(_LINES)]
        found[text] = Look(color, marker, line, k == 0, text.replace(spec, label(spec, ": ")))
    return found


def legend_columns(handles: Sequence[Line2D], width: float) -> int:
    """As many columns as fit a figure of a width in inches, three at most."""
    widest = text_width([handle.get_label() for handle in handles], 8.5) + 0.7
    return max(1, min(3, int(width / widest)))
