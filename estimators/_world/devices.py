"""Where world models are trained: one setting for all of them, which is no part of what they are."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from typing import TypeVar

import torch
from torch import Tensor

from bench.errors import BenchError

TRAIN_ON = "OPE_TRAIN_ON"
"""Environment variable, a device by its name in torch (`run --train-on`); default: cpu."""

T = TypeVar("T")


def training_device() -> torch.device:
    """The device to train on. Weights come back to the CPU, where agents are and episodes are simulated.

    Raises:
        BenchError: no such device here.
    """
    name = os.environ.get(TRAIN_ON, "cpu")
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise BenchError(f"--train-on {name!r}: no such device here: {str(error).splitlines()[0]}") from error
    return torch.device(name)


def moved(tensors: T, device: torch.device) -> T:
    """A dataclass whose fields are tensors, on another device."""
    found = {f.name: getattr(tensors, f.name) for f in fields(tensors)}
    return replace(tensors, **{name: x.to(device) for name, x in found.items() if isinstance(x, Tensor)})


def seeded(device: torch.device, seed: int) -> torch.Generator:
    """A generator of a device's own random numbers: those of a GPU are not those of a CPU."""
    return torch.Generator(device).manual_seed(seed)
