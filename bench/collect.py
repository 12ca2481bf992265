"""Makes a task's recording from live environments, in resumable parts. See `bench.recorded` for what comes out."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tqdm import tqdm

from bench.agents.cloning import clone, read_demonstrations
from bench.agents.language_model import LanguageModel
from bench.agents.lm_policy import LMPolicy
from bench.agents.transcript import Transcript, train_tokenizer
from bench.canonical import read_log, write_jsonl, write_parquet
from bench.data import LoggedDataset, Step
from bench.errors import BenchError
from bench.recipe import Recipe
from bench.recorded import MANIFEST, file_hash
from bench.registry import task_names
from bench.rng import seed_for
from bench.rollout import EpisodeJob, MaskedEnvironment, play
from bench.task import PolicyCard

PARTS = ("demonstrations", "agents", "episodes", "log_probs", "next_actions", "manifest")
BATCH = 16
"""Episodes played together; part of what makes a recording reproducible."""


def collect(task: str, out: Path | None = None, parts: Sequence[str] = PARTS, workers: int = 2) -> Path:
    """Carries out a task's recipe; what an earlier run finished is not made again.

    Args:
        out: folder of the recording; default `tasks/<task>/recorded`.
        parts: which of `PARTS` to make, in that order; each needs the ones before it.
        workers: processes.

    Raises:
        BenchError: the task has no recipe, or a part is unknown.
    """
    recipe = _recipe(task)
    unknown = set(parts) - set(PARTS)
    if unknown:
        raise BenchError(f"unknown part {sorted(unknown)} of a recording. Known: {', '.join(PARTS)}.")
    out = out or Path("tasks") / task / "recorded"
    work = Path(".cache") / "collect" / task
    work.mkdir(parents=True, exist_ok=True)
    makers: dict[str, Callable[[Recipe, Path, Path, int], None]] = {
        "demonstrations": _make_demonstrations,
        "agents": _make_agents,
        "episodes": _make_episodes,
        "log_probs": _make_log_probs,
        "next_actions": _make_next_actions,
        "manifest": _make_manifest,
    }
    for part in PARTS:
        if part in parts:
            print(f"collect {task}: {part}", flush=True)
            makers[part](recipe, work, out, workers)
    return out


def _recipe(task: str) -> Recipe:
    if task not in task_names():
        raise BenchError(f"unknown task {task!r}. Known: {', '.join(task_names())}.")
    try:
        return importlib.import_module(f"tasks.{task}.recipe").RECIPE
    except ModuleNotFoundError as error:
        if error.name == f"tasks.{task}.recipe":
            raise BenchError(f"task {task!r} is computed, not recorded: there is nothing to collect.") from None
        raise


def _make_demonstrations(recipe: Recipe, work: Path, out: Path, workers: int) -> None:
    for mix in recipe.mixes:
        recipe.demonstrations(mix, work / "demonstrations", workers)


def _make_agents(recipe: Recipe, work: Path, out: Path, workers: int) -> None:
    """One tokenizer, one training run per mix, the checkpoints that the roster uses."""
    files = {mix: recipe.demonstrations(mix, work / "demonstrations", workers) for mix in recipe.mixes}
    tokenizer = work / "tokenizer.json"
    if not tokenizer.exists():
        episodes = [d.episode for paths in files.values() for d in read_demonstrations(paths)]
        texts = (x for e in episodes for s in e.steps for x in (e.goal, s.observation, s.action))
        train_tokenizer(texts, recipe.vocabulary).save(str(tokenizer))
    with _pool(min(workers, len(recipe.mixes))) as pool:
        for future in [pool.submit(_train, recipe, mix, files[mix], work) for mix in recipe.mixes]:
            future.result()
    for checkpoint in sorted({card.checkpoint for card in recipe.policies}):
        target = out / "agents" / checkpoint
        target.mkdir(parents=True, exist_ok=True)
        for name in ("config.json", "model.safetensors", "training.json"):
            shutil.copyfile(work / "agents" / checkpoint / name, target / name)
    shutil.copyfile(tokenizer, out / "agents" / "tokenizer.json")


def _train(recipe: Recipe, mix: str, files: Sequence[Path], work: Path) -> None:
    transcript = Transcript.load(work / "tokenizer.json", recipe.max_observation_tokens)
    clone(read_demonstrations(files), transcript, recipe.cloning, seed_for("clone", recipe.task, mix), work / "agents", mix)


@dataclass(frozen=True)
class _Chunk:
    """A batch of episodes of one policy for one purpose ("truth", "masked", or the name of a log)."""

    policy: PolicyCard
    purpose: str
    number: int
    jobs: tuple[EpisodeJob, ...]

    def path(self, work: Path) -> Path:
        return work / "episodes" / self.purpose / self.policy.name / f"{self.number:04d}.jsonl"


def _chunks(recipe: Recipe) -> Iterator[_Chunk]:
    """All batches of the recording. Log and truth of a policy use independent seeds."""
    cards = {card.name: card for card in recipe.policies}
    wanted = [(cards[name], log, recipe.log_episodes // len(names)) for log, names in recipe.logs.items() for name in names]
    wanted += [(card, "truth", recipe.truth_episodes) for card in recipe.targets]
    wanted += [(cards[recipe.masked_policy], "masked", 2)]
    for card, purpose, repeats in wanted:
        jobs = [
            EpisodeJob(
                f"{purpose}:{card.name}:{instance}:{k}", instance, seed_for("episode", recipe.task, purpose, card.name, instance, k)
            )
            for k in range(repeats)
            for instance in recipe.instances
        ]
        for number in range(0, len(jobs), BATCH):
            yield _Chunk(card, purpose, number // BATCH, tuple(jobs[number : number + BATCH]))


def _make_episodes(recipe: Recipe, work: Path, out: Path, workers: int) -> None:
    """Plays logs, truth and the masked check, batch by batch; then writes logs and truth."""
    chunks = [c for c in _chunks(recipe) if not c.path(work).exists()]
    with _pool(workers, _start_player, (recipe, out)) as pool:
        waiting = [pool.submit(_play_chunk, chunk, str(work)) for chunk in chunks]
        for future in tqdm(as_completed(waiting), total=len(waiting), desc="episodes", unit="batch", mininterval=10):
            future.result()
    for log, names in recipe.logs.items():
        _write_log(recipe, log, names, work, out)
    _write_truth(recipe, work, out)


_player: dict[str, Any] = {}


def _start_player(recipe: Recipe, out: Path) -> None:
    _player.update(
        recipe=recipe,
        environments=[],
        threads=ThreadPoolExecutor(BATCH),
        transcript=Transcript.load(out / "agents" / "tokenizer.json", recipe.max_observation_tokens),
        agents=out / "agents",
        models={},
    )


def _play_chunk(chunk: _Chunk, work: str) -> None:
    recipe: Recipe = _player["recipe"]
    environments = _player["environments"]
    missing = len(chunk.jobs) - len(environments)
    environments += _player["threads"].map(lambda _: recipe.environment(), range(max(0, missing)))
    if chunk.purpose == "masked":
        environments = [MaskedEnvironment(e) for e in environments]
    policy = _policy(recipe, chunk.policy, _player["agents"], _player["transcript"], _player["models"])
    episodes = play(policy, environments, chunk.jobs, recipe.step_limit, _player["threads"])
    data = LoggedDataset(recipe.task, (chunk.policy.name,), 1.0, recipe.step_limit, tuple(episodes))
    path = chunk.path(Path(work))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_jsonl(data, path)


def _policy(recipe: Recipe, card: PolicyCard, agents: Path, transcript: Transcript, models: dict) -> LMPolicy:
    if card.checkpoint not in models:
        models[card.checkpoint] = LanguageModel.load(agents / card.checkpoint, transcript)
    return LMPolicy(card.name, models[card.checkpoint], card.temperature, card.epsilon, recipe.explore)


def _episodes(recipe: Recipe, purpose: str, names: Sequence[str], work: Path) -> Iterator:
    for chunk in _chunks(recipe):
        if chunk.purpose == purpose and chunk.policy.name in names:
            yield from read_log(chunk.path(work)).trajectories


def _write_log(recipe: Recipe, log: str, names: Sequence[str], work: Path, out: Path) -> None:
    """Joins a log's batches and lets every logger score every step."""
    episodes = tuple(_episodes(recipe, log, names, work))
    cards = {card.name: card for card in recipe.policies}
    transcript = Transcript.load(out / "agents" / "tokenizer.json", recipe.max_observation_tokens)
    scores = [_policy(recipe, cards[n], out / "agents", transcript, {}).log_prob_episodes(episodes) for n in names]
    worst = 0.0
    scored = []
    for i, episode in enumerate(episodes):
        own = scores[names.index(episode.logger)][i]
        worst = max(worst, float(np.abs(own - [s.behavior_logp for s in episode.steps]).max()))
        steps = tuple(
            replace(step, logger_logps=tuple(float(s[i][t]) for s in scores)) for t, step in enumerate(episode.steps)
        )
        scored.append(replace(episode, steps=steps))
    if worst > 1e-4:
        raise BenchError(f"log {log}: re-scored log-probabilities differ from the sampled ones by up to {worst:.1e} (> 1e-4).")
    (out / "logs").mkdir(parents=True, exist_ok=True)
    write_parquet(LoggedDataset(recipe.task, tuple(names), 1.0, recipe.step_limit, tuple(scored)), out / "logs" / f"{log}.parquet")
    print(f"log {log}: {len(scored)} episodes, sampled and re-scored log-probabilities agree to {worst:.1e}")


