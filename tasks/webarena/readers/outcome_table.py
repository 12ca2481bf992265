"""Outcomes without episodes: a table of task ids and rewards or human labels, or WebArena's PASS / FAIL log.

Such a file alone is nothing to estimate from; put it beside the episodes it belongs to and import the folder.
"""

from __future__ import annotations

from pathlib import Path

from bench.errors import DataError
from bench.formats.building import LogBuilder
from bench.formats.files import heads, members
from bench.formats.log import Import
from tasks.webarena.outcomes import is_table, rows


def sniff(path: Path) -> bool:
    """Whether `path` holds nothing but such tables; beside episodes, the readers of those use them."""
    found = [is_table(head) for _, head in heads(path)]
    return bool(found) and all(found)


def read(path: Path) -> Import:
    """Counts what the tables say, and says why that is not enough.

    Raises:
        DataError: always: there is no episode in a table; or, naming file and line, a row cannot be read.
    """
    builder = LogBuilder("outcomes without episodes")
    for member in members(path):
        said: dict[str, list[float | None]] = {}
        for row in rows(member):
            said.setdefault(row.agent or "all episodes", []).append(row.reward)
        for agent, rewards in said.items():
            known = [reward for reward in rewards if reward is not None]
            mean = f", mean {sum(known) / len(known):.3f}" if known else ""
            builder.notes.append(f"{agent}: {len(rewards)} rows{mean}, {len(rewards) - len(known)} without an outcome")
    told = "".join(f"\n  {note}" for note in builder.notes)
    raise DataError(
        f"{path}: outcomes without episodes. Put the file into the folder of the episodes it belongs to and import "
        f"that folder; its task ids are matched. It says:{told}"
    )
