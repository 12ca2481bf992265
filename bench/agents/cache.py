"""A key-value cache that grows in place: appending a token does not copy everything before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from transformers.cache_utils import Cache, DynamicLayer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class GrowingLayer(DynamicLayer):
    """Keys and values (B, heads, columns, d) as views into larger buffers.

    Whoever replaces `keys` and `values` (to select rows, say) gets new buffers at the next append; whoever shortens
    them to a prefix keeps the old ones, whose tail is then overwritten.
    """

    def __init__(self):
        super().__init__()
        self._buffers: dict[str, torch.Tensor] = {}

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args, **kwargs
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Appends (B, heads, new, d) keys and values; returns all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.keys = self._append("keys", self.keys, key_states)
        self.values = self._append("values", self.values, value_states)
        return self.keys, self.values

    def _append(self, name: str, held: torch.Tensor, fresh: torch.Tensor) -> torch.Tensor:
        columns = held.shape[2] if held.numel() else 0
        total, buffer = columns + fresh.shape[2], self._buffers.get(name)
        own = buffer is not None and columns and held.data_ptr() == buffer.data_ptr()
        if not own or buffer.shape[2] < total:
            size = (*fresh.shape[:2], total + total // 2 + 64, fresh.shape[3])
            buffer = self._buffers[name] = fresh.new_empty(size)
            if columns:
                buffer[:, :, :columns] = held
        buffer[:, :, columns:total] = fresh
        return buffer[:, :, :total]


def growing_cache() -> Cache:
    """An empty cache for any model with full attention."""
    return Cache(layer_class_to_replicate=GrowingLayer)


def continued(
    model: PreTrainedModel, inputs: torch.Tensor, position: torch.Tensor, mask: torch.Tensor, cache: Cache
) -> torch.Tensor:
    """Reads W more tokens of every row; the cache grows by as many columns.

    Args:
        inputs: (B, W) ids or (B, W, d) embeddings. position: (B, W) place of each in its own text.
        mask: (B, W, columns + W), True where a token may look. All three may be on any device.

    Returns:
        (B, W, d) hidden states, on the model's device.
    """
    inputs, position, mask = (x.to(model.device) for x in (inputs, position, mask))
    additive = torch.zeros(mask.shape, dtype=model.dtype, device=mask.device)
    additive.masked_fill_(~mask, -torch.inf)  # once, not in every layer
    given = {"inputs_embeds" if inputs.is_floating_point() else "input_ids": inputs}
    out = model.base_model(
        **given, position_ids=position, attention_mask=additive[:, None], past_key_values=cache, use_cache=True
    )
    return out.last_hidden_state


def selected_rows(cache: Cache, rows: torch.Tensor) -> Cache:
    """A copy that holds some rows of the batch."""
    copied = growing_cache()
    for layer in cache.layers:
        rows = rows.to(layer.keys.device)
        one = GrowingLayer()
        one.lazy_initialization(layer.keys, layer.values)
        one.keys, one.values = layer.keys[rows], layer.values[rows]
        copied.layers.append(one)
    return copied


def with_new_columns(
    cache: Cache, parts: Sequence[tuple[list[int], Cache]], rows: int, columns: int, width: int
) -> Cache:
    """A batch of caches after some of its rows were continued apart.

    Args:
        cache: the batch before, `columns` long; empty if that is 0.
        parts: rows, and their cache after at most `width` more columns. Rows of no part get none.
    """
    merged = growing_cache()
    for index, model in enumerate(parts[0][1].layers):
        heads, size = model.keys.shape[1], model.keys.shape[3]
        layer = GrowingLayer()
        layer.lazy_initialization(model.keys, model.values)
        for name in ("keys", "values"):
            joined = model.keys.new_zeros(rows, heads, columns + width, size)
            if columns:
                joined[:, :, :columns] = getattr(cache.layers[index], name)
            for owners, part in parts:
                new = getattr(part.layers[index], name)[:, :, columns:]
                joined[owners, :, columns : columns + new.shape[2]] = new
            setattr(layer, name, joined)
        merged.layers.append(layer)
    return merged
