"""A causal language model that scores and writes actions: batched, with a key-value cache kept across turns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, Cache, DynamicCache
from transformers.utils.logging import disable_progress_bar

from bench.agents.cache import continued, growing_cache, selected_rows, with_new_columns
from bench.agents.transcript import MARKS, EncodedEpisode, Marks, Transcript
from bench.data import Trajectory
from bench.errors import BenchError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class LanguageModel:
    """A Hugging Face causal LM with the transcript format it was trained on.

    Weights, keys and values and hidden states are where the model is; what says which token goes where is on the CPU.

    Args:
        model: any causal LM that takes 4-d attention masks and position ids (Llama, GPT-2, Qwen, ...), on any device.
        transcript: its tokenizer and segment format.

    Raises:
        BenchError: the model does something to its logits that is not known here: another agent would be judged.
    """

    def __init__(self, model: PreTrainedModel, transcript: Transcript):
        self.model = model.eval()
        self.transcript = transcript
        self._check_logits()

    @classmethod
    def load(cls, folder: Path, transcript: Transcript) -> LanguageModel:
        """Reads a checkpoint in Hugging Face format; weights are computed with in float32."""
        disable_progress_bar()  # checkpoints are small and many; a bar each would drown the benchmark's own
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        return cls(model, transcript)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    def embedded(self, ids: Sequence[int] | torch.Tensor) -> torch.Tensor:
        """(..., d) embeddings of (...) token ids."""
        return self.model.get_input_embeddings()(torch.as_tensor(ids, dtype=torch.long, device=self.device))

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """(..., V) next-token logits of (..., d) hidden states, as the whole model gives them: some scale or bend them
        at the end (Cohere, Granite, Gemma 2)."""
        config, logits = self.model.config, self.model.lm_head(hidden)
        if scale := getattr(config, "logit_scale", None):
            logits = logits * scale
        if scale := getattr(config, "logits_scaling", None):
            logits = logits / scale
        if cap := getattr(config, "final_logit_softcapping", None):
            logits = torch.tanh(logits / cap) * cap
        return logits

    @torch.inference_mode()
    def _check_logits(self) -> None:
        ids = torch.arange(min(6, self.transcript.vocabulary), device=self.device)[None]
        hidden = self.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        whole, ours = self.model(ids, use_cache=False).logits.float(), self.logits(hidden).float()
        if not torch.allclose(whole, ours, rtol=0.02, atol=0.02 * float(whole.abs().max())):
            raise BenchError(
                f"{type(self.model).__name__} changes its logits after the output layer in a way that is not known "
                "here: they would be those of another agent."
            )

    def action_log_probs(
        self, trajectories: Sequence[Trajectory], temperatures: Sequence[float], batch_tokens: int = 16_384
    ) -> list[np.ndarray]:
        """Log-probability of every logged action, from one forward pass per episode.

        Args:
            temperatures: sampling temperatures; all share the forward pass.
            batch_tokens: padded tokens per batch; bounds memory.

        Returns:
            For each trajectory a (len(temperatures), T_i) float64 array; -inf for actions the model cannot write
            (longer than the cap, end marker included).
        """
        encoded = [self.transcript.episode(t) for t in trajectories]
        first = {_key(e): i for i, e in reversed(list(enumerate(encoded)))}  # the same text is scored once
        place = {i: k for k, i in enumerate(first.values())}
        episodes = [encoded[i] for i in first.values()]
        order = sorted(range(len(episodes)), key=lambda i: len(episodes[i].ids))
        out: list[np.ndarray | None] = [None] * len(episodes)
        while order:
            width = len(episodes[order[-1]].ids)
            rows = [order.pop() for _ in range(min(len(order), max(1, batch_tokens // width)))]
            for row, values in zip(rows, self._score([episodes[i] for i in rows], temperatures), strict=True):
                out[row] = values
        return [out[place[first[_key(e)]]] for e in encoded]

    @torch.inference_mode()
    def _score(self, episodes: list, temperatures: Sequence[float]) -> list[np.ndarray]:
        ids = padded([e.ids for e in episodes]).to(self.device)
        hidden = self.model.base_model(input_ids=ids, use_cache=False).last_hidden_state  # (B, L, d)
        # Only positions that predict an action token reach the output layer: most of a transcript is observation.
        place = [(r, p, p == a) for r, e in enumerate(episodes) for a, b in e.spans for p in range(a, b)]
        row, position, first = (torch.tensor(x) for x in zip(*place, strict=True))
        logits = self.logits(hidden[row, position - 1])  # (A, V)
        token = ids[row, position]
        step = np.repeat(np.arange(sum(len(e.spans) for e in episodes)), [b - a for e in episodes for a, b in e.spans])
        out = []
        for temperature in temperatures:
            logp = sampling_log_probs(logits, temperature, first, self.transcript.marks).gather(-1, token[:, None])
            out.append(np.bincount(step, weights=logp[:, 0].double().cpu().numpy()))
        values = np.stack(out)  # (temperatures, steps of the batch)
        too_long = [b - a > self.transcript.max_action_tokens for e in episodes for a, b in e.spans]
        values[:, too_long] = -np.inf
        return np.split(values, np.cumsum([len(e.spans) for e in episodes])[:-1], axis=1)


def _key(episode: EncodedEpisode) -> tuple:
    """Equal for episodes that are scored alike: an action that was cut is not the same with its end."""
    return tuple(episode.ids), tuple(episode.spans)


def sampling_log_probs(
    logits: torch.Tensor, temperature: float, first: torch.Tensor, marks: Marks = MARKS
) -> torch.Tensor:
    """(N, V) log-probabilities of the distribution the agents really sample from.

    Banned tokens are never written, and an action has at least one token before its end marker.

    Args:
        logits: (N, V), on any device, where the result is too.
        first: (N,) bool, position of the first token of an action.
    """
    logits = logits.float() / temperature
    banned = torch.zeros(logits.shape[-1], dtype=torch.bool)
    banned[list(marks.banned)] = True
    logits = logits.masked_fill(banned.to(logits.device), float("-inf"))
    logits[first.to(logits.device), marks.end] = float("-inf")
    return torch.log_softmax(logits, dim=-1)


def padded(sequences: Sequence[Sequence[int]]) -> torch.Tensor:
    """(N, longest) token ids, filled up with zeros on the right."""
    ids = torch.zeros(len(sequences), max(map(len, sequences)), dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence, dtype=torch.long)
    return ids


class KeyValueBatch:
    """Transcripts in progress, one row each, with the key-value cache of everything read so far.

    Rows have different lengths. A chunk is appended right-padded, and padding stays in the cache as masked columns;
    they are squeezed out when they outweigh the real ones.
    """

    def __init__(self, lm: LanguageModel, rows: int):
        self.lm = lm
        self.cache = growing_cache()
        self.valid = torch.zeros(rows, 0, dtype=torch.bool)  # (B, columns)
        self.length = torch.zeros(rows, dtype=torch.long)  # real tokens per row
        # state after the last real token of each row
        self.hidden = torch.zeros(rows, lm.model.config.hidden_size, dtype=lm.model.dtype, device=lm.device)

    @torch.inference_mode()
    def read(self, chunks: Sequence[Sequence[int] | torch.Tensor]) -> None:
        """Appends one (possibly empty) chunk to every row: token ids, or (L, d) embeddings.

        Chunks of similar length go through the model together: a short answer is not padded to a long description.
        """
        size = torch.tensor([len(c) for c in chunks])
        groups: dict[int, list[int]] = {}
        for row, chunk in enumerate(chunks):
            if len(chunk):
                groups.setdefault(len(chunk).bit_length(), []).append(row)
        if not groups:
            return
        width, columns = int(size.max()), self.valid.shape[1]
        if len(groups) == 1 and len(next(iter(groups.values()))) == len(chunks):
            self._read_group(self.cache, list(range(len(chunks))), chunks)
        else:
            parts = []
            for rows in groups.values():
                part = selected_rows(self.cache, torch.tensor(rows))
                self._read_group(part, rows, [chunks[row] for row in rows])
                parts.append((rows, part))
            self.cache = with_new_columns(self.cache, parts, len(chunks), columns, width)
        self.valid = torch.cat([self.valid, torch.arange(width) < size[:, None]], dim=1)
        self.length = self.length + size
        self._squeeze()

    def _read_group(self, cache: Cache, rows: list[int], chunks: Sequence[Sequence[int] | torch.Tensor]) -> None:
        """Appends non-empty chunks to some rows of the batch, whose keys and values are in `cache`."""
        size = torch.tensor([len(c) for c in chunks])
        inputs = self._inputs(chunks)
        width = inputs.shape[1]
        fresh = torch.arange(width) < size[:, None]  # (B, W)
        causal = torch.ones(width, width, dtype=torch.bool).tril()
        past = self.valid[rows][:, None, :].expand(-1, width, -1)  # (B, W, columns)
        own = (causal & fresh[:, None, :]) | torch.eye(width, dtype=torch.bool)  # padding sees itself: no empty softmax
        position = self.length[rows][:, None] + torch.arange(width)
        hidden = continued(self.lm.model, inputs, position, torch.cat([past, own], dim=2), cache)
        self.hidden[rows] = hidden[torch.arange(len(chunks)), size - 1]

    def _inputs(self, chunks: Sequence[Sequence[int] | torch.Tensor]) -> torch.Tensor:
        """(B, W) padded ids, or (B, W, d) embeddings where any chunk is made of them."""
        if not any(isinstance(c, torch.Tensor) for c in chunks):
            return padded(chunks)
        rows = [c.to(self.hidden) if isinstance(c, torch.Tensor) else self.lm.embedded(c) for c in chunks]
        return pad_sequence(rows, batch_first=True)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What is read inside is forgotten at the end."""
        cache, valid, length, hidden = self.cache, self.valid, self.length, self.hidden.clone()
        held = [(layer.keys, layer.values) for layer in cache.layers]
        try:
            yield
        finally:
            self.cache, self.valid, self.length, self.hidden = cache, valid, length, hidden
            for layer, (keys, values) in zip(cache.layers, held, strict=True):
                layer.keys, layer.values = keys, values

    @torch.inference_mode()
    def write(self, rngs: Sequence[np.random.Generator], temperature: float) -> list[tuple[list[int], float]]:
        """Samples one action after every row without keeping it.

        Args:
            rngs: one generator per row.

        Returns:
            For each row token ids (end marker included unless cut by the cap) and their log-probability.
        """
        columns, marks, most = self.valid.shape[1], self.lm.transcript.marks, self.lm.transcript.max_action_tokens
        ids: list[list[int]] = [[] for _ in rngs]
        total = np.zeros(len(rngs))
        rows = np.arange(len(rngs))  # those still writing, and others until they are half of what the model reads
        alive = np.ones(len(rngs), dtype=bool)  # of `rows`
        hidden, valid, length, cache = self.hidden, self.valid, self.length, self.cache
        for depth in range(most):
            first = torch.full((len(rows),), depth == 0)
            logp = sampling_log_probs(self.lm.logits(hidden), temperature, first, marks).double().cpu().numpy()
            token = draw_tokens(logp, [rngs[row] for row in rows], alive, marks.end)
            total[rows[alive]] += logp[alive, token[alive]]
            for k in np.flatnonzero(alive):
                ids[rows[k]].append(int(token[k]))
            alive &= token != marks.end
            if not alive.any() or depth == most - 1:
                break
            if 2 * alive.sum() < len(rows):
                kept = torch.from_numpy(np.flatnonzero(alive))
                cache, valid, length = selected_rows(cache, kept), valid[kept], length[kept]
                rows, token, alive = rows[alive], token[alive], alive[alive]
            own = torch.ones(len(rows), depth + 1, dtype=torch.bool)  # everything this row has written itself
            mask = torch.cat([valid, own], dim=1)[:, None]  # (B, 1, columns + written)
            position = (length + depth)[:, None]
            hidden = continued(self.lm.model, torch.from_numpy(token)[:, None], position, mask, cache)[:, 0]
        self._crop(columns)
        return list(zip(ids, total.tolist(), strict=True))

    @torch.inference_mode()
    def score(self, row: int, tokens: Sequence[int], temperature: float) -> float:
        """Log-probability of writing `tokens` after one row, which is left as it was."""
        columns = self.valid.shape[1]
        past = [(layer.keys[row : row + 1], layer.values[row : row + 1]) for layer in self.cache.layers]
        ids = torch.tensor([tokens[:-1]], dtype=torch.long)
        hidden = self.hidden[row : row + 1, None]  # (1, 1, d) predicts the first token
        if len(tokens) > 1:
            width = len(tokens) - 1
            own = torch.ones(width, width, dtype=torch.bool).tril()
            mask = torch.cat([self.valid[row].expand(width, columns), own], dim=1)[None]
            position = (self.length[row] + torch.arange(width))[None]
            fresh = continued(self.lm.model, ids, position, mask, DynamicCache(ddp_cache_data=past))
            hidden = torch.cat([hidden, fresh], dim=1)
        first = torch.arange(len(tokens)) == 0
        logp = sampling_log_probs(self.lm.logits(hidden)[0], temperature, first, self.lm.transcript.marks)
        return float(logp.gather(-1, torch.tensor(tokens, device=logp.device)[:, None]).double().sum())

    def keep(self, rows: Sequence[int]) -> None:
        """Drops all other rows."""
        self.__dict__.update(self.copied(rows).__dict__)

    def copied(self, rows: Sequence[int]) -> KeyValueBatch:
        """A batch of its own that goes on from some rows, each as often as it is named."""
        index, other = torch.tensor(rows, dtype=torch.long), KeyValueBatch(self.lm, len(rows))
        other.valid, other.length, other.hidden = self.valid[index], self.length[index], self.hidden[index]
        other.cache = selected_rows(self.cache, index)
        return other

    def _crop(self, columns: int) -> None:
        for layer in self.cache.layers:
            layer.keys, layer.values = layer.keys[:, :, :columns], layer.values[:, :, :columns]

    def _squeeze(self) -> None:
        """Left-aligns the real columns of every row once more than a fifth of all columns are padding in every row."""
        width = int(self.length.max())
        if self.valid.shape[1] <= 1.25 * width or self.valid.shape[1] < 64:
            return
        order = torch.argsort(self.valid.int(), dim=1, descending=True, stable=True)[:, :width]  # (B, width)
        for layer in self.cache.layers:
            index = order.to(layer.keys.device)[:, None, :, None]
            index = index.expand(-1, layer.keys.shape[1], -1, layer.keys.shape[3])
            layer.keys, layer.values = layer.keys.gather(2, index), layer.values.gather(2, index)
        self.valid = torch.arange(width) < self.length[:, None]


def draw_tokens(
    logp: np.ndarray, rngs: Sequence[np.random.Generator | None], alive: np.ndarray, end: int
) -> np.ndarray:
    """(N,) tokens by inversion, one uniform of its own generator per live row; `end` for the others."""
    uniform = np.array([rng.random() if a else 0.0 for rng, a in zip(rngs, alive, strict=True)])
    cumulative = np.cumsum(np.exp(logp), axis=1)
    token = (cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(axis=1)  # never a token of probability 0
    return np.where(alive, np.minimum(token, logp.shape[1] - 1), end)
