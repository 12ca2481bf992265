"""The leaderboard for people: markdown for files, plain text for the console."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from tabulate import tabulate

from bench.inference import Measured, constant_seeds
from bench.leaderboard import without_sweep
from bench.overall import Average, Overall
from bench.reference import SHOWN
from bench.scoring import Standing, median_of

DASH = "–"
PARTIAL = "†"
"""Marks an estimator with fewer cells than its board: its numbers do not compare with those of full rows."""
CONSTANT = "="
"""Marks a rank correlation that is undefined since all estimates are equal; it enters averages as 0."""
RANKS = ("spearman", "kendall", "pairwise_accuracy", "regret@1", "regret@3")


def number(value: float | None, sign: bool = False) -> str:
    """Three decimals, fewer for large numbers, a dash for none."""
    if value is None:
        return DASH
    size, plus = abs(value), "+" if sign else ""
    if size >= 1000:
        return f"{value:{plus}.1e}"
    return f"{value:{plus}.0f}" if size >= 100 else f"{value:{plus}.1f}" if size >= 10 else f"{value:{plus}.3f}"


def percent(share: float | None) -> str:
    """Whole percent."""
    return DASH if share is None else f"{100 * share:.0f} %"


def seconds(value: float | None) -> str:
    """Two significant digits, or all of them before the point."""
    return DASH if value is None else "<0.01" if value < 0.01 else f"{value:.2g}" if value < 10 else f"{value:.0f}"


def training(value: float | None, on_gpu: bool) -> str:
    """Seconds of training, said to be a GPU's where some of it was done on one."""
    return seconds(value) + (" (GPU)" if value is not None and on_gpu else "")


def with_interval(measured: Measured | Average, sign: bool = False) -> str:
    """Value and 95 % interval."""
    if measured.low is None or measured.high is None:
        return number(measured.value, sign)
    return f"{number(measured.value, sign)} [{number(measured.low, sign)}, {number(measured.high, sign)}]"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], style: Literal["github", "simple"] = "github") -> str:
    """First column to the left, the others to the right, every cell as it stands."""
    align = ("left", *["right"] * (len(header) - 1))
    return tabulate(list(rows), header, tablefmt=style, colalign=align, disable_numparse=True)


def named(standing: Standing, spec: str) -> str:
    """The spec as code, marked where cells are missing."""
    return f"`{spec}`" + ("" if standing.complete(spec) else f" {PARTIAL}")


def cells(standing: Standing, spec: str) -> str:
    """Done cells of those expected."""
    return f"{standing.count(spec)} of {standing.board.n_expected}"


def rank(standing: Standing, spec: str, name: str, interval: bool = False) -> str:
    """A rank metric; a dash where it is undefined, marked if that is because all estimates are equal."""
    measured = standing.table[spec][name]
    if measured.value is None:
        return f"{DASH} {CONSTANT}" if constant_seeds(standing.board.rows[spec]) else DASH
    return with_interval(measured) if interval else number(measured.value)


def _ceiling(standing: Standing, name: str) -> str:
    ceiling = standing.ceilings[name]
    return number(ceiling.value) if ceiling else DASH


def error_table(standing: Standing) -> str:
    """Errors, in units of the return unless said, and what they are worth in real episodes."""
    span = standing.board.span
    rows = []
    for spec in standing.order:
        scores = standing.table[spec]
        mae, rmse = scores["mae"], scores["rmse"]
        over = [number(m.value / span) if m.value is not None and span > 0 else DASH for m in (mae, rmse)]
        numbers = [with_interval(mae), over[0], number(rmse.value), over[1], with_interval(scores["bias"], sign=True)]
        rows.append([named(standing, spec), *numbers, _worth(standing, spec), cells(standing, spec)])
    floor = standing.ceilings["mae"], standing.ceilings["rmse"]
    perfect = [
        x
        for c in floor
        for x in ((number(c.value), number(c.value / span) if span > 0 else DASH) if c else (DASH, DASH))
    ]
    rows.append(["*perfect estimator*", *perfect, DASH, DASH, ""])
    header = ["estimator", "MAE [95 %]", "MAE / range", "RMSE", "RMSE / range", "bias [95 %]", "real episodes", "cells"]
    return table(header, rows)


def _worth(standing: Standing, spec: str) -> str:
    """How many real episodes err as much."""
    errors = standing.real.mae(standing.board.policies) if standing.real else ()
    if len(errors) == 0 or standing.table[spec]["mae"].value is None:
        return DASH
    worth = standing.real_episodes_worth(spec)
    return f"> {len(errors)}" if worth is None else str(worth) if worth else "< 1"


