"""Is a predicted probability a frequency, and a predicted reward a mean?"""

from __future__ import annotations

from typing import Any

import numpy as np

BINS = 10


def bins(predicted: np.ndarray, happened: np.ndarray, edges: np.ndarray) -> list[dict[str, float]]:
    """Mean prediction and mean outcome of the steps between two edges; empty bins are left out.

    Args:
        predicted, happened: (S,). edges: (K + 1,) rising; predictions outside go to the outermost bins.
    """
    code = np.clip(np.searchsorted(edges, predicted, side="right") - 1, 0, len(edges) - 2)
    return [
        {
            "predicted": float(predicted[code == k].mean()),
            "happened": float(happened[code == k].mean()),
            "steps": int(m),
        }
        for k, m in enumerate(np.bincount(code, minlength=len(edges) - 1))
        if m
    ]


def calibration_error(found: list[dict[str, float]]) -> float:
    """Mean distance of prediction and outcome over bins, weighted by their steps (ECE: Guo et al. 2017, Eq. 3)."""
    steps = np.array([b["steps"] for b in found], dtype=float)
    gaps = np.array([abs(b["predicted"] - b["happened"]) for b in found])
    return float(steps @ gaps / steps.sum())


def of_ending(predicted: np.ndarray, happened: np.ndarray) -> dict[str, Any]:
    """Reliability of (S,) probabilities, in bins of equal width."""
    found = bins(predicted, happened, np.linspace(0, 1, BINS + 1))
    return {
        "brier": float(np.mean((predicted - happened) ** 2)),
        "brier_of_base_rate": float(happened.var()),
        "ece": calibration_error(found),
        "mean": float(predicted.mean()),
        "base_rate": float(happened.mean()),
        "bins": found,
    }


def of_reward(predicted: np.ndarray, happened: np.ndarray) -> dict[str, Any]:
    """Reliability of (S,) expected rewards, in bins of as many steps each as ties allow."""
    edges = np.unique(np.quantile(predicted, np.linspace(0, 1, BINS + 1)))
    found = bins(predicted, happened, edges if len(edges) > 1 else np.array([edges[0], edges[0] + 1]))
    return {
        "mae": float(np.mean(np.abs(predicted - happened))),
        "rmse": float(np.sqrt(np.mean((predicted - happened) ** 2))),
        "bias": float(np.mean(predicted - happened)),
        "ece": calibration_error(found),
        "mean": float(happened.mean()),
        "bins": found,
    }
