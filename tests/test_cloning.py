"""Behavior cloning: what carries loss, and how models begin."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bench.agents.cloning import CloningConfig, Demonstration, _example, _update, new_model
from bench.agents.transcript import Transcript, train_tokenizer
from bench.data import Step, Trajectory

CONFIG = CloningConfig(hidden=16, layers=1, heads=2, feed_forward=16)
STEPS = (Step("a door", "open it", 0.0), Step("a wall", "go back", 1.0))
DEMONSTRATION = Demonstration(Trajectory("e", "i", "find the way", STEPS, "done"), (False, True))


@pytest.fixture(scope="module")
def transcript() -> Transcript:
    texts = [x for s in STEPS for x in (s.observation, s.action)]
    return Transcript(train_tokenizer([*texts, "find the way"], 280), 64)


def _losses(transcript: Transcript, weight: float) -> tuple[float, float]:
    """Loss on imitated tokens, and on all others, after some updates."""
    ids, mask = _example(DEMONSTRATION, transcript)
    model = new_model(CONFIG, transcript.vocabulary, 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(40):
        _update(model, optimizer, [(ids, mask)], weight)
    with torch.no_grad():
        logp = model(torch.from_numpy(ids)[None]).logits[0, :-1].log_softmax(-1)
    loss = -logp.gather(-1, torch.from_numpy(ids)[1:, None])[:, 0]
    imitated = torch.from_numpy(mask)[1:]
    return float(loss[imitated].mean()), float(loss[~imitated].mean())


def test_only_imitated_tokens_are_learned_unless_observations_have_weight(transcript):
    imitated, others = _losses(transcript, 0.0)
    assert imitated < 0.3 and others > 3
    imitated, others = _losses(transcript, 0.5)
    assert imitated < 0.3 and others < 1


def test_the_spread_of_initial_weights_is_that_of_the_configuration(transcript):
    for spread in (0.02, 0.25):
        model = new_model(replace(CONFIG, initializer_range=spread), transcript.vocabulary, 0)
        assert float(model.get_input_embeddings().weight.detach().std()) == pytest.approx(spread, rel=0.1)