def _write_truth(recipe: Recipe, work: Path, out: Path) -> None:
    rows = []
    for card in recipe.targets:
        for episode in _episodes(recipe, "truth", [card.name], work):
            rows.append((card.name, episode.instance, float(episode.rewards.sum()), len(episode), episode.terminated))
    names = ("policy", "instance", "return", "length", "terminated")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    pq.write_table(pa.table(columns), out / "truth.parquet", compression="zstd")


def _make_log_probs(recipe: Recipe, work: Path, out: Path, workers: int) -> None:
    """Every policy scores every log: one forward pass per checkpoint and episode, shared by temperatures."""
    checkpoints = sorted({card.checkpoint for card in recipe.policies})
    jobs = [(c, log) for log in recipe.logs for c in checkpoints if not (work / "log_probs" / log / f"{c}.npz").exists()]
    with _pool(workers) as pool:
        waiting = [pool.submit(_score_log, recipe, c, log, work, out) for c, log in jobs]
        for future in tqdm(as_completed(waiting), total=len(waiting), desc="log-probabilities", unit="checkpoint"):
            future.result()
    (out / "log_probs").mkdir(exist_ok=True)
    for log in recipe.logs:
        files = [np.load(work / "log_probs" / log / f"{c}.npz") for c in checkpoints]
        columns = {name: file[name] for file in files for name in file.files}
        table = pa.table({card.name: columns[card.name].astype(np.float32) for card in recipe.policies})
        pq.write_table(table, out / "log_probs" / f"{log}.parquet", compression="zstd", use_byte_stream_split=True, use_dictionary=False)


