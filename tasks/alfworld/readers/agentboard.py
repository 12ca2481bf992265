"""AgentBoard result log: <run>/logs/alfworld.jsonl, alone, in a folder or in a tar archive."""

from __future__ import annotations

from pathlib import Path

from bench.formats.agentboard import read_agentboard, sniff_agentboard
from bench.formats.log import Import
from tasks.alfworld.households import TASK_TYPES


def _is_task_name(name: str) -> bool:
    return name.startswith(TASK_TYPES)


def sniff(path: Path) -> bool:
    """Whether `path` holds such logs."""
    return sniff_agentboard(path, _is_task_name)


def read(path: Path) -> Import:
    """Reads them; see `bench.formats.agentboard`."""
    return read_agentboard(path, "alfworld", _is_task_name)
