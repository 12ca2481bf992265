"""Untrained language models of a few thousand parameters: what is computed with them needs no meaning."""

from __future__ import annotations

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from bench.agents.language_model import LanguageModel
from bench.agents.transcript import Transcript, train_tokenizer

TEXTS = ["go to the kitchen", "open the red door", "You see a table, a lamp and 3 apples.", "focus on the lamp"]


def tiny_lm(kind: str = "llama") -> LanguageModel:
    """A model with tied embeddings over the words of `TEXTS` that reads 12 tokens of an observation.

    Args:
        kind: llama or gpt2.
    """
    transcript = Transcript(train_tokenizer(TEXTS * 3, 320), max_observation_tokens=12)
    with torch.random.fork_rng():
        torch.random.manual_seed(0)
        return LanguageModel({"llama": _llama, "gpt2": _gpt2}[kind](transcript.vocabulary), transcript)


def _llama(vocabulary: int) -> PreTrainedModel:
    shape = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2)
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=vocabulary, initializer_range=0.3, tie_word_embeddings=True, **shape)
    )


def _gpt2(vocabulary: int) -> PreTrainedModel:
    special = dict(bos_token_id=1, eos_token_id=4)
    shape = dict(n_embd=32, n_layer=2, n_head=2)
    return GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, initializer_range=0.3, **shape, **special))
