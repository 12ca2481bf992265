"""The front door: `python run_bench.py --help`. Heavy imports wait until a command needs them."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, subcommand

if TYPE_CHECKING:
    from bench.plan import Job, Selection
    from bench.store import Store

Many = UseAppendAction[tuple[str, ...]]
RESULTS = Path("results")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass
class _Grid:
    task: Many = ()
    """A task; default: all."""
    estimator: Many = ()
    """An estimator; default: all. `name`: its leaderboard variants; `name[]`: its defaults;
    `name[parameter=value,...]`: exactly that. See `list estimators`."""
    policy: Many = ()
    """A target policy; default: as the profile says. See `list policies`."""
    log: Many = ()
    """A log; default: as the profile says. See `list tasks`."""
    profile: Literal["quick", "published"] = "quick"
    """quick: 300 episodes of the pooled log, one seed, four targets per task. published: the grid behind the
    published leaderboard."""
    n: int | None = None
    """Episodes per block of the log; default: as the profile says."""
    seed: UseAppendAction[tuple[int, ...]] = ()
    """Which of the disjoint blocks of the log, counted from 0; default: as the profile says."""
    results: Path = RESULTS
    """Folder of the results."""

    def selection(self) -> Selection:
        from bench.plan import Selection

        return Selection(self.profile, self.task, self.estimator, self.policy, self.log, self.n, self.seed)


@dataclass
class Run(_Grid):
    """Compute the missing cells of a grid. Stop it at any time; the same command goes on."""

    backend: Literal["serial", "loky"] = "loky"
    """loky: worker processes; serial: this process, for debugging. The numbers are the same."""
    workers: int | None = None
    """Worker processes of loky; default: one per core."""
    redo: Many = ()
    """Forget the stored cells of this estimator (within the grid) first; name or spec."""
    refit: FlagCreatePairsOff[bool] = False
    """Train world models anew instead of using committed or cached fits (with --redo for cells that are stored)."""
    train_on: str = "cpu"
    """Where world models are trained, by its name in torch, e.g. cuda. Agents and simulations stay on the CPU."""
    keep_fits: FlagCreatePairsOff[bool] = False
    """Copy the world models that were used to results/fits, from where every later run takes them; for committing."""
    dry_run: FlagCreatePairsOff[bool] = False
    """Only predict cells, hours and memory, from the timings of stored cells."""

    def main(self) -> int:
        for name in THREAD_VARIABLES:  # before numpy or torch start their pools
            os.environ[name] = "1"
        if self.refit:
            os.environ["OPE_REFIT"] = str(time.time())  # read by the store of fits, in every worker
        if self.keep_fits:
            os.environ["OPE_KEEP_FITS"] = "yes"
        from bench.errors import BenchError
        from bench.executors import resolve_workers
        from bench.plan import matching, missing, plan
        from bench.store import Store
        from bench.timings import forecast

        if self.workers is not None and (self.backend == "serial" or self.workers < 1):
            raise BenchError(
                f"--workers {self.workers} with --backend {self.backend}: give at least 1, and only with loky."
            )
        if self.train_on != "cpu":
            from estimators._world.devices import TRAIN_ON, training_device

            os.environ[TRAIN_ON] = self.train_on
            training_device()  # an error now, not one in every cell
        jobs, store = plan(self.selection()), Store(self.results)
        again = matching(jobs, self.redo)
        workers = resolve_workers(self.backend, self.workers)
        if self.dry_run:
            keys = {cell.key for cell in again}
            timed = {self.results, RESULTS}  # a new folder holds no timings; the published results do
            records = [record for folder in sorted(timed) for record in Store(folder).records()]
            print(forecast(missing(jobs, store, keys), records, workers))
            return 0
        if self.redo:
            print(f"forgot {store.forget(again)} stored cells: {', '.join(self.redo)}")
        left = missing(jobs, store)
        for path in store.set_aside():
            print(f"unreadable, set aside and computed anew: {path}", file=sys.stderr)
        return self._compute(jobs, left, store, workers)

    def left_out(self) -> list[str]:
        """Estimators that exist but are in no cell of this profile."""
        from bench.plan import profile_estimators
        from bench.registry import estimator_names

        return [] if self.estimator else [n for n in estimator_names() if n not in profile_estimators(self.profile)]

    def _compute(self, jobs: list[Job], left: list[Job], store: Store, workers: int) -> int:
        from bench.errors import BenchError
        from bench.plan import targets_by_task, too_short
        from bench.provenance import take_provenance
        from bench.runner import keep_truth, run

        for line in too_short(self.selection()):
            print(line)
        total, count = (sum(len(job.cells) for job in part) for part in (jobs, left))
        if not total:
            raise BenchError(
                "nothing to compute: the selection holds no cell. See `list` for tasks, logs and policies."
            )
        print(f"{total} cells, {total - count} stored, {count} to compute")
        if left_out := self.left_out():
            print(f"left out of the quick profile, because they train for minutes: {', '.join(left_out)} (--estimator)")
        renewed = {job.task for job in left}
        for task, policies in targets_by_task(jobs).items():
            if task in renewed or not store.has_truth(task, policies):
                keep_truth(task, store)
        finished = f"Tables and figures: python run_bench.py report --results {self.results}"
        if not left:
            print(finished)
            return 0
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # schedulers ask politely first: stop as for Ctrl-C
        outcome = run(left, self.results, take_provenance(), self.backend, workers)
        print(", ".join(f"{n} {status}" for status, n in sorted(outcome.counts.items())) or "no cell finished")
        if outcome.interrupted:
            stored = total - count + sum(outcome.counts.values())
            print(f"Stopped: {stored} of {total} cells are stored. Go on with:\n  {_same_command()}", file=sys.stderr)
            return 130
        print(finished)
        if outcome.counts.get("unsupported"):
            print(_declined(left, store))
        if outcome.counts.get("failed"):
            print(_failures(left, store), file=sys.stderr)
            return 1
        return 0


def _declined(jobs: list[Job], store: Store) -> str:
    """Why estimators declined."""
    from bench.status import declined

    records = filter(None, (store.load(cell) for job in jobs for cell in job.cells))
    return "\n".join(["Declined:", *declined(record for record in records if record.status == "unsupported")])


def _failures(jobs: list[Job], store: Store) -> str:
    """The first failures in a line each, and where the tracebacks are."""
    from bench.status import failed_lines

    records = filter(None, (store.load(cell) for job in jobs for cell in job.cells))
    failed = [record for record in records if record.status == "failed"]
    return "\n".join(
        [
            "Some cells failed and will be retried by the next run:",
            *failed_lines(failed, 5),
            f"Details: `reason` in the records, e.g. {store.path(failed[0].cell)}",
        ]
    )


def _same_command() -> str:
    """The command that continues this one: all of it but --redo, whose cells are forgotten already."""
    words, skip = [], False
    for word in sys.argv[1:]:
        if not skip and not word.startswith("--redo="):
            words.append(word)
        skip = word == "--redo"
        if skip:
            words.pop()
    return shlex.join(["python", sys.argv[0], *words])


@dataclass
class Report:
    """Write tables and plots from stored cells; computes no estimate."""

    results: Path = RESULTS
    """Folder of the results."""
    readme: Path | None = None
    """Also renew the generated blocks of this file, e.g. README.md."""

    def main(self) -> int:
        from bench.errors import BenchError
        from bench.report import leaderboard_text, write_report

        if self.readme is not None and not self.readme.is_file():
            raise BenchError(f"--readme {self.readme}: there is no such file.")
        print("scoring stored cells; with a full leaderboard this takes a minute or two", file=sys.stderr)
        folder = write_report(self.results)
        print(leaderboard_text(self.results))
        print(f"\ntables:  {folder / 'leaderboard.md'} and csv files beside it\nfigures: {folder / 'figures'}")
        if self.readme is not None:
            from bench.readme import update_readme

            print(f"renewed in {self.readme}: {', '.join(update_readme(self.readme, self.results))}")
        return 0


@dataclass
class Status(_Grid):
    """Say what of a grid is done, missing, failed, unsupported, stale or unreadable."""

    drop_replaced: FlagCreatePairsOff[bool] = False
    """Delete superseded cells of this grid whose question has been answered anew."""

    def main(self) -> int:
        from bench.plan import plan
        from bench.status import replaced, status_text
        from bench.store import Store

        jobs, store = plan(self.selection()), Store(self.results)
        if self.drop_replaced:
            print(f"deleted {store.forget(replaced(list(store.records()), jobs))} replaced cells\n")
        print(status_text(jobs, store))
        return 0


@dataclass
class List:
    """List tasks, target policies, and estimators with their parameters."""

    what: Positional[Literal["all", "tasks", "policies", "estimators"]] = "all"
    """What to list."""
    task: Many = ()
    """For policies: only those of this task."""

    def main(self) -> int:
        from bench import catalog
        from bench.errors import BenchError

        if self.task and self.what != "policies":
            raise BenchError(f"list {self.what} takes no --task; it narrows `list policies`.")
        texts = {
            "tasks": catalog.list_tasks,
            "policies": lambda: catalog.list_policies(self.task),
            "estimators": catalog.list_estimators,
        }
        print("\n\n".join(text() for what, text in texts.items() if self.what in (what, "all")))
        return 0


@dataclass
class Collect:
    """Record a task anew in its live environment: train agents, record logs, measure truth (extra `live`)."""

    task: str
    """The task."""
    out: Path | None = None
    """Where the recording goes; default: the task's own folder."""
    part: Many = ()
    """Only this part of the recording; default: all."""
    log: Many = ()
    """Only this log, by the agents that are there; default: all logs, agents and true values."""
    workers: int = 1
    """Processes with a live environment each."""

    def main(self) -> int:
        from bench.collect import collect

        chosen = {"parts": self.part} if self.part else {}
        print(collect(self.task, out=self.out, workers=self.workers, logs=self.log, **chosen))
        return 0


