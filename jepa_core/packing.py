"""Tensors from one process to another: their values in memory that both share, all else as a few pickled bytes."""

from __future__ import annotations

import io
import operator
import pickle
from typing import Any

import torch
from torch import Tensor

ALIGNMENT = 64
"""Every tensor starts at a multiple of so many bytes."""


_KNOWN = "known"
"""Stands for the tuple that both sides have."""


def pack(content: Any, slot: memoryview, known: tuple[object, ...] = ()) -> memoryview:
    """Write the tensors of `content` into the slot; returns the rest, with those that do not fit.

    Not part of it are tuples of the very objects of `known`, which the other side has.
    """
    packed = io.BytesIO()
    _Pickler(packed, slot, known).dump(content)
    return packed.getbuffer()


def unpack(packed: bytes, slot: memoryview, known: tuple[object, ...] = (), pin: bool = False) -> Any:
    """What `pack` was given. Tensors are copied, page-locked with `pin`, so that the slot is free again."""
    return _Unpickler(io.BytesIO(packed), slot, known, pin).load()


class _Pickler(pickle.Pickler):
    """Writes tensors into a slot, and of each only where it is into the pickle."""

    def __init__(self, file: io.BytesIO, slot: memoryview, known: tuple[object, ...]) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._slot, self._known, self._used = slot, known, 0

    def persistent_id(self, obj: Any) -> tuple[int, torch.dtype, torch.Size] | str | None:
        """Offset, type and shape of a tensor that fits into the slot."""
        if type(obj) is tuple and self._is_known(obj):
            return _KNOWN
        if not isinstance(obj, Tensor) or not obj.numel() or self._used + obj.nbytes > len(self._slot):
            return None
        start = self._used
        torch.frombuffer(self._slot, dtype=obj.dtype, count=obj.numel(), offset=start).view(obj.shape).copy_(obj)
        self._used += -(-obj.nbytes // ALIGNMENT) * ALIGNMENT
        return start, obj.dtype, obj.shape

    def _is_known(self, content: tuple[object, ...]) -> bool:
        return 0 < len(content) == len(self._known) and all(map(operator.is_, content, self._known))


class _Unpickler(pickle.Unpickler):
    """Copies the tensors out of the slot."""

    def __init__(self, file: io.BytesIO, slot: memoryview, known: tuple[object, ...], pin: bool) -> None:
        super().__init__(file)
        self._slot, self._known, self._pin = slot, known, pin

    def persistent_load(self, pid: tuple[int, torch.dtype, torch.Size] | str) -> Tensor | tuple[object, ...]:
        """A tensor of its own, or what is known."""
        if isinstance(pid, str):
            return self._known
        start, dtype, shape = pid
        written = torch.frombuffer(self._slot, dtype=dtype, count=shape.numel(), offset=start).view(shape)
        return torch.empty(shape, dtype=dtype, pin_memory=self._pin).copy_(written)
