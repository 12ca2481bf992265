"""Random streams derived from named components, never from the order of execution."""

from __future__ import annotations

import hashlib

import numpy as np


def seed_for(*names: object) -> int:
    """A 63-bit seed determined by the names alone."""
    text = "\x1f".join(str(n) for n in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def rng_for(*names: object) -> np.random.Generator:
    """A generator determined by the names alone, e.g. `rng_for("fit", task, log, n, seed)`."""
    return np.random.default_rng(seed_for(*names))
