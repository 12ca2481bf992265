"""Log-probabilities of many actions in the same context: the transcript is read once, not once per action."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
    return ChoiceScorer(policy).log_probs(contexts, choices)


class ChoiceScorer:
    """`choice_log_probs` for contexts that grow from call to call: of a transcript whose beginning was read by the last
    call, or by the last one that was no continuation of another, only the rest is read."""

    def __init__(self, policy: Policy):
        self.policy, inner = policy, opened(policy)
        self._agent = inner if isinstance(inner, LMPolicy) else None
        self._last: list[_Read] = []
        self._anchor: list[_Read] = []

    def log_probs(self, contexts: Sequence[Context], choices: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """See `choice_log_probs`."""
        if self._agent is not None:
            return self._of_language_model(self._agent, contexts, choices)
        flat = [(context, text) for context, texts in zip(contexts, choices, strict=True) for text in texts]
        found = log_prob(self.policy, [context for context, _ in flat], [text for _, text in flat])
        return np.split(found, np.cumsum([len(texts) for texts in choices])[:-1])

    def _of_language_model(
        self, policy: LMPolicy, contexts: Sequence[Context], choices: Sequence[Sequence[str]]
    ) -> list[np.ndarray]:
        transcript = policy.lm.transcript
        tokens = [[transcript.action(text) for text in texts] for texts in choices]
        written: list[np.ndarray] = [np.zeros(0)] * len(contexts)
        for read in self._positioned(policy.lm, [_prompt(transcript, c) for c in contexts]):
            mine = _continuations(read.batch, [tokens[i] for i in read.owners], policy.temperature)
            for i, values in zip(read.owners, mine, strict=True):
                written[i] = values
        if policy.epsilon == 0:
            return written
        rest = math.log1p(-policy.epsilon) if policy.epsilon < 1 else -math.inf
        mixed = []
        for context, texts, ids, values in zip(contexts, choices, tokens, written, strict=True):
            seen = [observation for observation, _ in context.history] + [context.observation]
            uniform = [policy.uniform_log_prob(context.goal, seen, text, x) for text, x in zip(texts, ids, strict=True)]
            mixed.append(np.logaddexp(rest + values, math.log(policy.epsilon) + np.array(uniform)))
        return mixed

    def _positioned(self, lm: LanguageModel, prompts: Sequence[Tokens]) -> list[_Read]:
        """Every prompt, read to its end."""
        found, going_on = [], False
        begun = {
            prompt: (read, row) for read in (*self._anchor, *self._last) for row, prompt in enumerate(read.prompts)
        }
        lengths = sorted({len(prompt) for prompt in begun}, reverse=True)
        groups: dict[int, list[tuple[int, int]]] = {}
        fresh = []
        for i, prompt in enumerate(prompts):
            known = next((begun[prompt[:n]] for n in lengths if n < len(prompt) and prompt[:n] in begun), None)
            if known is None:
                fresh.append(i)
            else:
                groups.setdefault(id(known[0]), []).append((i, known[1]))
        for read in {id(r): r for r in (*self._anchor, *self._last)}.values():
            if rows := groups.get(id(read)):
                owners, places = map(list, zip(*rows, strict=True))
                batch = read.batch.copied(places)
                batch.read([prompts[i][len(read.prompts[k]) :] for i, k in rows])
                found.append(_Read(batch, [prompts[i] for i in owners], owners))
                going_on = going_on or read in self._last
        found += _from_scratch(lm, prompts, fresh)
        self._last, self._anchor = found, self._anchor if going_on else found
        return found


@dataclass(eq=False)
class _Read:
    """Prompts that were read together, and which of those asked for each is."""

    batch: KeyValueBatch
    prompts: list[Tokens]
    owners: list[int]


def _prompt(transcript: Transcript, context: Context) -> Tokens:
    """The transcript up to the point where the agent writes."""
    ids = list(transcript.opening(context.goal))
    for observation, action in context.history:
        ids += [*transcript.turn(observation), *transcript.closed(transcript.action(action))]
    return (*ids, *transcript.turn(context.observation))


def _from_scratch(lm: LanguageModel, prompts: Sequence[Tokens], wanted: Sequence[int]) -> list[_Read]:
    found, order = [], sorted(wanted, key=lambda i: len(prompts[i]))
    while order:
        most = max(1, _BATCH_TOKENS // len(prompts[order[-1]]))
        rows = [order.pop() for _ in range(min(len(order), most))]
        batch = KeyValueBatch(lm, len(rows))
        batch.read([prompts[i] for i in rows])
        found.append(_Read(batch, [prompts[i] for i in rows], rows))
    return found


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
    logp = sampling_log_probs(batch.lm.logits(states[row, column]), temperature, column == 0, batch.lm.transcript.marks)
    owner = np.repeat(np.arange(len(flat)), [len(choice) for _, choice in flat])
    chosen = logp.gather(-1, token.to(logp.device)[:, None])[:, 0]
    total = np.bincount(owner, weights=chosen.double().cpu().numpy())
    total[[len(choice) > batch.lm.transcript.max_action_tokens for _, choice in flat]] = -np.inf
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