def _score_log(recipe: Recipe, checkpoint: str, log: str, work: Path, out: Path) -> None:
    data = read_log(out / "logs" / f"{log}.parquet")
    transcript = Transcript.load(out / "agents" / "tokenizer.json", recipe.max_observation_tokens)
    models: dict = {}
    cards = [card for card in recipe.policies if card.checkpoint == checkpoint]
    policies = [_policy(recipe, card, out / "agents", transcript, models) for card in cards]
    temperatures = sorted({card.temperature for card in cards})
    scores = models[checkpoint].action_log_probs(data.trajectories, temperatures)
    columns = {}
    for policy in policies:
        k = temperatures.index(policy.temperature)
        mixed = [policy.mixture(t, s[k]) for t, s in zip(data.trajectories, scores, strict=True)]
        columns[policy.name] = np.concatenate(mixed)
    path = work / "log_probs" / log / f"{checkpoint}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    _atomic_npz(path, columns)


def _make_next_actions(recipe: Recipe, work: Path, out: Path, workers: int) -> None:
    """Sampled next actions of every target at every logged step."""
    folder = work / "next_actions"
    jobs = [(card, log) for log in recipe.logs for card in recipe.targets if not (folder / log / f"{card.name}.json").exists()]
    with _pool(workers) as pool:
        waiting = [pool.submit(_sample_log, recipe, card, log, work, out) for card, log in jobs]
        for future in tqdm(as_completed(waiting), total=len(waiting), desc="next actions", unit="policy"):
            future.result()
    (out / "next_actions").mkdir(exist_ok=True)
    for log in recipe.logs:
        columns = {}
        for card in recipe.targets:
            samples = json.loads((folder / log / f"{card.name}.json").read_text(encoding="utf-8"))
            for j in range(recipe.next_actions):
                columns[f"{card.name}/{j}"] = pa.array([s[j] for s in samples]).dictionary_encode()
        pq.write_table(pa.table(columns), out / "next_actions" / f"{log}.parquet", compression="zstd", compression_level=15)


