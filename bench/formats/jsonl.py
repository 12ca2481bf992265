"""The canonical log as JSON lines: one episode per line, an optional header on the first."""

from __future__ import annotations

import codecs
import gzip
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.data import LoggedDataset, Step, Trajectory
from bench.errors import DataError
from bench.formats.files import atomic, open_binary, readable, refuse_pickle, require
from bench.formats.json_text import first_problem
from bench.formats.log import FORMAT, VERSION, Extras, Header, Import

MAX_LINE = 1 << 28
NO_OUTCOME = "no outcome (outcome_known is false)"

_Logp = Annotated[float, Field(le=1e-6)]
_Token = Annotated[int, Field(ge=0, lt=2**31)]
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class HeaderLine(BaseModel):
    """The optional first line."""

    model_config = _STRICT

    format: Literal["ope-log"]
    version: Literal[1]
    task: Annotated[str, Field(min_length=1)] | None = None
    gamma: Annotated[float, Field(gt=0, le=1)] | None = None
    horizon: Annotated[int, Field(ge=1)] | None = None
    loggers: Annotated[list[str], Field(min_length=1)] | None = None
    fixed_instances: bool | None = None


class StepObject(BaseModel):
    """One step of an episode line."""

    model_config = _STRICT

    observation: str
    action: str
    reward: float | None = None
    action_canonical: str | None = None
    thought: str | None = None
    behavior_logp: _Logp | None = None
    action_tokens: list[_Token] | None = None
    logger_logps: list[_Logp] | None = None


class EpisodeLine(BaseModel):
    """One line: an episode."""

    model_config = _STRICT

    id: Annotated[str, Field(min_length=1)]
    instance: str
    goal: str
    logger: Annotated[str, Field(min_length=1)]
    terminated: bool
    truncated: bool
    final_observation: str | None = None
    outcome_known: bool = True
    metadata: dict[str, Any] = {}
    steps: Annotated[list[StepObject], Field(min_length=1)]


def read_jsonl(path: Path | str) -> Import:
    """Reads a canonical JSONL file, plain or gzipped.

    Raises:
        DataError: naming file and line.
    """
    path = Path(path)
    header = Header()
    episodes: list[Trajectory] = []
    extras: dict[str, Extras] = {}
    dropped: Counter[str] = Counter()
    seen: dict[str, int] = {}
    for number, line in _lines(path):
        where = f"{path}, line {number}"
        if number == 1 and _is_header(line):
            header = parse_header(line, where)
            continue
        episode = _validated(EpisodeLine, line, where)
        if episode.id in seen:
            raise DataError(
                f"{where}: episode id {episode.id!r} already stands on line {seen[episode.id]}. Ids must be unique."
            )
        seen[episode.id] = number
        _check_episode(episode, header, where)
        if not episode.outcome_known:
            dropped[NO_OUTCOME] += 1
            continue
        episodes.append(_trajectory(episode))
        extra = _extras(episode)
        if extra:
            extras[episode.id] = extra
    if not seen:
        raise DataError(
            f"{path}: holds no episode. Write one JSON object per episode and line (docs/bring-your-logs.md)."
        )
    return Import("canonical JSONL", episodes, header, extras, dropped)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines from 1, blank ones left out."""
    require(path)
    number = 0
    with readable(path), open_binary(path) as handle:
        refuse_pickle(path, handle.peek(2))
        while line := handle.readline(MAX_LINE):
            number += 1
            if len(line) == MAX_LINE:
                raise DataError(f"{path}, line {number}: longer than {MAX_LINE >> 20} MiB. Write one episode per line.")
            line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if line.strip():
                yield number, line.rstrip(b"\r\n")


def _is_header(line: bytes) -> bool:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and "format" in value and "steps" not in value


def parse_header(line: bytes, where: str) -> Header:
    """The header line of a JSONL file, or the same text from the metadata of a Parquet file.

    Raises:
        DataError: it is not what docs/bring-your-logs.md says.
    """
    value = _validated(HeaderLine, line, where).model_dump(exclude={"format", "version"})
    names = value["loggers"]
    if names is not None and len(set(names)) != len(names):
        raise DataError(f"{where}: the header names a logger twice: {names}.")
    return Header(**{**value, "loggers": None if names is None else tuple(names)})


def _validated(model: type[BaseModel], line: bytes, where: str) -> Any:
    """Parses one line under a strict schema; the first problem becomes the message."""
    try:
        line.decode("utf-8")
        return model.model_validate_json(line)
    except UnicodeDecodeError as error:
        raise DataError(f"{where}, byte {error.start}: not UTF-8. Re-encode the file as UTF-8.") from error
    except ValidationError as error:
        hint = (
            " Put what the schema does not know under metadata."
            if error.errors()[0]["type"] == "extra_forbidden"
            else ""
        )
        raise DataError(f"{where}: {first_problem(error)}.{hint} The schema is in docs/bring-your-logs.md.") from error


def _check_episode(episode: EpisodeLine, header: Header, where: str) -> None:
    """What the schema of one line cannot say."""
    if header.horizon is not None and len(episode.steps) > header.horizon:
        raise DataError(f"{where}: {len(episode.steps)} steps exceed the horizon {header.horizon} of the header.")
    if header.loggers is not None and episode.logger not in header.loggers:
        raise DataError(f"{where}: logger {episode.logger!r} is not among the header's loggers {list(header.loggers)}.")
    for t, step in enumerate(episode.steps):
        if step.reward is None and episode.outcome_known:
            raise DataError(
                f"{where}: steps[{t}].reward is missing. Give a number, or set outcome_known to false: such episodes "
                "are counted and left out, never scored 0."
            )
        width = 0 if header.loggers is None else len(header.loggers)
        if step.logger_logps is not None and len(step.logger_logps) != width:
            raise DataError(
                f"{where}: steps[{t}].logger_logps has {len(step.logger_logps)} values, the header names {width} "
                "loggers; give one value per logger, in the header's order."
            )


def _trajectory(episode: EpisodeLine) -> Trajectory:
    steps = tuple(
        Step(
            s.observation,
            s.action,
            s.reward,
            None if s.action_tokens is None else tuple(s.action_tokens),
            s.behavior_logp,
            None if s.logger_logps is None else tuple(s.logger_logps),
        )
        for s in episode.steps
    )
    return Trajectory(
        id=episode.id,
        instance=episode.instance,
        goal=episode.goal,
        steps=steps,
        final_observation=episode.final_observation,
        terminated=episode.terminated,
        truncated=episode.truncated,
        logger=episode.logger,
    )


def _extras(episode: EpisodeLine) -> Extras:
    return Extras(
        tuple(s.action_canonical for s in episode.steps), tuple(s.thought for s in episode.steps), episode.metadata
    )


def header_object(data: LoggedDataset) -> dict[str, Any]:
    """The header of a data set as JSON values; shared with the Parquet form."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "task": data.task,
        "gamma": float(data.gamma),
        "horizon": int(data.horizon),
        "loggers": list(data.loggers),
        "fixed_instances": bool(data.fixed_instances),
    }