def ranking_table(standing: Standing, sweep: bool = True) -> str:
    """Ranking metrics beside their ceiling; `sweep=False`: without the epsilon sweep (no intervals)."""
    names = RANKS if sweep else tuple(map(without_sweep, RANKS))
    rows = []
    for spec in standing.order:
        first, *others = names
        numbers = [rank(standing, spec, first, interval=sweep), *(rank(standing, spec, name) for name in others)]
        rows.append([named(standing, spec), *numbers, cells(standing, spec)])
    rows.append(["*perfect estimator*", *(_ceiling(standing, name) for name in names), ""])
    header = [
        "estimator",
        "Spearman" + (" [95 %]" if sweep else ""),
        "Kendall tau-b",
        "pairs in order",
        "regret@1",
        "regret@3",
        "cells",
    ]
    return table(header, rows)


def interval_table(standing: Standing) -> str:
    """Intervals and cost."""
    rows, span = [], standing.board.span
    for spec in standing.order:
        found, row = standing.coverage[spec], standing.board.rows[spec]
        share = percent(found.share)
        if found.share is not None:
            share += f" [{100 * found.low:.0f}, {100 * found.high:.0f}]"
        elif row.simulation_only:
            share = "simulation only"
        width = found.width / span if found.width is not None and span > 0 else None
        intervals = [
            share,
            percent(found.share_noisy),
            number(found.width),
            number(width),
            number(found.score),
            number(found.spread),
            str(found.cells),
        ]
        cost = [
            training(median_of(row.fit_seconds), bool(row.on_gpu.any())),
            seconds(median_of(row.prepare_seconds)),
            seconds(median_of(row.estimate_seconds)),
            seconds(median_of(row.memory_mb)),
        ]
        declined = percent(standing.count(spec, "unsupported") / standing.board.n_expected)
        rows.append([named(standing, spec), *intervals, declined, *cost])
    header = [
        "estimator",
        "95 % interval covers",
        "allowing truth noise",
        "width",
        "width / range",
        "interval score",
        "seeds / interval",
        "intervals",
    ]
    return table([*header, "declined", "fit s", "prepare s", "estimate s", "peak MB"], rows)


def overall_table(rows: Sequence[Overall]) -> str:
    """Averages over boards."""
    total = rows[0].n_boards
    body = []
    for row in rows:
        mark = "" if row.complete else f" {PARTIAL}"
        gain = DASH if row.gain is None else number(row.gain, sign=True)
        if row.gain_low is not None:
            gain += f" [{number(row.gain_low, sign=True)}, {number(row.gain_high, sign=True)}]"
        numbers = [
            _average(row, "mae"),
            gain,
            _average(row, "spearman"),
            _average(row, "spearman_without_sweep", interval=False),
        ]
        numbers += [_average(row, "pairwise_accuracy", interval=False), _average(row, "regret@1", interval=False)]
        counts = [f"{row.boards} of {total}", f"{row.cells} of {row.n_expected}"]
        body.append(
            [f"`{row.spec}`{mark}", row.family, *numbers, percent(row.coverage), percent(row.unsupported), *counts]
        )
    header = [
        "estimator",
        "family",
        "MAE / range [95 %]",
        "better than baseline by [95 %]",
        "Spearman [95 %]",
        "without sweep",
    ]
    return table([*header, "pairs in order", "regret@1", "interval covers", "declined", "boards", "cells"], body)


def _average(row: Overall, name: str, interval: bool = True) -> str:
    average = row.averages.get(name)
    if average is None:
        return DASH
    text = with_interval(average) if interval else number(average.value)
    return text + (f" ({average.undefined} {CONSTANT})" if average.undefined else "")


MATRIX_LEGEND = (
    "MAE / range of true values (Spearman), sorted by the means. **Bold**: the least error of a column among entries "
    f"that miss no cell. {PARTIAL} cells are missing or declined. {DASH} not run on all policies; in parentheses: all "
    "estimates are equal, without an order."
)


