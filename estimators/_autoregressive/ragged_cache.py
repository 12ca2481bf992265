"""Keys and values of texts of different lengths, each of which can be cut back to any point."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from bench.agents.cache import continued
from estimators._autoregressive.model import TextWorldModel


class _RaggedLayer(DynamicLayer):
    """Keys and values (rows, heads, columns, d), each row filled from the left.

    The next call appends to the rows `rows`, at the columns from `start` on: whatever stands there is overwritten.
    """

    def __init__(self, rows: int):
        super().__init__()
        self.rows, self.start, self.total = torch.arange(rows), torch.zeros(rows, dtype=torch.long), rows

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        """Writes (B, heads, new, d) keys and values; returns the columns any of the B rows may look at."""
        columns = self.start[:, None] + torch.arange(key_states.shape[2])
        width = int(columns.max()) + 1
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys = self.values = key_states.new_zeros(self.total, key_states.shape[1], 0, key_states.shape[3])
        everything = len(self.rows) == len(self.keys)
        for name, new in (("keys", key_states), ("values", value_states)):
            held = self._roomy(getattr(self, name), width)
            held[self.rows[:, None], :, columns] = new.transpose(1, 2)
            setattr(self, name, held)
        seen = self.keys[:, :, :width], self.values[:, :, :width]
        return seen if everything else (seen[0][self.rows], seen[1][self.rows])

    @staticmethod
    def _roomy(held: Tensor, width: int) -> Tensor:
        if held.shape[2] >= width:
            return held
        larger = held.new_zeros(*held.shape[:2], width + width // 4 + 64, held.shape[3])  # zeros: never NaN
        larger[:, :, : held.shape[2]] = held
        return larger


class RaggedCache:
    """What a model has read of several texts.

    Attributes:
        length: (rows,) tokens of each. Lowering it forgets the rest.
    """

    def __init__(self, model: TextWorldModel, rows: int):
        self.model, self.length = model, torch.zeros(rows, dtype=torch.long)
        self._layers = [_RaggedLayer(rows) for _ in range(model.body.config.num_hidden_layers)]

    def read(self, rows: Tensor, ids: Tensor) -> Tensor:
        """Reads on in some of the texts; `length` is left to the caller, who may not want to keep everything.

        Args:
            rows: (B,) which ones, ascending. ids: (B, W) tokens, padded on the right.

        Returns:
            (B, W, hidden) states.
        """
        start = self.length[rows]
        for layer in self._layers:
            layer.rows, layer.start = rows, start
        place = start[:, None] + torch.arange(ids.shape[1])  # (B, W)
        mask = torch.arange(int(place.max()) + 1) <= place[..., None]  # (B, W, columns)
        return continued(self.model.body, ids, place, mask, Cache(layers=self._layers))

    def keep(self, rows: Tensor) -> None:
        """Drops all other texts."""
        self.length = self.length[rows]
        for layer in self._layers:
            layer.total = len(rows)
            if layer.is_initialized:
                layer.keys, layer.values = layer.keys[rows], layer.values[rows]
