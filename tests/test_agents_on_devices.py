"""Agents on a GPU, or in half precision, say what they say on the CPU in float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from bench.agents.choices import choice_log_probs
from bench.agents.language_model import LanguageModel
from bench.agents.lm_policy import LMPolicy
from bench.agents.transcript import Transcript, train_tokenizer
from bench.agents.white_box import WhiteBox
from bench.data import Step, Trajectory
from bench.policy import Context, SoftObservation

GPU = pytest.param(
    "cuda", torch.float32, 1e-3, marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
)
HALF = pytest.param("cpu", torch.bfloat16, 0.2)
WHERE = pytest.mark.parametrize("device, dtype, tolerance", [GPU, HALF])
EPISODES = [
    Trajectory("1", "a", "open the door", (Step("you stand", "go on", 0.0), Step("a door", "open", 1.0)), None),
    Trajectory("2", "b", "go", (Step("dark", "open the door", 0.0),), None),
]


def agent(device="cpu", dtype=torch.float32):
    transcript = Transcript(train_tokenizer(["open the door go on you stand a dark"] * 3, 300), 12)
    shape = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(vocab_size=transcript.vocabulary, initializer_range=0.2, **shape))
    return LMPolicy("a", LanguageModel(model.to(device, dtype), transcript), 0.8)


@WHERE
def test_log_probabilities_agree(device, dtype, tolerance):
    here, there = agent().log_prob_episodes(EPISODES), agent(device, dtype).log_prob_episodes(EPISODES)
    for one, other in zip(here, there, strict=True):
        assert other == pytest.approx(one, abs=tolerance)
    contexts = [Context("open the door", (), "you stand"), Context("go", (("dark", "go on"),), "a door")]
    choices = [["open", "go on"], ["open the door"]]
    here, there = (choice_log_probs(a, contexts, choices) for a in (agent(), agent(device, dtype)))
    for one, other in zip(here, there, strict=True):
        assert other == pytest.approx(one, abs=tolerance)


@WHERE
def test_what_is_sampled_has_the_probability_it_says(device, dtype, tolerance):
    policy = agent(device, dtype)
    session = policy.start(["open the door", "go"], [1, 2])
    first = session.step(["you stand", "dark"])
    vectors = policy.white_box.mean_embeddings(["a door"])
    second = session.step([SoftObservation("a door", vectors), None])
    assert second[0].log_prob < 0
    steps = (Step("you stand", first[0].action, 0.0, first[0].tokens),)
    scored = policy.log_prob_episodes([Trajectory("1", "x", "open the door", steps, None)])[0]
    assert scored[0] == pytest.approx(first[0].log_prob, abs=tolerance)
    drawn = policy.next_actions(EPISODES, 3, seed=0)
    assert [len(row) for row in drawn] == [2, 1] and all(len(x) == 3 for row in drawn for x in row)


@WHERE
def test_the_gradient_at_soft_tokens_agrees(device, dtype, tolerance):
    def ask(policy):
        inside = WhiteBox(policy.lm)
        session = policy.start(["open the door", "go"], [1, 2])
        session.step(["you stand", "dark"])
        session.pending = [(5, 6), (7, 8)]  # what was written is drawn, and may differ in the last digits
        soft = inside.mean_embeddings(["a door", "dark"])[:, None].requires_grad_(True)
        with session.lookahead() as look:
            assert len(look.propose(soft)) == 2
            value = look.log_prob(soft, [(5, 6, 7), (9,)])
        (gradient,) = torch.autograd.grad(value.sum(), soft)
        states = inside.action_states(EPISODES, [torch.zeros(2, 1, inside.size), torch.zeros(1, 1, inside.size)])
        return value.detach(), gradient, inside.logits(states)

    for one, other in zip(ask(agent()), ask(agent(device, dtype)), strict=True):
        assert one.device == other.device and one.dtype == other.dtype
        assert np.allclose(one, other, atol=tolerance, rtol=tolerance)
