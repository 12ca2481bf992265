"""The manifest of a recording: roster, measurements, hashes of all files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from bench.agents.transcript import Transcript
from bench.data import Step
from bench.recipe import Recipe
from bench.recorded import MANIFEST, file_hash
from bench.recording.episodes import played


def make_manifest(recipe: Recipe, work: Path, out: Path, workers: int) -> None:
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
        "episodes": {log: sum(1 for _ in played(recipe, log, names, work, out)) for log, names in recipe.logs.items()},
        "loggers": recipe.loggers,
        "policies": [asdict(card) for card in recipe.policies],
        "measured": _measurements(recipe, transcript, work, out),
        "files": {str(p.relative_to(out)): file_hash(p) for p in files},
    }
    (out / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _measurements(recipe: Recipe, transcript: Transcript, work: Path, out: Path) -> dict[str, Any]:
    """What a reader of the recording should know: does the agent read, how are actions tokenized, how long are
    episodes."""
    masked = [e.rewards.sum() for e in played(recipe, "masked", [recipe.masked_policy], work, out)]
    truth = pq.read_table(out / "truth.parquet", filters=[("policy", "=", recipe.masked_policy)])
    steps: list[Step] = [
        s for log, names in recipe.logs.items() for e in played(recipe, log, names, work, out) for s in e.steps
    ]
    odd = sum(s.action_tokens != transcript.action(s.action) for s in steps)
    return {
        "masked_policy": recipe.masked_policy,
        "masked_return": float(np.mean(masked)),
        "masked_stderr": float(np.std(masked, ddof=1) / np.sqrt(len(masked))),
        "unmasked_return": float(np.mean(truth["return"])),
        "non_canonical_share": odd / len(steps),
        "logged_steps": len(steps),
    }
