"""What does each part of adwm do? Its ablation and a grid over both scales of guidance, against the kernel.

    python -m studies.ablation run --task scienceworld      # resumable; hours, see --dry-run
    python -m studies.ablation table                        # tables, figures, tuned scales

Cells are kept in `<results>/ablation`; what `<results>` holds of the same key already is copied, not computed again.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, UseAppendAction, arg, subcommand

from bench.board import Board, boards
from bench.errors import BenchError
from bench.executors import resolve_workers
from bench.plan import Job, Selection, missing, plan, targets_by_task
from bench.plots.style import save
from bench.provenance import take_provenance
from bench.registry import make_estimator, spec_of
from bench.runner import keep_truth
from bench.runner import run as compute
from bench.scoring import DRAWS
from bench.store import Store
from bench.timings import forecast
from studies import tuned_scales
from studies.ablation_figure import ablation_figure
from studies.ablation_table import Reference, as_markdown, board_answer, grid_markdown
from studies.answers import RESULTS, figure_folder, keep_answer, start
from studies.guidance_bias import ETAS, OMEGAS
from studies.heat_map import heat_maps

NAME = "ablation"
FOLDER = "ablation"
"""Of the cells, inside the results folder."""
BRIEF = "adapter=short,heads=logged"
"""The training before version 6: adapters of 160 updates, heads that know logged latents alone."""


@dataclass(frozen=True)
class Ablated:
    """A training of adwm and what was ablated after it, as specs.

    Attributes:
        name: what tables call the training. settings: parameters of adwm that ask for it.
        variants: name to spec, `whole` and `kernel` among them.
    """

    name: str
    settings: str
    variants: dict[str, str]

    @property
    def whole(self) -> str:
        """adwm itself, which every row is compared with."""
        return canonical(f"adwm[{self.settings}]")

    @property
    def kernel(self) -> str:
        """The control with omega = 1 and eta = 0, which every row is compared with."""
        return self.scaled(1.0, 0.0)

    def scaled(self, omega: float, eta: float) -> str:
        """The canonical spec with these scales."""
        return canonical(f"adwm[{','.join(filter(None, (self.settings, f'omega={omega}', f'eta={eta}')))}]")

    def grid(self) -> dict[tuple[float, float], str]:
        """(omega, eta) to canonical spec."""
        return {(omega, eta): self.scaled(omega, eta) for omega in OMEGAS for eta in ETAS}

    def specs(self) -> list[str]:
        """Variants and grid, canonical; some are both."""
        return [*map(canonical, self.variants.values()), *self.grid().values()]


LATE = Ablated(
    "now",
    "",
    {
        "whole": "adwm",
        "no action guidance (CFG)": "adwm[omega=0]",
        "no continuation": "adwm[eta=0]",
        "continuation alone": "adwm[omega=1]",
        "early guidance": "adwm[guided_below=5]",
        "early guidance x 10": "adwm[eta=3,guided_below=5]",
        "logged heads": "adwm[heads=logged]",
        "kernel": "adwm[omega=1,eta=0]",
        "kernel, agent reads text": "adwm[omega=1,eta=0,reads=text]",
        "kernel, agent reads text, new actions corrected": "calibrated_wm",
        "Gaussian latent": "gaussian_wm",
    },
)
EARLY = Ablated(
    "brief",
    BRIEF,
    {
        "brief: whole": f"adwm[{BRIEF}]",
        "brief: no action guidance (CFG)": f"adwm[{BRIEF},omega=0]",
        "brief: no continuation": f"adwm[{BRIEF},eta=0]",
        "brief: negative behavior term": f"adwm[{BRIEF},behavior=1]",
        "brief: no adapter training": "adwm[adapter=linear,heads=logged]",
        "brief: frozen encoder": f"adwm[{BRIEF},frozen_encoder=true]",
        "brief: no goal relation": f"adwm[{BRIEF},goal_relation=false]",
        "brief: kernel": f"adwm[{BRIEF},omega=1,eta=0]",
    },
)
"""After the brief training: whoever ablates an encoder must train every agent's adapter anew."""
ABLATED = (LATE, EARLY)
LOGS, SEEDS = ("pooled",), (0, 1, 2)
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
Many = UseAppendAction[tuple[str, ...]]


def canonical(spec: str) -> str:
    """The spec under which cells are stored."""
    return spec_of(make_estimator(spec))


def variants() -> dict[str, str]:
    """The ablation: name to canonical spec."""
    return {name: canonical(spec) for part in ABLATED for name, spec in part.variants.items()}


def references() -> dict[str, Reference]:
    """Canonical spec to what it is compared with."""
    return {spec: Reference(part.whole, part.kernel) for part in ABLATED for spec in part.specs()}


def grids() -> dict[str, dict[tuple[float, float], str]]:
    """Name of a training to its grid: (omega, eta) to canonical spec."""
    return {part.name: part.grid() for part in ABLATED}


def specs() -> tuple[str, ...]:
    """Everything to run, each once."""
    return tuple(dict.fromkeys(spec for part in ABLATED for spec in part.specs()))


def bracketed(spec: str) -> str:
    """The spec as a selection wants it: a bare name would mean all leaderboard variants of the estimator."""
    return spec if "[" in spec else f"{spec}[]"


