"""What every agent says about the logs: log-probabilities of all logged actions, sampled next actions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from bench.canonical import read_log
from bench.recipe import Recipe
from bench.recorded import file_hash
from bench.recording.agents import Roster
from bench.recording.workers import pool
from bench.rng import seed_for


def make_log_probs(recipe: Recipe, work: Path, out: Path, workers: int, logs: Sequence[str]) -> None:
    """Every policy scores every log: one forward pass per checkpoint and episode, shared by its samplers."""
    by_checkpoint: dict[str, list[str]] = {}
    for card in recipe.policies:
        by_checkpoint.setdefault(card.checkpoint, []).append(card.name)
    jobs = {
        (log, tuple(names)): _cached(recipe, "log_probs", log, names, work, out)
        for log in logs
        for names in by_checkpoint.values()
    }
    _run(jobs, _score_log, recipe, out, workers, "log-probabilities")
    (out / "log_probs").mkdir(exist_ok=True)
    for log in logs:
        columns = {}
        for (of, names), path in jobs.items():
            if of == log:
                columns |= dict(zip(names, np.load(path), strict=True))
        table = pa.table({card.name: columns[card.name].astype(np.float32) for card in recipe.policies})
        path = out / "log_probs" / f"{log}.parquet"
        pq.write_table(table, path, compression="zstd", use_byte_stream_split=True, use_dictionary=False)


def _score_log(recipe: Recipe, log: str, names: tuple[str, ...], path: Path, out: Path) -> None:
    """(policies, steps) log-probabilities of policies that share a checkpoint."""
    data = read_log(out / "logs" / f"{log}.parquet")
    roster = Roster(recipe, out)
    policies = [roster.policy(name) for name in names]
    temperatures = sorted({policy.temperature for policy in policies})
    scores = policies[0].lm.action_log_probs(data.trajectories, temperatures)
    rows = []
    for policy in policies:
        k = temperatures.index(policy.temperature)
        rows.append(np.concatenate([policy.mixture(t, s[k]) for t, s in zip(data.trajectories, scores, strict=True)]))
    with path.open("wb") as file:
        np.save(file, np.stack(rows))


def make_next_actions(recipe: Recipe, work: Path, out: Path, workers: int, logs: Sequence[str]) -> None:
    """Sampled next actions of every target at every logged step; what the model writes is shared by epsilons."""
    by_sampler: dict[tuple[str, float], list[str]] = {}
    for card in recipe.targets:
        by_sampler.setdefault((card.checkpoint, card.temperature), []).append(card.name)
    jobs = {
        (log, tuple(names)): _cached(recipe, "next_actions", log, names, work, out)
        for log in logs
        for names in by_sampler.values()
    }
    _run(jobs, _sample_log, recipe, out, workers, "next actions")
    (out / "next_actions").mkdir(exist_ok=True)
    for log in logs:
        columns = {}
        for (of, _), path in jobs.items():
            if of == log:
                for name, samples in json.loads(path.read_text(encoding="utf-8")).items():
                    for j in range(recipe.next_actions):
                        columns[f"{name}/{j}"] = pa.array([s[j] for s in samples]).dictionary_encode()
        table = pa.table(
            {f"{c.name}/{j}": columns[f"{c.name}/{j}"] for c in recipe.targets for j in range(recipe.next_actions)}
        )
        pq.write_table(table, out / "next_actions" / f"{log}.parquet", compression="zstd", compression_level=15)


def _sample_log(recipe: Recipe, log: str, names: tuple[str, ...], path: Path, out: Path) -> None:
    """Policy to the samples of every step, for policies that share checkpoint and temperature."""
    data = read_log(out / "logs" / f"{log}.parquet")
    roster = Roster(recipe, out)
    policies = [roster.policy(name) for name in names]
    card = roster.cards[names[0]]
    seed = seed_for("next actions", recipe.task, log, card.checkpoint, card.temperature)
    written = policies[0].written_actions(data.trajectories, recipe.next_actions, seed)
    found = {}
    for policy in policies:
        explored = policy.explored(data.trajectories, written, seed_for("next actions", seed, policy.name))
        found[policy.name] = [samples for episode in explored for samples in episode]
    path.write_text(json.dumps(found), encoding="utf-8")


def _cached(recipe: Recipe, kind: str, log: str, names: list[str], work: Path, out: Path) -> Path:
    """Where the result of a job is kept; the name changes with the log and the policies."""
    roster = Roster(recipe, out)
    identity = "-".join([file_hash(out / "logs" / f"{log}.parquet")[:8], *(roster.identity(name) for name in names)])
    drawn = f"-{recipe.next_actions}" if kind == "next_actions" else ""
    return work / kind / f"{log}-{names[0]}-{identity}{drawn}"


def _run(
    jobs: dict[tuple[str, tuple[str, ...]], Path], work: Callable, recipe: Recipe, out: Path, workers: int, label: str
) -> None:
    """Carries out the jobs whose result is not there yet; results appear whole."""
    missing = {job: path for job, path in jobs.items() if not path.exists()}
    with pool(workers) as executor:
        waiting = [executor.submit(_one, work, recipe, *job, path, out) for job, path in missing.items()]
        for future in tqdm(as_completed(waiting), total=len(waiting), desc=label, unit="job"):
            future.result()


def _one(work: Callable, recipe: Recipe, log: str, names: tuple[str, ...], path: Path, out: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    work(recipe, log, names, part, out)
    part.replace(path)
