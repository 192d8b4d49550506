"""Tensors from one process to another: their values in memory that both share, all else as a few pickled bytes."""

from __future__ import annotations

import io
import pickle
from typing import Any

import torch
from torch import Tensor

ALIGNMENT = 64
"""Every tensor starts at a multiple of so many bytes."""


def pack(content: Any, slot: memoryview) -> memoryview:
    """Write the tensors of `content` into the slot; returns the rest, with those that do not fit."""
    packed = io.BytesIO()
    _Pickler(packed, slot).dump(content)
    return packed.getbuffer()


def unpack(packed: bytes, slot: memoryview, pin: bool = False) -> Any:
    """What `pack` was given. Tensors are copied, page-locked with `pin`, so that the slot is free again."""
    return _Unpickler(io.BytesIO(packed), slot, pin).load()


class _Pickler(pickle.Pickler):
    """Writes tensors into a slot, and of each only where it is into the pickle."""

    def __init__(self, file: io.BytesIO, slot: memoryview) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._slot, self._used = slot, 0

    def persistent_id(self, obj: Any) -> tuple[int, torch.dtype, torch.Size] | None:
        """Offset, type and shape of a tensor that fits into the slot."""
        if not isinstance(obj, Tensor) or not obj.numel() or self._used + obj.nbytes > len(self._slot):
            return None
        start = self._used
        torch.frombuffer(self._slot, dtype=obj.dtype, count=obj.numel(), offset=start).view(obj.shape).copy_(obj)
        self._used += -(-obj.nbytes // ALIGNMENT) * ALIGNMENT
        return start, obj.dtype, obj.shape


class _Unpickler(pickle.Unpickler):
    """Copies the tensors out of the slot."""

    def __init__(self, file: io.BytesIO, slot: memoryview, pin: bool) -> None:
        super().__init__(file)
        self._slot, self._pin = slot, pin

    def persistent_load(self, pid: tuple[int, torch.dtype, torch.Size]) -> Tensor:
        """A tensor of its own."""
        start, dtype, shape = pid
        written = torch.frombuffer(self._slot, dtype=dtype, count=shape.numel(), offset=start).view(shape)
        return torch.empty(shape, dtype=dtype, pin_memory=self._pin).copy_(written)
