"""What a white-box agent opens: observations read as vectors, its log-probabilities under them, and their gradient.

Soft tokens (Lester et al. 2021, arXiv 2104.08691) stand where the words of an observation would: the transcript is
`<obs> K vectors <act> action <end>`. Weights stay as they are; gradients reach the vectors only.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from bench.agents.cache import continued
from bench.agents.language_model import LanguageModel, padded, sampling_log_probs
from bench.data import Step, Trajectory

if TYPE_CHECKING:
    from bench.agents.lm_policy import LMSession


class WhiteBox:
    """A language model with its embedding table open. Vectors given and returned are float32 on the CPU, wherever the
    model is.

    Args:
        lm: its weights are never changed, and need no gradient.
    """

    def __init__(self, lm: LanguageModel):
        self.lm = lm
        lm.model.requires_grad_(False)

    @property
    def size(self) -> int:
        """d, of one token's embedding."""
        return self.lm.model.config.hidden_size

    @cached_property
    def identity(self) -> str:
        """16 hex digits that change with the weights and with how the agent is told things: what an adapter was made
        for."""
        transcript = self.lm.transcript
        told = (transcript.opening("goal"), transcript.marks, transcript.max_observation_tokens)
        digest = hashlib.sha256(repr((*told, transcript.max_action_tokens)).encode())
        for name, weight in sorted(self.lm.model.state_dict().items()):
            digest.update(name.encode() + weight.cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]

    def mean_embeddings(self, texts: Sequence[str]) -> Tensor:
        """(N, d) mean embedding of the tokens of each text, cut as a transcript cuts it; 0 for an empty one."""
        limit = self.lm.transcript.max_observation_tokens
        table = self.lm.model.get_input_embeddings().weight.float().cpu()
        rows = [self.lm.transcript.encode(text)[:limit] for text in texts]
        return torch.stack([table[list(row)].mean(dim=0) if row else torch.zeros(self.size) for row in rows])

    def action_states(self, trajectories: Sequence[Trajectory], soft: Sequence[Tensor] | None = None) -> Tensor:
        """Hidden states that predict the tokens of every logged action, end markers included.

        Args:
            soft: for each trajectory (T, K, d) vectors; those of the first turn are not used, its text is read. None:
                every observation is read as text.

        Returns:
            (A, d) states, trajectory by trajectory; differentiable in `soft`.
        """
        rows = [self._row(t, None if soft is None else soft[i]) for i, t in enumerate(trajectories)]
        width = max(len(x) for x, _ in rows)
        inputs = torch.stack([torch.cat([x, x.new_zeros(width - len(x), self.size)]) for x, _ in rows])
        hidden = self.lm.model.base_model(inputs_embeds=inputs, use_cache=False).last_hidden_state
        return torch.cat([hidden[i, torch.tensor(places) - 1] for i, (_, places) in enumerate(rows)]).float().cpu()

    def tokens(self, step: Step) -> int:
        """How many tokens a logged action has, end marker included."""
        return len(self.lm.transcript.action_of(step))

    def logits(self, states: Tensor) -> Tensor:
        """(A, V) next-token logits of hidden states."""
        model = self.lm.model
        return self.lm.logits(states.to(model.device, model.dtype)).float().cpu()

    def _row(self, trajectory: Trajectory, soft: Tensor | None) -> tuple[Tensor, list[int]]:
        """(L, d) embeddings of an episode, and the places of its action tokens."""
        transcript, embedded = self.lm.transcript, self.lm.embedded
        marks = transcript.marks
        parts: list[Tensor] = []
        places: list[int] = []
        length, tokens = 0, list(transcript.opening(trajectory.goal))
        for t, step in enumerate(trajectory.steps):
            if soft is None or t == 0:
                parts.append(embedded([*tokens, *transcript.turn(step.observation)]))
            else:
                before = embedded([*tokens, *marks.before])
                parts += [before, soft[t].to(before), embedded(marks.after)]
            length = sum(map(len, parts))
            tokens = transcript.action_of(step)
            places += range(length, length + len(tokens))
            tokens = transcript.closed(tokens)
        parts.append(embedded(tokens))
        return torch.cat(parts), places


