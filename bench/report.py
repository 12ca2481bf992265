"""Writes the report: tables (md, csv) and figures (svg, png) from stored cells alone; same cells, same bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.comparisons import Comparison
from bench.leaderboard import comparisons_csv, leaderboard_csv
from bench.overall import ALL, Overall, overall, ranked_boards
from bench.scoring import Scores, Standing, score
from bench.tables import (
    CONSTANT,
    DASH,
    PARTIAL,
    console_text,
    error_table,
    interval_table,
    number,
    overall_table,
    ranking_table,
    real_episodes_line,
    size_table,
)

FOLDER = "report"
LEGEND = (
    f"{PARTIAL} cells are missing or declined: the numbers of such a row are over fewer cells and do not compare with "
    "those of full rows. "
    f"{DASH} {CONSTANT} all estimates are equal, so the order is undefined; it enters averages as 0. "
    "Intervals in brackets are 95 % bootstrap intervals over log episodes, policies and true values jointly; for "
    "estimators that simulate, over simulated episodes and the seeds they have: with one seed, nothing in them speaks "
    "of another log or another training. "
    "*perfect estimator*: what the true values themselves would score, given that they were measured with noise."
)

INTERVALS = (
    "**Intervals and cost** (medians of seconds and peak memory). An interval says how much an estimate would move on "
    "another log of this size; the bias of an estimator, a wrong model or weights that never showed in the log are not "
    "in it. *seeds / interval* compares how much the estimates do move between disjoint parts of the log with what "
    "their intervals say: near 1 an interval that misses is honest about chance and misses for bias, above 1 it is too "
    "narrow."
)


def write_report(results_dir: Path) -> Path:
    """Writes `<results>/report/` anew: leaderboard.md, leaderboard.csv, comparisons.csv and figures/.

    Returns:
        The folder of the report.

    Raises:
        BenchError: there is no cell to report.
    """
    scores = score(Path(results_dir))
    folder = Path(results_dir) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    averages = overall(scores)
    (folder / "leaderboard.csv").write_text(leaderboard_csv(scores, averages), encoding="utf-8")
    (folder / "comparisons.csv").write_text(comparisons_csv(scores), encoding="utf-8")
    figures = _write_figures(scores, folder / "figures")
    (folder / "leaderboard.md").write_text(leaderboard_markdown(scores, averages, figures), encoding="utf-8")
    return folder


def leaderboard_text(results_dir: Path) -> str:
    """The compact tables that a run prints at its end: plug-in values of the boards of the leaderboard, best first."""
    scores = score(Path(results_dir), n_draws=0)
    notes = "".join(f"\nnote: {note}" for note in scores.notes)
    return console_text(scores.main) + notes


def _write_figures(scores: Scores, folder: Path) -> tuple[str, ...]:
    """Draws all figures, removes those of earlier reports, and returns the names of the new ones."""
    from bench.plots.gallery import figures
    from bench.plots.style import save

    written: set[Path] = set()
    names = []
    for name, figure in figures(scores):
        written.update(save(figure, folder, name))
        names.append(name)
    for path in folder.glob("*.*"):
        if path not in written and path.suffix in (".svg", ".png"):
            path.unlink()
    return tuple(names)


def leaderboard_markdown(scores: Scores, averages: Sequence[Overall], figures: Sequence[str]) -> str:
    """The whole leaderboard as one markdown page that links to the figures beside it."""
    return "\n\n".join(filter(None, _parts(scores, averages, figures))) + "\n"


def _parts(scores: Scores, averages: Sequence[Overall], figures: Sequence[str]) -> Iterator[str]:
    yield "# Leaderboard"
    yield "Written by `python run_bench.py report` from the stored cells; every number is recomputed, none is typed."
    yield LEGEND
    yield "\n".join(f"- {note}" for note in scores.notes)
    yield from _overall_parts(scores, averages)
    yield image("overview", figures)
    if "overlap" in figures:
        yield image("overlap", figures)
    for task in scores.tasks:
        yield f"## {task}"
        yield image(f"error_{task}", figures)
        yield image(f"ranking_{task}", figures)
        for standing in scores.main:
            if standing.board.task == task:
                yield from _board_parts(scores, standing, figures)


def _overall_parts(scores: Scores, averages: Sequence[Overall]) -> Iterator[str]:
    if not averages:
        return
    yield "## Overall"
    ranked = ranked_boards(scores)
    yield f"Averages over {boards_named(ranked)}; tasks weigh the same. {left_out(scores)}".strip()
    for log in dict.fromkeys(row.log for row in averages):
        yield f"### {'All logs' if log == ALL else f'Log: {log}'}"
        yield overall_table([row for row in averages if row.log == log])


def boards_named(standings: Sequence[Standing]) -> str:
    """The boards of an average, in words."""
    return "; ".join(f"{s.board.task} / {s.board.log} (n = {s.board.n:,})" for s in standings)


def left_out(scores: Scores) -> str:
    """Which tasks the averages leave out, and why; empty where none."""
    ranked = {s.board.task for s in ranked_boards(scores)}
    exact = sorted({s.board.task for s in scores.main if s.board.exact} - ranked)
    flat = sorted({s.board.task for s in scores.main if s.board.span == 0} - ranked - set(exact))
    text = (
        f"Not averaged: {', '.join(exact)}, whose true values are computed exactly to test estimators. "
        if exact
        else ""
    )
    return text + (f"Not averaged: {', '.join(flat)}, whose targets do not differ in value." if flat else "")


def _board_parts(scores: Scores, standing: Standing, figures: Sequence[str]) -> Iterator[str]:
    board = standing.board
    yield f"### {board.task}: {board.log} log, n = {board.n:,}"
    yield board_facts(standing)
    yield "**Error**, in units of the return unless said."
    yield error_table(standing)
    yield "**Ranking.**"
    yield ranking_table(standing)
    if board.sweep.any():
        yield f"**Ranking without the {int(board.sweep.sum())} policies of the epsilon sweep.**"
        yield ranking_table(standing, sweep=False)
    yield INTERVALS
    yield interval_table(standing)
    yield comparisons_text(standing)
    sizes = [s for s in scores.standings if (s.board.task, s.board.log) == (board.task, board.log)]
    if len(sizes) > 1:
        yield "**MAE / range by log size.**"
        yield size_table(sizes)
    for kind in ("truth", "size", "overlap", "intervals", "cost"):
        yield image(f"{kind}_{board.task}_{board.log}", figures)
    yield remarks(standing)


def board_facts(standing: Standing) -> str:
    """What the reader must know of a board before its numbers."""
    board = standing.board
    low, high = float(board.truth.min()), float(board.truth.max())
    facts = f"{len(board.policies)} target policies, {len(board.seeds)} disjoint part(s) of the log. "
    facts += f"True values from {number(low)} to {number(high)} (range {number(board.span)}), "
    facts += "known exactly. " if board.exact else f"standard error at most {number(float(board.stderr.max()))}. "
    if board.unrankable:
        facts += "**Unrankable**: the range is below four standard errors, so the order of the policies is not known. "
    return facts + real_episodes_line(standing)


def comparisons_text(standing: Standing) -> str:
    """Who differs from the baseline and from the best classical estimator, after correction for many comparisons."""
    lines = []
    for against in ("baseline", "best classical"):
        found = [c for c in standing.comparisons if c.against == against and c.metric == "mae"]
        if found:
            lines.append(f"- {_verdict(found, against)}")
    return (
        "**Paired comparisons of the error** (Holm-adjusted, 5 %; all of them in comparisons.csv).\n\n"
        + "\n".join(lines)
        if lines
        else ""
    )


def _verdict(found: Sequence[Comparison], against: str) -> str:
    sure = [c for c in found if c.p_holm < 0.05]
    better = [f"`{c.estimator}` ({number(c.difference, sign=True)})" for c in sure if c.difference < 0]
    worse = [f"`{c.estimator}` ({number(c.difference, sign=True)})" for c in sure if c.difference > 0]
    text = f"Against the {against}, `{found[0].reference}`: better: {', '.join(better) or 'none'}; "
    return text + f"worse: {', '.join(worse) or 'none'}; not told apart: {len(found) - len(sure)} of {len(found)}."


def remarks(standing: Standing) -> str:
    """What estimators announced, why they declined, and what failed, with counts of cells."""
    lines = []
    for spec, row in standing.board.rows.items():
        lines += [f"- `{spec}`, {count} cells: {note}" for note, count in row.notes]
        lines += [f"- `{spec}`, {count} cells {status}: {_last_line(reason)}" for status, reason, count in row.reasons]
    return "**Remarks of the estimators.**\n\n" + "\n".join(lines) if lines else ""


def _last_line(reason: str) -> str:
    """A reason, or the last line of a traceback."""
    return next((line.strip() for line in reversed(reason.splitlines()) if line.strip()), "no reason given")


def image(name: str, figures: Sequence[str], folder: str = "figures") -> str:
    """A link to a figure, empty where it was not drawn."""
    return f"![{name.replace('_', ' ')}]({folder}/{name}.svg)" if name in figures else ""
