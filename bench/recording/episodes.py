"""Episodes of a recording: logs, truth and the masked check, played live in resumable batches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from bench.canonical import read_log, write_jsonl, write_parquet
from bench.data import LoggedDataset, Trajectory
from bench.errors import BenchError
from bench.recipe import Recipe
from bench.recording.agents import Roster
from bench.recording.workers import pool
from bench.rng import seed_for
from bench.rollout import EpisodeJob, MaskedEnvironment, RememberingEnvironment, play
from bench.task import Environment

BATCH = 16
"""Episodes played together; part of what makes a recording reproducible."""


@dataclass(frozen=True)
class Chunk:
    """A batch of episodes of one policy for one purpose ("truth", "masked", or the name of a log)."""

    policy: str
    purpose: str
    path: Path
    jobs: tuple[EpisodeJob, ...]


def chunks(recipe: Recipe, work: Path, out: Path, purposes: Collection[str] | None = None) -> Iterator[Chunk]:
    """All batches of the recording, or those of some purposes. Log and truth of a policy use independent seeds.

    A batch that is on disk is not played again: its name says who plays what. What an agent explores is not in it, so
    that a change of `Recipe.explore` needs a new `environment_version`.
    """
    roster = Roster(recipe, out)
    wanted = [(name, log, recipe.repeats(log)) for log, names in recipe.logs.items() for name in names]
    wanted += [(card.name, "truth", recipe.truth_episodes) for card in recipe.targets]
    wanted += [(recipe.masked_policy, "masked", 2)]
    for policy, purpose, repeats in wanted:
        if purposes is not None and purpose not in purposes:
            continue
        folder = work / "episodes" / purpose / f"{policy}-{roster.identity(policy)}"
        jobs = [_job(recipe.task, purpose, policy, i, k) for k in range(repeats) for i in recipe.instances]
        for start in range(0, len(jobs), BATCH):
            batch = tuple(jobs[start : start + BATCH])
            what = hashlib.sha256(json.dumps([[job.id, job.seed] for job in batch]).encode()).hexdigest()[:8]
            yield Chunk(policy, purpose, folder / f"{start:05d}-{len(batch):02d}-{what}.jsonl", batch)


def _job(task: str, purpose: str, policy: str, instance: str, repeat: int) -> EpisodeJob:
    seed = seed_for("episode", task, purpose, policy, instance, repeat)
    return EpisodeJob(f"{purpose}:{policy}:{instance}:{repeat}", instance, seed)


def played(recipe: Recipe, purpose: str, names: Sequence[str], work: Path, out: Path) -> Iterator[Trajectory]:
    """Episodes played for one purpose by some policies."""
    for chunk in chunks(recipe, work, out, {purpose}):
        if chunk.policy in names:
            yield from read_log(chunk.path).trajectories


def make_episodes(recipe: Recipe, work: Path, out: Path, workers: int, logs: Sequence[str]) -> None:
    """Plays logs, and with all of them truth and the masked check, batch by batch; then writes them."""
    purposes = None if set(logs) == set(recipe.logs) else set(logs)
    missing = [c for c in chunks(recipe, work, out, purposes) if not c.path.exists()]
    with pool(workers, _start_player, (recipe, out)) as executor:
        waiting = [executor.submit(_play_chunk, chunk) for chunk in missing]
        for future in tqdm(as_completed(waiting), total=len(waiting), desc="episodes", unit="batch", mininterval=10):
            future.result()
    for log in logs:
        _write_log(recipe, log, recipe.logs[log], work, out)
    if purposes is None:
        _write_truth(recipe, work, out)


_player: dict[str, Any] = {}  # what a worker process keeps: simulators are slow to start


def _start_player(recipe: Recipe, out: Path) -> None:
    _player.update(roster=Roster(recipe, out), environments=[], threads=ThreadPoolExecutor(BATCH), memory={})


def _play_chunk(chunk: Chunk) -> None:
    roster, environments, threads = _player["roster"], _player["environments"], _player["threads"]
    recipe = roster.recipe
    missing = len(chunk.jobs) - len(environments)
    environments += threads.map(lambda _: _environment(recipe), range(max(0, missing)))
    for environment, job in zip(environments, chunk.jobs, strict=False):  # a batch may have fewer jobs
        recipe.seed(environment, job.seed)
    if chunk.purpose == "masked":
        environments = [MaskedEnvironment(e) for e in environments]
    episodes = play(roster.policy(chunk.policy), environments, chunk.jobs, recipe.step_limit, threads)
    chunk.path.parent.mkdir(parents=True, exist_ok=True)
    write_jsonl(LoggedDataset(recipe.task, (chunk.policy,), 1.0, recipe.step_limit, tuple(episodes)), chunk.path)


def _environment(recipe: Recipe) -> Environment:
    environment = recipe.environment()
    return RememberingEnvironment(environment, _player["memory"]) if recipe.deterministic else environment


def _write_log(recipe: Recipe, log: str, names: Sequence[str], work: Path, out: Path) -> None:
    """Joins a log's batches and lets every logger score every step."""
    episodes = tuple(played(recipe, log, names, work, out))
    roster = Roster(recipe, out)
    scores = [roster.policy(name).log_prob_episodes(episodes) for name in names]
    worst, scored = 0.0, []
    for episode, values in zip(episodes, zip(*scores, strict=True), strict=True):
        own = values[names.index(episode.logger)]
        worst = max(worst, float(np.abs(own - [s.behavior_logp for s in episode.steps]).max()))
        rows = zip(episode.steps, np.stack(values, axis=1).tolist(), strict=True)
        scored.append(replace(episode, steps=tuple(replace(step, logger_logps=tuple(row)) for step, row in rows)))
    if worst > 1e-4:
        raise BenchError(
            f"log {log}: re-scored log-probabilities differ from the sampled ones by up to {worst:.1e} (> 1e-4)."
        )
    (out / "logs").mkdir(parents=True, exist_ok=True)
    data = LoggedDataset(recipe.task, tuple(names), 1.0, recipe.step_limit, tuple(scored))
    write_parquet(data, out / "logs" / f"{log}.parquet")
    print(f"log {log}: {len(scored)} episodes, sampled and re-scored log-probabilities agree to {worst:.1e}")


def _write_truth(recipe: Recipe, work: Path, out: Path) -> None:
    rows = []
    for card in recipe.targets:
        for episode in played(recipe, "truth", [card.name], work, out):
            rows.append((card.name, episode.instance, float(episode.rewards.sum()), len(episode), episode.terminated))
    names = ("policy", "instance", "return", "length", "terminated")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    pq.write_table(pa.table(columns), out / "truth.parquet", compression="zstd")
