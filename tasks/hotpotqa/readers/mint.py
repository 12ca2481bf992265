"""MINT-bench results.jsonl of its HotpotQA part (task name "reasoning", with the tool wikipedia_search)."""

from __future__ import annotations

from pathlib import Path

from bench.formats.log import Import
from bench.formats.mint import read_mint, sniff_mint


def _is_ours(name: str, head: bytes) -> bool:
    return name == "reasoning" and b"wikipedia_search(query: str)" in head


def sniff(path: Path) -> bool:
    """Whether `path` holds such logs."""
    return sniff_mint(path, _is_ours)


def read(path: Path) -> Import:
    """Reads them; see `bench.formats.mint`."""
    return read_mint(path, "hotpotqa", _is_ours, lambda number, prompt: " ".join(prompt.split()))