def _sample_log(recipe: Recipe, card: PolicyCard, log: str, work: Path, out: Path) -> None:
    data = read_log(out / "logs" / f"{log}.parquet")
    transcript = Transcript.load(out / "agents" / "tokenizer.json", recipe.max_observation_tokens)
    policy = _policy(recipe, card, out / "agents", transcript, {})
    seed = seed_for("next actions", recipe.task, log, card.name)
    samples = policy.next_actions(data.trajectories, recipe.next_actions, seed)
    path = work / "next_actions" / log / f"{card.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps([s for episode in samples for s in episode]), encoding="utf-8")
    part.replace(path)


def _make_manifest(recipe: Recipe, work: Path, out: Path, workers: int) -> None:
    """Roster, measurements and hashes; written last, so a recording without it is not complete."""
    transcript = Transcript.load(out / "agents" / "tokenizer.json", recipe.max_observation_tokens)
    files = sorted(p for p in out.rglob("*") if p.is_file() and p.name not in (MANIFEST, "instances.json"))
    manifest = {
        "task": recipe.task,
        "environment": recipe.environment_version,
        "instances": recipe.instances,
        "step_limit": recipe.step_limit,
        "max_observation_tokens": recipe.max_observation_tokens,
        "logs": {log: list(names) for log, names in recipe.logs.items()},
        "loggers": recipe.loggers,
        "policies": [asdict(card) for card in recipe.policies],
        "measured": _measurements(recipe, transcript, work),
        "files": {str(p.relative_to(out)): file_hash(p) for p in files},
    }
    (out / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _measurements(recipe: Recipe, transcript: Transcript, work: Path) -> dict[str, Any]:
    """What a reader of the recording should know: does the agent read, how are actions tokenized, how long are episodes."""
    masked = [e.rewards.sum() for e in _episodes(recipe, "masked", [recipe.masked_policy], work)]
    seen = [e.rewards.sum() for e in _episodes(recipe, "truth", [recipe.masked_policy], work)]
    steps: list[Step] = [s for log, names in recipe.logs.items() for e in _episodes(recipe, log, names, work) for s in e.steps]
    odd = sum(s.action_tokens != transcript.action(s.action) for s in steps)
    return {
        "masked_policy": recipe.masked_policy,
        "masked_return": float(np.mean(masked)),
        "masked_stderr": float(np.std(masked, ddof=1) / np.sqrt(len(masked))),
        "unmasked_return": float(np.mean(seen)),
        "non_canonical_share": odd / len(steps),
        "logged_steps": len(steps),
    }


def _atomic_npz(path: Path, columns: dict[str, np.ndarray]) -> None:
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, **columns)
    part.replace(path)


def _start_worker(initializer: Callable | None, arguments: tuple) -> None:
    torch.set_num_threads(1)
    if initializer is not None:
        initializer(*arguments)


def _pool(workers: int, initializer: Callable | None = None, arguments: tuple = ()) -> ProcessPoolExecutor:
    """Fresh processes (a simulator's sockets must not be shared), one compute thread each."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(initializer, arguments))