@dataclass
class Import:
    """Read somebody's logs in any supported format, say what was understood, write canonical Parquet."""

    path: Positional[Path]
    """File or folder to read; the format is recognized."""
    out: Path
    """Parquet file to write."""
    task: str | None = None
    """The task the logs belong to; default: recognized from the format."""

    def main(self) -> int:
        from bench.importing import import_log

        print(import_log(self.path, task=self.task, out=self.out))
        return 0


@dataclass
class Estimate:
    """Judge your own agent from your own log, by every estimator that can. See docs/evaluate-your-agent.md."""

    path: Positional[Path]
    """A canonical log, JSON lines or Parquet; `import` makes one."""
    agent: str
    """FILE.py:NAME, a policy or a function that makes one; or a Hugging Face chat model, by folder or name."""
    estimator: Many = ()
    """An estimator, as for `run`; default: all that do not train for many minutes."""
    actions: Literal["raw", "canonical"] = "raw"
    """Which text of an action counts, where the log has both."""
    temperature: float = 1.0
    """At which a chat model samples."""
    chat: Path | None = None
    """What a chat model is told: JSON with system, instruction, acknowledgement, max_observation_tokens,
    max_action_tokens (`bench.agents.chat.ChatFormat`)."""
    device: str = "cpu"
    """Where a chat model is computed: cpu, cuda, cuda:1, ..."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of a chat model. Anything but float32 shows in the log-probabilities."""
    seed: int = 0
    """Of everything random."""
    out: Path | None = None
    """Also write the records, diagnostics included, to this JSON file."""

    def main(self) -> int:
        for name in THREAD_VARIABLES:
            os.environ[name] = "1"
        import json

        from bench.canonical import read_log
        from bench.errors import BenchError
        from bench.own_agent import Agent, as_table, judge_agent, left_out, logged_share

        if self.out is not None and (self.out.is_dir() or not self.out.resolve().parent.is_dir()):
            raise BenchError(f"--out {self.out}: must be a file in a folder that exists.")
        data = read_log(self.path, actions=self.actions)
        policy = Agent(self.agent, self.temperature, self.chat, self.device, self.dtype).load()
        if names := left_out(self.estimator):
            print(f"left out, because they train for many minutes: {', '.join(names)} (--estimator)", file=sys.stderr)
        shared = logged_share(policy, data)
        records = judge_agent(policy, data, self.path.name, self.estimator, self.seed)
        if self.out is not None:
            text = json.dumps([record.model_dump() for record in records], indent=1, allow_nan=False)
            self.out.write_text(text + "\n", encoding="utf-8")
        print(as_table(records, data, shared))
        if self.out is not None:
            print(f"\nrecords: {self.out}")
        return 1 if any(record.status == "failed" for record in records) else 0


Command = (
    Annotated[Run, subcommand("run")]
    | Annotated[Report, subcommand("report")]
    | Annotated[Status, subcommand("status")]
    | Annotated[List, subcommand("list")]
    | Annotated[Collect, subcommand("collect")]
    | Annotated[Import, subcommand("import")]
    | Annotated[Estimate, subcommand("estimate")]
)


def main() -> int:
    """Runs one command; errors that are the user's to mend are printed without a traceback, exit code 2."""
    command = tyro.cli(Command, description="Off-policy evaluation of LLM agents: the benchmark.")
    from bench.errors import BenchError

    try:
        return command.main()
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `list estimators | head`
        sys.stderr.close()
        return 0


if __name__ == "__main__":
    sys.exit(main())
