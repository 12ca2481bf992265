"""How the world models behind stored cells were trained: size, updates, and what they explain of held-out episodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from bench.board import current
from bench.cells import Record
from bench.tables import DASH, table

Training = tuple[float, bool]
"""What tells trainings of one configuration apart: what they explain of held-out episodes, and where they ran."""
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

SHARING = (
    "adwm",
    "adwm[eta=0.0,omega=1.0]",
    "adwm[eta=0.0,omega=1.0,reads=text]",
    "gaussian_wm",
    "adwm[adapter=short,heads=logged]",
    "adwm[adapter=short,eta=0.0,heads=logged,omega=1.0]",
    "calibrated_wm",
    "joint_diffusion",
)
"""Specs that one and the same training of the latent world model is enough for."""
SHARED = """Estimators with the same letter stand on the same training of the latent world model; the others differ by
what two trainings of one configuration and seed differ by, too. Letters of different lines have nothing to do with each
other. GPU: trained on one."""


def trainings_text(records: Iterable[Record]) -> str:
    """A table with a row per log and a column per kind of model, and who shares a training; a line where no model has
    cells."""
    records = current(records)[0]
    found: dict[tuple[str, str, str], dict[int, dict[str, float]]] = defaultdict(dict)
    for record in records:
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
    return "\n\n".join([table(["log", "n", *MODELS], body), CAPTION, *_shared(records)])


def _shared(records: Iterable[Record]) -> list[str]:
    """Which specs stand on one training, a line for all blocks of a log where it is the same."""
    fits: dict[tuple[str, str], dict[int, dict[str, Training]]] = defaultdict(lambda: defaultdict(dict))
    for record in records:
        told = record.diagnostics
        if record.spec in SHARING and "fit_gain" in told:
            where = f"{record.cell.task}, {record.cell.log}", f"{record.cell.n_trajectories:,}"
            fits[where][record.cell.seed][record.spec] = told["fit_gain"], bool(told.get("fit_on_gpu"))
    rows: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for where, seeds in sorted(fits.items()):
        for seed, of in sorted(seeds.items()):
            letters = {fit: "ABCDEFGH"[k] for k, fit in enumerate(dict.fromkeys(of[s] for s in SHARING if s in of))}
            shown = [f"{letters[of[s]]}{' (GPU)' * of[s][1]}" if s in of else DASH for s in SHARING]
            rows[*where, *shown].append(seed)
    body = [[row[0], row[1], ", ".join(map(str, seeds)), *row[2:]] for row, seeds in rows.items()]
    header = ["log", "n", "seeds", *(f"`{spec}`" for spec in SHARING)]
    return [table(header, body), SHARED] if body else []


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
