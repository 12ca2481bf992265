"""Numbers inside the prose of a page: what stands between `<!-- value:NAME -->` and `<!-- /value -->`.

Names, with estimators by the keys of `ESTIMATORS`, errors as shares of the range of true values, variants and steps in
lower case with hyphens:

- `error/<estimator>/<log>` (mean over recorded tasks), `error/<estimator>/<log>/<task>`
- `step/<step>` (mean over recorded boards), `step/<step>/lower` (on how many of them it lowers the error),
  `step/<step>/<log>/<task>`: a step of the decomposition; `step/<step>/blocks`: how many blocks of recorded logs it was
  measured on, of them `/blocks/better` and `/blocks/worse` by at least .0005, the others `/blocks/alike`, and the
  largest difference, `/blocks/worst`
- `ablation/<task>/<variant>`, `ablation/<task>/<variant>/minus-kernel`, `ablation/<task>/<variant>/minus-whole`
- `agreement/<estimator>/<log>/<task>`: how often agents that read soft tokens do what they do on text, mean over cells
- `new/<log>/<task>/<kind>/<said>`: rewards foretold for `known` or `new` actions as a multiple of those paid, by the
  `kernel` or `corrected`; with `/interval`, 95 % over episodes
- `calibration/<task>/<estimator>/<what>`: simulated against real episodes; `length` and `hallucinated` success, means
  over targets, the largest of the latter, `most`, and the share of `repeats` that are answered otherwise (in the log
  itself: `calibration/<task>/log/repeats`)
- `omega/<log>/<task>/<omega>/<loss>`: what held-out transitions lose by another omega than 1;
  `omega/<log>/<task>/<omega>/paid`: expected rewards as a share of those really paid
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.board import current
from bench.cells import Record
from bench.errors import BenchError, UnknownNameError
from bench.overall import ALL, overall
from bench.scoring import Scores
from bench.tables import DASH, number
from studies.answers import kept_answer

ESTIMATORS = {
    "adwm": "adwm",
    "kernel-soft": "adwm[eta=0.0,omega=1.0]",
    "kernel-text": "adwm[eta=0.0,omega=1.0,reads=text]",
    "brief": "adwm[adapter=short,heads=logged]",
    "brief-kernel": "adwm[adapter=short,eta=0.0,heads=logged,omega=1.0]",
    "gaussian_wm": "gaussian_wm",
    "diffusion_wm": "diffusion_wm",
    "calibrated_wm": "calibrated_wm",
    "retrieval_wm": "retrieval_wm",
    "autoregressive_wm": "autoregressive_wm",
    "joint_diffusion": "joint_diffusion",
    "adwm_dr": "adwm_dr",
    "fitted_q": "fitted_q",
    "magic": "magic",
    "doubly_robust": "doubly_robust",
}
KINDS = ("error", "step", "ablation", "agreement", "calibration", "omega", "new")
"""What a name begins with."""
_FIRST = re.compile(r"^\s*(?:[-*] )?<!-- value:[^ ]+ -->", re.M)
_VALUE = re.compile(r"(<!-- value:([^ ]+) -->)(.*?)(<!-- /value -->)", re.S)


def fill_values(text: str, values: Mapping[str, str]) -> str:
    """The text with every value renewed; a dash where nothing is known of one.

    Raises:
        UnknownNameError: a name of no kind that there is.
        BenchError: a value at the beginning of a line, where Markdown takes the whole line for HTML.
    """
    if first := _FIRST.search(text):
        raise BenchError(
            f"`{first[0].strip()}` begins a line, and Markdown takes that line for HTML: break it elsewhere."
        )

    def renewed(match: re.Match[str]) -> str:
        kind = match[2].split("/")[0]
        if kind not in KINDS:
            raise UnknownNameError("kind of value on the page", kind, KINDS)
        return f"{match[1]}{values.get(match[2], DASH)}{match[4]}"

    return _VALUE.sub(renewed, text)


def page_values(results: Path, scores: Scores | None, records: Iterable[Record]) -> dict[str, str]:
    """Name to text of every value that stored cells and answers can tell.

    Args:
        results: folder of the results. scores: of its leaderboard; None without cells. records: its cells.
    """
    found = dict(_omegas(kept_answer(results, "held_out_omega") or {}))
    found |= dict(_new_actions(kept_answer(results, "new_actions") or {}))
    found |= dict(_steps(kept_answer(results, "decomposition") or {}))
    found |= dict(_ablation(kept_answer(results, "ablation") or {}))
    found |= dict(_calibration(kept_answer(results, "calibration") or {}))
    found |= dict(_agreements(records))
    return found | (dict(_scored(scores)) if scores is not None else {})


def _scored(scores: Scores) -> Iterator[tuple[str, str]]:
    names = {spec: name for name, spec in ESTIMATORS.items()}
    for row in overall(scores):
        if row.log != ALL and row.spec in names and row.boards == row.n_boards:
            yield f"error/{names[row.spec]}/{row.log}", _share(row.averages["mae"].value)
    for standing in scores.main:
        board = standing.board
        for spec in set(names) & set(standing.table):
            where, error = f"{names[spec]}/{board.log}/{board.task}", standing.table[spec]["mae"].value
            if error is not None and board.span > 0:
                yield f"error/{where}", _share(error / board.span)


def _agreements(records: Iterable[Record]) -> Iterator[tuple[str, str]]:
    names = {spec: name for name, spec in ESTIMATORS.items()}
    found = defaultdict(list)
    for record in current(records)[0]:
        if record.spec in names and "adapter_agreement" in record.diagnostics:
            where = f"{names[record.spec]}/{record.cell.log}/{record.cell.task}"
            found[where].append(record.diagnostics["adapter_agreement"])
    for where, shares in found.items():
        yield f"agreement/{where}", f"{100 * np.mean(shares):.0f} %"


def _steps(answer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    boards = answer.get("boards", [])
    for k, step in enumerate(answer.get("steps", [])):
        name = f"step/{_slug(step['name'])}"
        known = [(board, board["steps"][k]) for board in boards if board["steps"][k]["cells"]]
        for board, found in known:
            yield f"{name}/{board['log']}/{board['task']}", _difference(found["difference"])
        recorded = [found["difference"] for board, found in known if not board["exact"]]
        if recorded:
            yield name, _difference(float(np.mean(recorded)))
            yield f"{name}/lower", f"{sum(x < 0 for x in recorded)} of {len(recorded)}"
        blocks = [x for board, found in known if not board["exact"] for x in found.get("blocks", {}).values()]
        if blocks:
            better, worse = (sum(sign * x >= 0.0005 for x in blocks) for sign in (-1, 1))
            yield f"{name}/blocks", str(len(blocks))
            yield f"{name}/blocks/better", str(better)
            yield f"{name}/blocks/alike", str(len(blocks) - better - worse)
            yield f"{name}/blocks/worse", str(worse)
            yield f"{name}/blocks/worst", number(max(blocks), sign=True)


def _ablation(answer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for board in answer.get("boards", []):
        for row in board["variants"]:
            if row["cells"] and board["range"]:
                name = f"ablation/{board['task']}/{_slug(row['variant'])}"
                yield name, _share(row["mae"]["value"] / board["range"])
                for key in ("minus_kernel", "minus_whole"):
                    if row.get(key):
                        yield f"{name}/{key.replace('_', '-')}", _difference(row[key]["difference"] / board["range"])


def _omegas(answer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for board, found in answer.get("tasks", {}).items():
        task = board.partition(",")[0]
        for row in found["omegas"]:
            name = f"omega/{found['log']}/{task}/{row['omega']:g}"
            if found["paid"]:
                yield f"{name}/paid", _share(row["paid"] / found["paid"])
            for loss in ("energy", "ending", "reward"):
                yield f"{name}/{loss}", number(row[loss]["more"], sign=True)


def _new_actions(answer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for board, found in answer.get("tasks", {}).items():
        name = f"new/{found['log']}/{board.partition(',')[0]}"
        for kind, one in found["kinds"].items():
            for said in ("kernel", "corrected"):
                if ratio := one[f"{said}_over_real"]:
                    yield f"{name}/{kind}/{said}", f"{ratio['value']:.1f}"
                    yield f"{name}/{kind}/{said}/interval", f"{ratio['low']:.1f} to {ratio['high']:.1f}"


def _calibration(answer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    names = {spec: name for name, spec in ESTIMATORS.items()}
    for task, entry in answer.get("tasks", {}).items():
        yield from _repeats(f"calibration/{task}/log", [entry["log_repeats"]])
        for spec in set(names) & set(entry["models"]):
            told = [x for x in entry["models"][spec]["targets"].values() if "declined" not in x]
            if told:
                name, gaps = f"calibration/{task}/{names[spec]}", [x["hallucinated_success"] for x in told]
                yield f"{name}/length", f"{np.mean([x['simulated_length'] - x['real_length'] for x in told]):+.1f}"
                yield f"{name}/hallucinated", _difference(float(np.mean(gaps)))
                yield f"{name}/most", _difference(max(gaps))
                yield from _repeats(name, [x["repeats"] for x in told])


def _repeats(name: str, counts: Sequence[Mapping[str, int]]) -> Iterator[tuple[str, str]]:
    asked, differ = (sum(x[key] for x in counts) for key in ("asked", "differ"))
    if asked:
        yield f"{name}/repeats", f"{100 * differ / asked:.0f} %"


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _share(value: float) -> str:
    return f"{value:.2f}"


def _difference(value: float) -> str:
    return f"{value:+.2f}" if abs(value) >= 0.005 else "0.00"
