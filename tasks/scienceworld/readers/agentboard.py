"""AgentBoard result log: <run>/logs/scienceworld.jsonl, alone, in a folder or in a tar archive."""

from __future__ import annotations

from pathlib import Path

from bench.formats.agentboard import read_agentboard, sniff_agentboard
from bench.formats.log import Import

TASK_NAMES = frozenset(
    (
        "boil",
        "change-the-state-of-matter-of",
        "chemistry-mix",
        "chemistry-mix-paint-secondary-color",
        "chemistry-mix-paint-tertiary-color",
        "find-animal",
        "find-living-thing",
        "find-non-living-thing",
        "find-plant",
        "freeze",
        "grow-fruit",
        "grow-plant",
        "identify-life-stages-1",
        "identify-life-stages-2",
        "inclined-plane-determine-angle",
        "inclined-plane-friction-named-surfaces",
        "inclined-plane-friction-unnamed-surfaces",
        "lifespan-longest-lived",
        "lifespan-longest-lived-then-shortest-lived",
        "lifespan-shortest-lived",
        "measure-melting-point-known-substance",
        "measure-melting-point-unknown-substance",
        "melt",
        "mendelian-genetics-known-plant",
        "mendelian-genetics-unknown-plant",
        "power-component",
        "power-component-renewable-vs-nonrenewable-energy",
        "test-conductivity",
        "test-conductivity-of-unknown-substances",
        "use-thermometer",
    )
)
"""The 30 tasks of ScienceWorld (Wang et al., EMNLP 2022)."""


def sniff(path: Path) -> bool:
    """Whether `path` holds such logs."""
    return sniff_agentboard(path, TASK_NAMES.__contains__)


def read(path: Path) -> Import:
    """Reads them; see `bench.formats.agentboard`."""
    return read_agentboard(path, "scienceworld", TASK_NAMES.__contains__)
