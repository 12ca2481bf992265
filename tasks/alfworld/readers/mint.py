"""MINT-bench results.jsonl of its ALFWorld part (task names alfworld/put, alfworld/clean, ...)."""

from __future__ import annotations

from pathlib import Path

from bench.formats.log import Import
from bench.formats.mint import read_mint, sniff_mint


def _is_ours(name: str, head: bytes) -> bool:
    return name.startswith("alfworld/")


def sniff(path: Path) -> bool:
    """Whether `path` holds such logs."""
    return sniff_mint(path, _is_ours)


def read(path: Path) -> Import:
    """Reads them; an instance is the game's folder. See `bench.formats.mint`."""
    return read_mint(path, "alfworld", _is_ours, lambda game, prompt: str(game))