def write_jsonl(data: LoggedDataset, path: Path | str, extras: Mapping[str, Extras] | None = None) -> None:
    """Writes a data set as canonical JSONL, gzipped where the name ends in .gz; atomically.

    Raises:
        DataError: a text cannot be encoded, or metadata is not JSON.
    """
    path = Path(path)
    with atomic(path) as temporary:
        raw = temporary.open("wb")
        with raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if path.suffix == ".gz" else raw as handle:
            handle.write(_dumped(header_object(data), "header", path))
            for trajectory in data.trajectories:
                extra = (extras or {}).get(trajectory.id, Extras())
                handle.write(_dumped(_episode_object(trajectory, extra), f"episode {trajectory.id!r}", path))


def _dumped(value: dict[str, Any], what: str, path: Path) -> bytes:
    try:
        return (json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8")
    except (TypeError, ValueError) as error:  # UnicodeEncodeError is a ValueError
        raise DataError(f"{path}: {what} cannot be written as JSON ({error}). Nothing was written.") from error


def _episode_object(t: Trajectory, extra: Extras) -> dict[str, Any]:
    """One episode as JSON values; what is None or empty is left out."""
    canonical = extra.action_canonical or (None,) * len(t.steps)
    thought = extra.thought or (None,) * len(t.steps)
    steps = []
    for s, c, h in zip(t.steps, canonical, thought, strict=True):
        step = {
            "observation": s.observation,
            "action": s.action,
            "reward": float(s.reward),
            "action_canonical": c,
            "thought": h,
            "behavior_logp": None if s.behavior_logp is None else float(s.behavior_logp),
            "action_tokens": None if s.action_tokens is None else [int(i) for i in s.action_tokens],
            "logger_logps": None if s.logger_logps is None else [float(x) for x in s.logger_logps],
        }
        steps.append({k: v for k, v in step.items() if v is not None})
    head = {"id": t.id, "instance": t.instance, "goal": t.goal, "logger": t.logger}
    head |= {"terminated": bool(t.terminated), "truncated": bool(t.truncated)}
    if t.final_observation is not None:
        head["final_observation"] = t.final_observation
    if extra.metadata:
        head["metadata"] = dict(extra.metadata)
    return {**head, "steps": steps}
