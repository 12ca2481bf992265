"""How the world models behind stored cells were trained: size, updates, and what they explain of held-out episodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from bench.board import current
from bench.cells import Record
from bench.tables import table

MODELS = {
    "latent world model": ("gaussian_wm", "fit"),
    "language model": ("autoregressive_wm", "fit"),
    "windows": ("joint_diffusion", "window"),
}
"""Column to the estimator whose cells tell of it, and the prefix of its facts there."""
CAPTION = """Share of the held-out loss that each model removes; the updates that ran, or those whose weights were kept
of those that ran, where that is known; how long the training took on one core, or on a GPU that other trainings shared;
parameters. The latent model, one for all estimators that live in latents, is compared with itself when it is not told
the action; the language model with the shares of the answers in the log; windows with a model that ignores where they
start. Several trainings: their range."""


def trainings_text(records: Iterable[Record]) -> str:
    """A table with a row per log and a column per kind of model; a line where no model has cells."""
    found: dict[tuple[str, str, str], dict[int, dict[str, float]]] = defaultdict(dict)
    for record in current(records)[0]:
        for column, (name, prefix) in MODELS.items():
            if record.cell.estimator == name and f"{prefix}_gain" in record.diagnostics:
                facts = {k.removeprefix(f"{prefix}_"): v for k, v in record.diagnostics.items() if k.startswith(prefix)}
                found[f"{record.cell.task}, {record.cell.log}", f"{record.cell.n_trajectories:,}", column][
                    record.cell.seed
                ] = facts
    if not found:
        return "No world model has cells."
    rows = sorted({key[:2] for key in found})
    body = [[*row, *(_words(list(found.get((*row, column), {}).values())) for column in MODELS)] for row in rows]
    return "\n\n".join([table(["log", "n", *MODELS], body), CAPTION])


def _words(fits: list[dict[str, float]]) -> str:
    """All trainings of one kind on the blocks of one log."""
    if not fits:
        return "–"
    size = max(fit["parameters"] for fit in fits) / 1e6
    known = all(fit.get("best_update") for fit in fits)
    kept = [fit["best_update" if known else "updates"] for fit in fits]
    where = " (GPU)" if any(fit.get("on_gpu") for fit in fits) else ""
    gain, updates = _range([100 * fit["gain"] for fit in fits], "%"), _range(kept)
    ran = "" if max(kept) == max(fit["updates"] for fit in fits) else f" of {_range([f['updates'] for f in fits])}"
    return f"{gain}; {updates}{ran} updates; {_range([fit['seconds'] for fit in fits], 's')}{where}; {size:.1f} M"


def _range(values: list[float], unit: str = "") -> str:
    low, high = (f"{x:,.0f}" for x in (min(values), max(values)))
    return f"{low if low == high else f'{low} to {high}'} {unit}".strip()
