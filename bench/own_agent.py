"""One's own agent, judged from one's own log: every estimator that can, side by side, without a task to register."""

from __future__ import annotations

import importlib.util
import json
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from bench.cells import Cell, Record
from bench.data import LoggedDataset
from bench.errors import BenchError, UnsupportedError
from bench.estimator import Estimator
from bench.executors import one_thread
from bench.material import SharedScores
from bench.plan import chosen_estimators, profile_estimators
from bench.policy import Policy
from bench.registry import estimator_names
from bench.runner import Judge, attempt
from bench.tables import DASH, number, table

if TYPE_CHECKING:
    from bench.agents.chat import ChatFormat

CHECKED = 2
"""Episodes that an agent must score sensibly before anything is computed."""
ASKED = 20
"""Episodes along which the agent is asked what it would do."""
STRANGE = 0.2
"""Share of known actions below which a warning is printed."""
CONFOUNDED = 0.1
"""Difference between a logger's share in an instance and its share in the log above which a note is printed."""
FEW = 10.0
"""Effective episodes below which an estimate by weighting rests on next to nothing."""


@dataclass(frozen=True)
class Agent:
    """Where an agent comes from.

    Attributes:
        source: `FILE.py:NAME`, a `Policy` in a Python file or a function without arguments that makes one; or a Hugging
            Face chat model, by folder or by name on the hub.
        temperature: of a chat model.
        chat: JSON file with the fields of `bench.agents.chat.ChatFormat`, for a chat model; None for its defaults.
        device, dtype: where and how precisely a chat model is computed.
    """

    source: str
    temperature: float = 1.0
    chat: Path | None = None
    device: str = "cpu"
    dtype: str = "float32"

    def load(self) -> Policy:
        """The agent.

        Raises:
            BenchError: there is none.
        """
        path, colon, name = self.source.rpartition(":")
        if colon and path.endswith(".py"):
            own = (self.temperature, self.chat, self.device, self.dtype)
            if own != (Agent.temperature, Agent.chat, Agent.device, Agent.dtype):
                raise BenchError(f"{self.source}: a policy of your own decides temperature, format and device itself.")
            return _from_file(Path(path), name)
        if self.source.endswith(".py") or (Path(self.source).is_file() and not colon):
            raise BenchError(f"{self.source}: which policy in it? Write FILE.py:NAME.")
        if not self.temperature > 0:
            raise BenchError(f"--temperature {self.temperature}: must be above 0; for a greedy agent say 0.01.")
        from bench.agents.chat import ChatFormat, chat_policy

        form = ChatFormat() if self.chat is None else _chat_format(self.chat, ChatFormat)
        return chat_policy(Path(self.source).name, self.source, form, self.temperature, self.device, self.dtype)


def judge_agent(
    policy: Policy, data: LoggedDataset, log: str, specs: Sequence[str] = (), seed: int = 0
) -> list[Record]:
    """Estimates of one policy's value by many estimators, from all of a log.

    Args:
        log: a name for it, for the records.
        specs: estimators as on the command line; none: all that do not train for many minutes.
        seed: of everything random.

    Returns:
        A record per estimator: done, unsupported with a reason, or failed with a traceback.

    Raises:
        BenchError: the policy does not do what a `Policy` must.
    """
    check_agent(policy, data)
    shared = SharedScores(policy, data)
    estimators = chosen_estimators(specs or profile_estimators("quick"))
    records = []
    with one_thread(), tqdm(estimators.items(), unit="estimator", file=sys.stderr, mininterval=0) as bar:
        for spec, estimator in bar:
            bar.set_description(spec)
            records.append(_judged(shared, data, log, spec, estimator, seed))
    return records


def left_out(specs: Sequence[str]) -> list[str]:
    """Estimators that are not computed unless they are asked for."""
    return [] if specs else sorted(set(estimator_names()) - set(profile_estimators("quick")))


def check_agent(policy: Policy, data: LoggedDataset) -> None:
    """Asks the agent about the first episodes.

    Raises:
        BenchError: it lacks a method, or its answers have the wrong shape or are no log-probabilities.
    """
    if not isinstance(policy, Policy):
        missing = [name for name in ("name", "log_prob_episodes", "next_actions", "start") if not hasattr(policy, name)]
        raise BenchError(f"{type(policy).__name__} is no policy: it lacks {', '.join(missing)} (see bench/policy.py).")
    if not data.has_propensities:
        return  # nothing will ask for probabilities, and not every agent knows them
    first = data.trajectories[:CHECKED]
    try:
        found = list(policy.log_prob_episodes(first))
    except UnsupportedError:
        return  # an agent that tells no probabilities: estimators that need them will decline it
    if len(found) != len(first):
        raise BenchError(f"policy {policy.name!r}: {len(found)} arrays of log-probabilities for {len(first)} episodes.")
    for trajectory, values in zip(first, found, strict=True):
        values = np.asarray(values, dtype=float)
        where = f"policy {policy.name!r}, episode {trajectory.id!r}"
        if values.shape != (len(trajectory),):
            raise BenchError(f"{where}: log-probabilities of shape {values.shape} for {len(trajectory)} steps.")
        if np.isnan(values).any() or (values > 1e-6).any():
            raise BenchError(f"{where}: {values} are no log-probabilities: each must be at most 0, and none NaN.")