def reuse(jobs: Iterable[Job], source: Store, target: Store) -> int:
    """Copies cells that the target lacks and the source has (done or declined); returns how many."""
    copied = 0
    for job in missing(jobs, target):
        for cell in job.cells:
            record = source.load(cell)
            if record is not None and record.status != "failed":
                target.save(record, source.replicates(record) if record.status == "done" else None)
                copied += 1
    return copied


@dataclass
class Run:
    """Compute the missing cells of ablation and grid. Stop it at any time; the same command goes on."""

    task: Many = ()
    """A task; default: all."""
    policies: Many = ()
    """A target policy; default: all."""
    estimator: Many = ()
    """Only this spec of the study; default: all."""
    seed: UseAppendAction[tuple[int, ...]] = ()
    """A block of the log; default: 0, 1 and 2."""
    n: int | None = None
    """Episodes per block; default: as published."""
    workers: int | None = None
    """Worker processes; default: one per core."""
    backend: Literal["serial", "loky"] = "loky"
    """loky: worker processes; serial: this process. The numbers are the same."""
    results: Path = RESULTS
    """Folder of the results."""
    dry_run: FlagCreatePairsOff[bool] = False
    """Only predict cells, hours and memory, from the timings of stored cells."""

    def jobs(self) -> list[Job]:
        """All jobs, stored or not."""
        asked = tuple(map(canonical, self.estimator)) or specs()
        strange = sorted(set(asked) - set(specs()))
        if strange:
            raise BenchError(f"--estimator {', '.join(strange)}: not in this study. It holds {', '.join(specs())}.")
        seeds = self.seed or SEEDS
        return plan(Selection("published", self.task, tuple(map(bracketed, asked)), self.policies, LOGS, self.n, seeds))

    def main(self) -> int:
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))  # for the workers, which start later
        jobs, store = self.jobs(), Store(self.results / FOLDER)
        workers = resolve_workers(self.backend, self.workers)
        if self.dry_run:
            records = [record for s in (store, Store(self.results)) for record in s.records()]
            print(forecast(missing(jobs, store), records, workers))
            return 0
        total = sum(len(job.cells) for job in jobs)
        copied = reuse(jobs, Store(self.results), store)
        left = missing(jobs, store)
        for path in store.set_aside():
            print(f"unreadable, set aside and computed anew: {path}", file=sys.stderr)
        open_cells = sum(len(job.cells) for job in left)
        print(f"{total} cells, {total - open_cells} stored ({copied} of them just copied), {open_cells} to compute")
        for task, policies in targets_by_task(jobs).items():
            if not store.has_truth(task, policies):
                keep_truth(task, store)
        if not left:
            return 0
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        outcome = compute(left, store.results, take_provenance(), self.backend, workers)
        print(", ".join(f"{n} {status}" for status, n in sorted(outcome.counts.items())) or "no cell finished")
        return 130 if outcome.interrupted else 1 if outcome.counts.get("failed") else 0


@dataclass
class Table:
    """Tables and figures from stored cells, and the scales that `adwm[tuned=true]` uses; computes no estimate."""

    results: Path = RESULTS
    """Folder of the results."""

    def main(self, n_draws: int = DRAWS) -> int:
        found, notes = stored_boards(self.results)
        answers = [board_answer(board, variants(), grids(), references(), n_draws) for board in found]
        content = {"omega": OMEGAS, "eta": ETAS, "boards": answers, "notes": notes}
        text, cells = as_markdown(answers), grid_markdown(answers, OMEGAS, ETAS)
        path = keep_answer(self.results, NAME, {**content, "grid_table": cells}, text)
        folder = figure_folder(self.results)
        save(ablation_figure(answers), folder, NAME)
        unit = "mean absolute error / range of true values"
        errors = tuned_scales.grids(found, LATE.grid(), OMEGAS, ETAS)
        save(heat_maps(errors, OMEGAS, ETAS, "Scales of guidance", unit), folder, "ablation_grid")
        chosen = tuned_scales.choose_all(found, LATE.grid(), LATE.whole)
        scales = keep_answer(self.results, tuned_scales.NAME, chosen, tuned_scales.as_markdown(chosen))
        print(f"{text}\n\n{cells}\n\n{tuned_scales.as_markdown(chosen)}\n\n{path}\n{scales}")
        for line in tuned_scales.outdated(Store(self.results).records(), chosen):
            print(line, file=sys.stderr)
        return 0


def stored_boards(results: Path) -> tuple[list[Board], list[str]]:
    """The boards of the study, the largest size of each task.

    Raises:
        BenchError: nothing is stored.
    """
    store = Store(Path(results) / FOLDER)
    found, notes = boards(store.records(), store.replicates)
    if not found:
        raise BenchError(f"{store.cells} holds no cells. Run `python -m studies.ablation run` first.")
    largest = {board.task: board for board in sorted(found, key=lambda b: b.n)}
    return [largest[task] for task in sorted(largest)], notes


Command = Annotated[Run, subcommand("run")] | Annotated[Table, subcommand("table")]


def main(command: OmitArgPrefixes[Annotated[Command, arg(name="")]]) -> int:
    """Ablation of adwm, and a grid over the scales of its guidance."""
    return command.main()


if __name__ == "__main__":
    sys.exit(start(main))
