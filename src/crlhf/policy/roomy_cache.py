"""A key-value cache with room for all tokens to come; import it only where torch and transformers are wanted.

The cache of transformers copies all keys and values at every token to append one. This one reserves their place at the
start and writes into it, so that a decode step moves the new ones only.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer


class RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one attention layer, (B, heads, T, head size), as views into buffers of `room` tokens."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.keys: torch.Tensor
        self.values: torch.Tensor
        self.room = room
        self.buffers: list[torch.Tensor] = []

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the new keys and values; returns all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if not self.buffers or end > self.buffers[0].shape[-2]:
            self.room = max(self.room, end)
            self._reserve([self.keys, self.values] if start else [], key_states, value_states)
        for buffer, new in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:, :, start:end] = new
        self.keys, self.values = (buffer[:, :, :end] for buffer in self.buffers)
        return self.keys, self.values

    def _reserve(self, old: list[torch.Tensor], *like: torch.Tensor) -> None:
        """New buffers of `room` tokens, with `old` at their beginning."""
        self.buffers = [new.new_empty(*new.shape[:-2], self.room, new.shape[-1]) for new in like]
        for buffer, kept in zip(self.buffers, old, strict=False):
            buffer[:, :, : kept.shape[-2]] = kept

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep the rows `indices`, in their order; a row may be taken more than once."""
        end = self.get_seq_length()
        if end:
            chosen = [self.keys[indices], self.values[indices]]
            self._reserve(chosen, *chosen)
            self.keys, self.values = (buffer[:, :, :end] for buffer in self.buffers)


def roomy_cache(model: Any, room: int) -> DynamicCache:
    """A cache for `model` with room for `room` tokens; layers that are not plain attention stay as they are."""
    cache = DynamicCache(config=model.config)
    cache.layers = [RoomyLayer(room) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def is_plain(cache: DynamicCache) -> bool:
    """Whether every layer of `cache` keeps all tokens, so that padding may lie anywhere."""
    return all(isinstance(layer, RoomyLayer) for layer in cache.layers)