def matrix_table(standings: Sequence[Standing]) -> str:
    """Every estimator against every board: error over range, and rank correlation (`MATRIX_LEGEND`). First the
    means over the boards of one log, for estimators that have been asked about every policy on all of them; boards with
    exact values, which test estimators, do not enter these."""
    errors = {spec: [_relative_error(s, spec) for s in standings] for s in standings for spec in s.table}
    logs = sorted({s.board.log for s in standings}, key=lambda log: [s.board.log for s in standings].index(log))
    groups = {log: [k for k, s in enumerate(standings) if s.board.log == log and not s.board.exact] for log in logs}
    groups = {log: places for log, places in groups.items() if len(places) > 1}
    means = {
        spec: [_mean_error(standings, spec, errors[spec], places) for places in groups.values()] for spec in errors
    }
    columns = {spec: [*means[spec], *errors[spec]] for spec in errors}
    behind = [*groups.values(), *([k] for k in range(len(standings)))]  # the boards behind each column

    def whole(spec: str, k: int) -> bool:
        return all(spec in standings[b].table and standings[b].complete(spec) for b in behind[k])

    least = [
        min((row[k] for spec, row in columns.items() if row[k] is not None and whole(spec, k)), default=None)
        for k in range(len(behind))
    ]

    def place(spec: str) -> tuple[int, float, str]:
        known = [x for x in means[spec] if x is not None] or [x for x in errors[spec] if x is not None]
        missing = sum(x is None for x in means[spec] or errors[spec])
        return missing, float(np.mean(known)) if known else 0.0, spec

    def shown(spec: str, k: int) -> str:
        value = columns[spec][k]
        if value is None:
            return DASH
        text = f"**{value:.2f}**" if value == least[k] and whole(spec, k) else f"{value:.2f}"
        if k >= len(groups):
            rank = standings[k - len(groups)].table[spec]["spearman"].value
            text += f" ({DASH if rank is None else f'{rank:.2f}'})"
        return text if whole(spec, k) else f"{text} {PARTIAL}"

    header = [
        "estimator",
        *(f"mean / {log}" for log in groups),
        *(f"{s.board.task} / {s.board.log}" for s in standings),
    ]
    rows = [[f"`{spec}`", *(shown(spec, k) for k in range(len(behind)))] for spec in sorted(errors, key=place)]
    return table(header, rows)


def _mean_error(
    standings: Sequence[Standing], spec: str, errors: Sequence[float | None], places: Sequence[int]
) -> float | None:
    """Mean of some boards' errors; None unless the estimator was asked about every policy on each."""
    if any(errors[k] is None for k in places):
        return None
    asked = [(standings[k].board.rows[spec].status != "missing").any(axis=0).all() for k in places]
    return float(np.mean([errors[k] for k in places])) if all(asked) else None


def _relative_error(standing: Standing, spec: str) -> float | None:
    if spec not in standing.table or standing.board.span == 0:
        return None
    mae = standing.table[spec]["mae"].value
    return None if mae is None else mae / standing.board.span


def size_table(standings: Sequence[Standing]) -> str:
    """MAE divided by the range, by log size: boards of one task and log, smallest first."""
    specs = next(s for s in standings if s.main).order
    rows = []
    for spec in specs:
        found = [spec in s.table and s.table[spec]["mae"].value for s in standings]
        shown = [
            number(x / s.board.span) if x not in (None, False) and s.board.span > 0 else DASH
            for x, s in zip(found, standings, strict=True)
        ]
        marks = ["" if x == DASH or s.complete(spec) else f" {PARTIAL}" for x, s in zip(shown, standings, strict=True)]
        rows.append([f"`{spec}`", *(x + m for x, m in zip(shown, marks, strict=True))])
    return table(["estimator", *(f"n = {s.board.n:,}" for s in standings)], rows)


def real_episodes_line(standing: Standing) -> str:
    """The error of m real episodes, or an empty string where it is not known."""
    errors = standing.real.mae(standing.board.policies) if standing.real else ()
    parts = [f"{number(float(errors[m - 1]))} with {m}" for m in SHOWN if m <= len(errors)]
    return (
        f"The mean of m real episodes of each target, instead of an estimate, errs by {', '.join(parts)}."
        if parts
        else ""
    )


def console_text(standings: Sequence[Standing]) -> str:
    """A compact table for each board, best first."""
    parts = []
    for standing in standings:
        rows, span = [], standing.board.span
        for spec in standing.order:
            mae = standing.table[spec]["mae"].value
            over = mae / span if mae is not None and span > 0 else None
            regret, covered = number(standing.table[spec]["regret@1"].value), percent(standing.coverage[spec].share)
            row = [number(mae), number(over), rank(standing, spec, "spearman"), regret, covered, cells(standing, spec)]
            rows.append([spec, *row])
        header = ["estimator", "MAE", "MAE/range", "Spearman", "regret@1", "covers", "cells"]
        parts.append(f"{standing.board.label}\n{table(header, rows, style='simple')}")
    return "\n\n".join(parts)
