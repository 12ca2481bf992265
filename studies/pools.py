"""Boards with fewer policies: the same estimators and seeds, scored over a part of the targets."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from bench.board import Board, Row

PER_CELL = (
    "status",
    "value",
    "low",
    "high",
    "sampling",
    "replicates",
    "fit_seconds",
    "prepare_seconds",
    "estimate_seconds",
    "memory_mb",
    "ess",
)
"""Arrays of a row whose second axis is the policies."""


def among(board: Board, policies: Collection[str]) -> Board:
    """The board as if only these policies were targets; names that are not on it are passed over."""
    keep = np.array([name in policies for name in board.policies], dtype=bool)
    return replace(
        board,
        policies=tuple(name for name in board.policies if name in policies),
        sweep=board.sweep[keep],
        truth=board.truth[keep],
        stderr=board.stderr[keep],
        rows={spec: _kept(row, keep) for spec, row in board.rows.items()},
    )


def _kept(row: Row, keep: np.ndarray) -> Row:
    return replace(row, **{name: getattr(row, name)[:, keep] for name in PER_CELL})
