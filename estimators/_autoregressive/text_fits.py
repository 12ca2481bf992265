"""What decides the fit of an autoregressive world model, and how it is stored: see `estimators._world.fits`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from tokenizers import Tokenizer
from torch import Tensor

from bench.agents.transcript import Transcript
from bench.data import LoggedDataset
from bench.rng import rng_for
from estimators._autoregressive.model import Shape, TextWorldModel
from estimators._autoregressive.segments import Language
from estimators._autoregressive.training import TextFit, TextTraining, train_text_world
from estimators._world.fits import Recipe

VERSION = 3
"""Bump when training or architecture changes: old fits no longer count."""


@dataclass(frozen=True)
class TextFitConfig(Recipe[TextFit]):
    """Size, training and view of an autoregressive world model.

    Attributes:
        cap: tokens after which an observation is cut. window: tokens the model may look back on.
        knows_instance: see `Language`.
    """

    shape: Shape
    training: TextTraining
    cap: int
    window: int
    knows_instance: bool
    fit_seed: int

    exact: ClassVar[tuple[str, ...]] = ("rewards",)

    def identity(self) -> tuple[object, ...]:
        """See `Recipe`."""
        return ("autoregressive", VERSION)

    def train(self, data: LoggedDataset) -> TextFit:
        """See `Recipe`. No part of the log is in the seed: rewards in another currency give the same weights."""
        language = Language.of(data, self.shape.vocabulary, self.cap, self.window, self.knows_instance)
        rng = rng_for("autoregressive world model", self.fit_seed)
        return train_text_world(data, language, self.shape, self.training, rng)

    def texts(self, fit: TextFit) -> dict[str, str]:
        """See `Recipe`."""
        return {"tokenizer": fit.language.transcript.tokenizer.to_str()}

    def rebuild(
        self, data: LoggedDataset, weights: dict[str, Tensor], facts: dict[str, float], texts: Mapping[str, str]
    ) -> TextFit:
        """See `Recipe`."""
        transcript = Transcript(Tokenizer.from_str(texts["tokenizer"]), self.cap)
        with torch.random.fork_rng(devices=[]):
            model = TextWorldModel(self.shape, transcript.vocabulary, weights["rewards"])
        model.load_state_dict(weights)
        language = Language(transcript, self.window, self.knows_instance)
        return TextFit(model.requires_grad_(False).eval(), language, facts)
