"""The manifest of a recording: roster, measurements, hashes of all files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from bench.agents.transcript import Transcript
from bench.canonical import read_log
from bench.data import LoggedDataset
from bench.recipe import Recipe
from bench.recorded import MANIFEST, file_hash
from bench.recording.episodes import played


def make_manifest(recipe: Recipe, work: Path, out: Path, workers: int, logs: Sequence[str]) -> None:
    """Roster, measurements and hashes; written last, so a recording without it is not complete."""
    transcript = Transcript.load(out / "agents" / "tokenizer.json", recipe.max_observation_tokens)
    written = {log: read_log(out / "logs" / f"{log}.parquet") for log in recipe.logs}
    masked = _masked(recipe, work, out) if set(logs) == set(recipe.logs) else _known_masked(out)
    files = sorted(p for p in out.rglob("*") if p.is_file() and p.name not in (MANIFEST, "instances.json"))
    manifest = {
        "task": recipe.task,
        "environment": recipe.environment_version,
        "instances": recipe.instances,
        "step_limit": recipe.step_limit,
        "max_observation_tokens": recipe.max_observation_tokens,
        "logs": {log: list(names) for log, names in recipe.logs.items()},
        "volumes": {log: list(names) for log, names in recipe.volumes.items()},
        "episodes": {log: len(data) for log, data in written.items()},
        "loggers": recipe.loggers,
        "policies": [asdict(card) for card in recipe.policies],
        "measured": masked | _logged(written.values(), transcript),
        "files": {str(p.relative_to(out)): file_hash(p) for p in files},
    }
    (out / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _masked(recipe: Recipe, work: Path, out: Path) -> dict[str, Any]:
    """Does the agent read? Returns of the masked check beside true ones."""
    masked = [e.rewards.sum() for e in played(recipe, "masked", [recipe.masked_policy], work, out)]
    truth = pq.read_table(out / "truth.parquet", filters=[("policy", "=", recipe.masked_policy)])
    return {
        "masked_policy": recipe.masked_policy,
        "masked_return": float(np.mean(masked)),
        "masked_stderr": float(np.std(masked, ddof=1) / np.sqrt(len(masked))),
        "unmasked_return": float(np.mean(truth["return"])),
    }


def _known_masked(out: Path) -> dict[str, Any]:
    """The same, as it was measured when the rest of the recording was made."""
    known = json.loads((out / MANIFEST).read_text(encoding="utf-8"))["measured"]
    return {name: value for name, value in known.items() if "masked" in name}


def _logged(logs: Iterable[LoggedDataset], transcript: Transcript) -> dict[str, Any]:
    """How are actions tokenized, how many steps are there?"""
    steps = [step for log in logs for t in log.trajectories for step in t.steps]
    odd = sum(s.action_tokens != transcript.action(s.action) for s in steps)
    return {"non_canonical_share": odd / len(steps), "logged_steps": len(steps)}