def logged_share(policy: Policy, data: LoggedDataset) -> float | str | None:
    """Share of the actions the agent takes at some logged steps that occur anywhere in the log; None if it does not
    say, the error if it cannot."""
    known = {step.action for t in data.trajectories for step in t.steps}
    try:
        drawn = policy.next_actions(data.trajectories[:ASKED], 1, 0)
    except UnsupportedError:
        return None
    except Exception as error:  # somebody else's code: what needs no next actions can still be estimated
        return f"{type(error).__name__}: {error}".rstrip(": ")
    taken = [action in known for episode in drawn for actions in episode for action in actions]
    return float(np.mean(taken)) if taken else None


def unbalanced(data: LoggedDataset) -> list[str]:
    """What a log over a fixed list of instances lacks that some estimators count on."""
    if not data.fixed_instances:
        return []
    columns = data.columns
    visits = np.zeros((len(columns.instances), len(data.loggers)))
    np.add.at(visits, (columns.instance, columns.logger), 1)
    notes = []
    if len(set(visits.sum(axis=1).tolist())) > 1:
        notes.append(
            "the log visits its task instances unequally often. World models start equally often in each; estimators "
            "that average logged episodes weigh them as the log does. These are two different values."
        )
    shares = visits / visits.sum(axis=1, keepdims=True)
    if np.abs(shares - visits.sum(axis=0) / visits.sum()).max() > CONFOUNDED:
        notes.append(
            "which agent wrote an episode depends on its task instance. Estimators with balanced=true take the loggers "
            "for one mixture over all instances, and are biased by that; balanced=false is not."
        )
    return notes


def as_table(records: Sequence[Record], data: LoggedDataset, shared: float | str | None = None) -> str:
    """The estimates, the log's own mean first, and what limits them.

    Args:
        shared: see `logged_share`.
    """
    returns = data.columns.returns(data.gamma)
    rows = []
    for record in sorted(records, key=lambda r: (r.status != "done", r.family)):
        ess = record.diagnostics.get("ess")
        shown = number(record.value) if record.status == "done" else DASH
        effective = DASH if ess is None else f"{ess:.1f}"
        rows.append([f"`{record.spec}`", record.family, shown, _interval(record), effective, _remark(record)])
    header = ["estimator", "family", "estimate", "95 % interval", "effective episodes", "remark"]
    head = f"{len(data)} episodes of {', '.join(data.loggers)}; their own mean return is {returns.mean():.4g}."
    head += "".join(f"\nNOTE: {note}" for note in unbalanced(data))
    if isinstance(shared, str):
        head += f"\nWARNING: your agent does not say what it would do at logged steps ({shared})."
    elif shared is not None:
        head += f"\nOf the actions your agent takes at logged steps, {shared:.0%} occur anywhere in the log."
        if shared < STRANGE:
            head += (
                "\nWARNING: the log hardly knows what your agent does. Whatever the estimators say below, world models "
                "and regressions included, is extrapolated. Do agent and log write actions alike (--actions)?"
            )
    return f"{head}\n\n{table(header, rows)}"


def _judged(policy: SharedScores, data: LoggedDataset, log: str, spec: str, estimator: Estimator, seed: int) -> Record:
    block = (data.task, log, len(data), seed)
    cell = Cell(
        task=data.task,
        log=log,
        data=data.fingerprint,
        policy=policy.name,
        estimator=estimator.name,
        version=estimator.version,
        params=estimator.identity(),
        n_trajectories=len(data),
        seed=seed,
    )
    record, _ = attempt(Judge(estimator, data, block, spec), cell, lambda: policy)
    return record


def _interval(record: Record) -> str:
    if record.ci_low is None or record.interval != "sampling":
        return DASH
    return f"[{number(record.ci_low)}, {number(record.ci_high)}]"


def _remark(record: Record) -> str:
    if record.status == "failed":
        return f"failed: {record.reason.strip().splitlines()[-1]}"
    if record.status == "unsupported":
        return f"declined: {record.reason}"
    ess = record.diagnostics.get("ess")
    few = "next to no overlap between log and agent" if ess is not None and ess < FEW else ""
    return "; ".join(filter(None, (few, record.note)))


def _from_file(path: Path, name: str) -> Policy:
    if not path.is_file():
        raise BenchError(f"{path}: there is no such file.")
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # what it defines can then be pickled
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise BenchError(f"{path}: cannot be run: {_where(error, path)}") from error
    if not hasattr(module, name):
        raise BenchError(f"{path}: defines no {name!r}.")
    found: Any = getattr(module, name)
    if isinstance(found, Policy) and not isinstance(found, type):
        return found
    if not callable(found):
        raise BenchError(f"{path}: {name!r} is neither a policy nor a function that makes one, but {type(found)}.")
    try:
        return found()
    except Exception as error:
        raise BenchError(f"{path}: {name}() fails: {_where(error, path)}") from error


def _where(error: Exception, path: Path) -> str:
    """An error of somebody else's code in one line, with the line of the file it comes from."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path.resolve()
    ]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    return (f"line {line}: " if line else "") + f"{type(error).__name__}: {error}"


def _chat_format(path: Path, form: type[ChatFormat]) -> ChatFormat:
    try:
        return form(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        known = ", ".join(form.__dataclass_fields__)
        raise BenchError(f"{path}: not a JSON object with fields among {known}: {error}") from error
