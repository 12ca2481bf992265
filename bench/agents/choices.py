"""Log-probabilities of many actions in the same context: the transcript is read once, not once per action."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from bench.agents.cache import continued
from bench.agents.language_model import KeyValueBatch, LanguageModel, padded, sampling_log_probs
from bench.agents.lm_policy import LMPolicy
from bench.agents.transcript import Transcript
from bench.policy import Context, Policy, log_prob, opened

_BATCH_TOKENS = 16_384
"""Padded tokens of transcripts that are read together; bounds memory."""

Tokens = tuple[int, ...]


def choice_log_probs(policy: Policy, contexts: Sequence[Context], choices: Sequence[Sequence[str]]) -> list[np.ndarray]:
    """Exact log-probabilities of some actions in each context, what `bench.policy.log_prob` gives for each of them.

    Any policy can be asked; agents whose model runs here are asked in far less time.

    Returns:
        For each context one (K_i,) array; -inf where the policy never takes the action.
    """
    inner = opened(policy)
    if isinstance(inner, LMPolicy):
        return _of_language_model(inner, contexts, choices)
    flat = [(context, text) for context, texts in zip(contexts, choices, strict=True) for text in texts]
    found = log_prob(policy, [context for context, _ in flat], [text for _, text in flat])
    return np.split(found, np.cumsum([len(texts) for texts in choices])[:-1])


def _of_language_model(
    policy: LMPolicy, contexts: Sequence[Context], choices: Sequence[Sequence[str]]
) -> list[np.ndarray]:
    transcript = policy.lm.transcript
    tokens = [[transcript.action(text) for text in texts] for texts in choices]
    written = _written(policy.lm, policy.temperature, [_prompt(transcript, c) for c in contexts], tokens)
    if policy.epsilon == 0:
        return written
    rest = math.log1p(-policy.epsilon) if policy.epsilon < 1 else -math.inf
    mixed = []
    for context, texts, ids, values in zip(contexts, choices, tokens, written, strict=True):
        seen = [observation for observation, _ in context.history] + [context.observation]
        uniform = [policy.uniform_log_prob(context.goal, seen, text, x) for text, x in zip(texts, ids, strict=True)]
        mixed.append(np.logaddexp(rest + values, math.log(policy.epsilon) + np.array(uniform)))
    return mixed


def _prompt(transcript: Transcript, context: Context) -> list[int]:
    """The transcript up to the point where the agent writes."""
    ids = list(transcript.opening(context.goal))
    for observation, action in context.history:
        ids += [*transcript.turn(observation), *transcript.closed(transcript.action(action))]
    return ids + list(transcript.turn(context.observation))


def _written(
    lm: LanguageModel, temperature: float, prompts: Sequence[Sequence[int]], choices: Sequence[Sequence[Tokens]]
) -> list[np.ndarray]:
    """Log-probabilities of writing each choice after its prompt."""
    order, out = sorted(range(len(prompts)), key=lambda i: len(prompts[i])), [np.zeros(0)] * len(prompts)
    while order:
        most = max(1, _BATCH_TOKENS // len(prompts[order[-1]]))
        rows = [order.pop() for _ in range(min(len(order), most))]
        batch = KeyValueBatch(lm, len(rows))
        batch.read([prompts[i] for i in rows])
        for i, values in zip(rows, _continuations(batch, [choices[i] for i in rows], temperature), strict=True):
            out[i] = values
    return out


@torch.inference_mode()
def _continuations(batch: KeyValueBatch, choices: Sequence[Sequence[Tokens]], temperature: float) -> list[np.ndarray]:
    """All choices of a row stand side by side; each sees the transcript and itself."""
    flat = [(row, choice) for row, mine in enumerate(choices) for choice in mine]
    states = torch.cat([batch.hidden[:, None], _read_aside(batch, choices)], dim=1)  # (B, 1 + W, d)
    places, filled = [], [1] * len(choices)
    for row, choice in flat:
        places += [(row, 0)] + [(row, filled[row] + t) for t in range(len(choice) - 1)]
        filled[row] += len(choice) - 1
    row, column = torch.tensor(places).T
    token = torch.tensor([t for _, choice in flat for t in choice])
    logp = sampling_log_probs(batch.lm.model.lm_head(states[row, column]), temperature, column == 0, batch.lm.transcript.marks)
    owner = np.repeat(np.arange(len(flat)), [len(choice) for _, choice in flat])
    total = np.bincount(owner, weights=logp.gather(-1, token[:, None])[:, 0].double().numpy())
    total[[len(choice) > batch.lm.transcript.max_action_tokens + 1 for _, choice in flat]] = -np.inf
    return np.split(total, np.cumsum([len(mine) for mine in choices])[:-1])


def _read_aside(batch: KeyValueBatch, choices: Sequence[Sequence[Tokens]]) -> Tensor:
    """(B, W, d) states after every token of every choice but the last ones; the batch is left as it was."""
    ids = padded([[t for choice in mine for t in choice[:-1]] for mine in choices])
    owner = padded([[k for k, choice in enumerate(mine, start=1) for _ in choice[:-1]] for mine in choices])
    place = padded([[t for choice in mine for t in range(len(choice) - 1)] for mine in choices])
    width = ids.shape[1]
    if width == 0:
        return batch.hidden.new_zeros(len(choices), 0, batch.hidden.shape[1])
    causal = torch.ones(width, width, dtype=torch.bool).tril()
    own = (owner[:, :, None] == owner[:, None, :]) & causal
    past = batch.valid[:, None, :].expand(-1, width, -1)
    kept = DynamicCache(ddp_cache_data=[(layer.keys, layer.values) for layer in batch.cache.layers])
    position = batch.length[:, None] + place
    return continued(batch.lm.model, ids, position, torch.cat([past, own], dim=2), kept)
