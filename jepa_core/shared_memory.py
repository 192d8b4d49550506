"""Memory of a loader process and the training process: what is being read, and tensors on their way."""

from __future__ import annotations

import contextlib
import mmap
import signal
from collections.abc import Generator
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np

_HEADER = 64
"""Bytes before the slots, of which 8 say what is being read."""


class SharedMemory:
    """A note and some slots. Anonymous memory is not bounded by /dev/shm, which containers keep small."""

    def __init__(self, context: BaseContext, slots: int, room: int) -> None:
        """Zeros that children of `context` can write to; `room` is in bytes."""
        size, self._room = _HEADER + slots * room, room
        self._memory: Any = mmap.mmap(-1, size) if context.get_start_method() == "fork" else context.RawArray("B", size)

    @property
    def note(self) -> np.ndarray:
        """(1,) int64: the index of the sample that is being read, plus 1; 0 for none."""
        return np.frombuffer(self._memory, np.int64, 1)

    def slot(self, number: int) -> memoryview:
        """`room` bytes."""
        start = _HEADER + number * self._room
        return memoryview(self._memory)[start : start + self._room]


class Watch:
    """Notes which sample is being read, where the parent can see it, and has the kernel end a read that takes too long.

    The timer's signal is left to its default action, which needs no cooperation of the process.
    """

    def __init__(self, note: np.ndarray, timeout: float | None) -> None:
        """`note` is a `SharedMemory.note`; `timeout` is in seconds, None for any time."""
        self._note, self._timeout = note, timeout or 0.0

    @contextlib.contextmanager
    def __call__(self, index: int) -> Generator[None]:
        """While the sample is read."""
        self._note[0] = index + 1
        signal.setitimer(signal.ITIMER_REAL, self._timeout)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._note[0] = 0