class Lookahead:
    """The next turn of every live episode of a session, tried out and forgotten: what would the agent do, shown this?

    Actions tried are written by the model, without the uniform part of a mixture: only they depend on what is shown.
    The list of actions of that part is the one of the turn before: what is tried has no text to make one from.
    """

    def __init__(self, session: LMSession):
        self.session, self.batch = session, session.batch
        self.policy = session.policy
        self.marks = session.policy.lm.transcript.marks

    def propose(self, vectors: Tensor) -> list[tuple[int, ...]]:
        """Tokens of one sampled action per live episode after (B, K, d) vectors."""
        act = self.policy.lm.embedded(self.marks.after)
        rngs = [self.session.ahead[row] for row in self.session.live]
        with self.batch.aside():
            self.batch.read([torch.cat([x, act]) for x in vectors.detach().to(act)])
            return [tuple(tokens) for tokens, _ in self.batch.write(rngs, self.policy.temperature)]

    def texts(self, actions: Sequence[tuple[int, ...]]) -> list[str]:
        """Actions as text."""
        return [self.policy.lm.transcript.decode(tokens) for tokens in actions]

    def log_prob(self, vectors: Tensor, actions: Sequence[tuple[int, ...]]) -> Tensor:
        """(B,) log-probability of an action after (B, K, d) vectors, under the mixture; differentiable in the
        vectors."""
        batch, model = self.batch, self.policy.lm.model
        before = vectors.shape[1] + len(self.marks.after) - 1  # what stands before the state that predicts the action
        size = torch.tensor([len(a) for a in actions])
        tail = padded([(*self.marks.after, *a[:-1]) for a in actions])  # (B, W)
        written = self.policy.lm.embedded(tail)
        inputs = torch.cat([vectors.to(written), written], dim=1)
        width = inputs.shape[1]
        causal = torch.ones(width, width, dtype=torch.bool).tril().expand(len(actions), -1, -1)
        past = batch.valid[:, None, :].expand(-1, width, -1)
        position = batch.length[:, None] + torch.arange(width)
        kept = DynamicCache(ddp_cache_data=[(layer.keys, layer.values) for layer in batch.cache.layers])
        hidden = continued(model, inputs, position, torch.cat([past, causal], dim=2), kept)[:, before:]  # (B, W, d)
        real = torch.arange(hidden.shape[1]) < size[:, None]
        first = torch.zeros_like(real)
        first[:, 0] = True
        logp = sampling_log_probs(self.policy.lm.logits(hidden[real]), self.policy.temperature, first[real], self.marks)
        token = torch.tensor([x for a in actions for x in a], device=logp.device)
        chosen = logp.gather(-1, token[:, None])[:, 0].cpu()
        rows = torch.arange(len(actions)).repeat_interleave(size)
        return self._mixture(torch.zeros(len(actions)).index_add(0, rows, chosen), actions)

    def _mixture(self, written: Tensor, actions: Sequence[tuple[int, ...]]) -> Tensor:
        epsilon, session = self.policy.epsilon, self.session
        if epsilon == 0:
            return written
        if epsilon == 1:
            return written * 0.0  # what is shown has no influence on what is drawn
        uniform = []
        for row, tokens in zip(session.live, actions, strict=True):
            text = self.policy.lm.transcript.decode(tokens)
            uniform.append(self.policy.uniform_log_prob(session.goals[row], session.seen[row], text, tokens))
        return torch.logaddexp(math.log(1 - epsilon) + written, math.log(epsilon) + torch.tensor(uniform))


@contextmanager
def lookahead(session: LMSession) -> Iterator[Lookahead]:
    """Opens the next turn of a session that has just acted; everything tried inside is forgotten at the end."""
    with session.batch.aside():
        before = session.policy.lm.transcript.marks.before
        session.batch.read([(*session.pending[row], *before) for row in session.live])
        yield Lookahead(session)


def ahead_generators(seeds: Sequence[int]) -> list[np.random.Generator]:
    """Streams for look-ahead, apart from those that decide what an episode really does."""
    return [np.random.default_rng([seed, 1]) for seed in seeds]
