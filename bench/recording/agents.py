"""Agents of a recording: demonstrations, one tokenizer, one training run per mix, the checkpoints of the roster."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

from bench.agents.cloning import clone, read_demonstrations
from bench.agents.language_model import LanguageModel
from bench.agents.lm_policy import LMPolicy
from bench.agents.transcript import Transcript, train_tokenizer
from bench.recipe import Recipe
from bench.recorded import file_hash
from bench.recording.workers import pool
from bench.rng import seed_for


def make_demonstrations(recipe: Recipe, work: Path, out: Path, workers: int, logs: Sequence[str]) -> None:
    for mix in recipe.mixes:
        recipe.demonstrations(mix, work / "demonstrations", workers)


def make_agents(recipe: Recipe, work: Path, out: Path, workers: int, logs: Sequence[str]) -> None:
    """One tokenizer, one training run per mix, the checkpoints that the roster uses."""
    files = {mix: recipe.demonstrations(mix, work / "demonstrations", workers) for mix in recipe.mixes}
    tokenizer = work / "tokenizer.json"
    if not tokenizer.exists():
        episodes = [d.episode for paths in files.values() for d in read_demonstrations(paths)]
        texts = (x for e in episodes for s in e.steps for x in (e.goal, s.observation, s.action))
        train_tokenizer(texts, recipe.vocabulary, recipe.words).save(str(tokenizer))
    with pool(min(workers, len(recipe.mixes))) as executor:
        for future in [executor.submit(_train, recipe, mix, files[mix], work) for mix in recipe.mixes]:
            future.result()
    for checkpoint in sorted({card.checkpoint for card in recipe.policies}):
        target = out / "agents" / checkpoint
        target.mkdir(parents=True, exist_ok=True)
        for name in ("config.json", "model.safetensors", "training.json"):
            shutil.copyfile(work / "agents" / checkpoint / name, target / name)
    shutil.copyfile(tokenizer, out / "agents" / "tokenizer.json")


def _train(recipe: Recipe, mix: str, files: Sequence[Path], work: Path) -> None:
    transcript = Transcript.load(work / "tokenizer.json", recipe.max_observation_tokens)
    clone(
        read_demonstrations(files),
        transcript,
        recipe.cloning,
        seed_for("clone", recipe.task, mix),
        work / "agents",
        mix,
    )


class Roster:
    """The trained agents of a recording, each checkpoint read once."""

    def __init__(self, recipe: Recipe, out: Path):
        self.recipe, self.folder = recipe, out / "agents"
        self.cards = {card.name: card for card in recipe.policies}
        self.transcript = Transcript.load(self.folder / "tokenizer.json", recipe.max_observation_tokens)
        self._models: dict[str, LanguageModel] = {}

    def model(self, checkpoint: str) -> LanguageModel:
        """A checkpoint."""
        if checkpoint not in self._models:
            self._models[checkpoint] = LanguageModel.load(self.folder / checkpoint, self.transcript)
        return self._models[checkpoint]

    def identity(self, name: str) -> str:
        """8 hex digits that change with the policy's weights, sampler, environment or step limit; name of what it
        made."""
        card = asdict(self.cards[name])
        card.pop("description")
        parts = [json.dumps(card), self.recipe.environment_version, str(self.recipe.step_limit)]
        parts += [_hash(self.folder / card["checkpoint"] / "model.safetensors"), _hash(self.folder / "tokenizer.json")]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]

    def policy(self, name: str) -> LMPolicy:
        """A policy by name."""
        card = self.cards[name]
        return LMPolicy(name, self.model(card.checkpoint), card.temperature, card.epsilon, self.recipe.explore)


@lru_cache(maxsize=256)
def _hash(path: Path) -> str:
    return file_hash(path)
