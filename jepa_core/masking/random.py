"""Randomness that belongs to a sample: vectorised over the batch, yet a pure function of (seed, epoch, index).

A counter-based generator (SplitMix64: Steele, Lea and Flood, OOPSLA 2014) in place of a torch.Generator: each sample
owns a stream. So a mask depends neither on the batch that the sample sits in, nor on the number of workers or
processes, nor on what was drawn before the run was resumed (promise 5).

NumPy, as all that makes masks: it has unsigned 64-bit integers, and on arrays as small as these, in a loader's process,
it takes a third of torch's time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Int64, Shaped, UInt32, UInt64

from jepa_core.types import SampleKey

_GOLDEN, _MIX_1, _MIX_2 = (np.uint64(value) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_64_BITS = (1 << 64) - 1
_UNIFORM_BITS = 24  # every float32 in [0, 1) that is a multiple of 2^-24


def _mix(x: UInt64[np.ndarray, "*shape"]) -> UInt64[np.ndarray, "*shape"]:
    """SplitMix64's finaliser: a bijection of 64-bit integers whose output bits look independent."""
    x = x ^ (x >> np.uint64(30))
    x *= _MIX_1
    x ^= x >> np.uint64(27)
    x *= _MIX_2
    x ^= x >> np.uint64(31)
    return x


@lru_cache(maxsize=256)
def seed_of(*parts: int) -> int:
    """A non-negative 63-bit seed for a torch.Generator from any integers, for example (seed, epoch, index)."""
    state = np.zeros(1, dtype=np.uint64)  # an array, because NumPy warns when a scalar overflows
    for part in parts:
        state = _mix(state + _GOLDEN + np.uint64(part & _64_BITS))
    return int(state[0]) >> 1


class SampleRandom:
    """One random stream per sample of a batch.

    >>> random = SampleRandom.of(0, [SampleKey(epoch=0, index=7), SampleKey(epoch=0, index=8)])
    >>> random.uniform(3).shape
    (2, 3)
    """

    def __init__(self, state: UInt64[np.ndarray, "batch"], progress: float = 0.0) -> None:
        """`state` names the streams; two batches that hold the same state draw the same numbers."""
        self.progress = progress
        """Share of the run's steps that come before that of this batch, in [0, 1]; 0 outside training."""
        self._state = state
        self._drawn = 0

    @classmethod
    def of(cls, seed: int, keys: Sequence[SampleKey], purpose: int = 0) -> SampleRandom:
        """Streams for (seed, epoch, index); `purpose` separates uses that must not share numbers.

        All keys are of one step: their `progress`, which no stream depends on, becomes that of the batch.
        """
        (progress,) = {key.progress for key in keys} or {0.0}
        state = np.full(len(keys), seed_of(seed, purpose), dtype=np.uint64)
        for part in ([key.epoch for key in keys], [key.index for key in keys]):
            state = _mix(state + _GOLDEN + np.array(part, dtype=np.int64).view(np.uint64))
        return cls(state, progress)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self._state)

    def rows(self, which: Shaped[np.ndarray, "..."] | slice) -> SampleRandom:
        """The streams of some samples (a mask, positions or a slice), at the place where they are now."""
        part = SampleRandom(self._state[which], self.progress)
        part._drawn = self._drawn
        return part

    def fork(self, number: int) -> SampleRandom:
        """Other streams for the same samples, one set per `number`; this one stays where it is.

        What is redrawn for some samples must come from a fork: it then shifts no later draw of theirs.
        """
        return SampleRandom(_mix(self._state ^ np.uint64(seed_of(number))), self.progress)

    def words(self, *shape: int) -> UInt32[np.ndarray, "batch *shape"]:
        """(batch, *shape) uniformly distributed 32-bit integers."""
        count = math.prod(shape)
        pairs = (count + 1) // 2
        counter = np.arange(self._drawn + 1, self._drawn + pairs + 1, dtype=np.uint64) * _GOLDEN
        self._drawn += pairs
        words = _mix(self._state[:, None] + counter).view(np.uint32)
        return words[:, :count].reshape(len(self), *shape)

    def uniform(self, *shape: int) -> Float32[np.ndarray, "batch *shape"]:
        """(batch, *shape) float32 in [0, 1)."""
        return (self.words(*shape) >> np.uint32(32 - _UNIFORM_BITS)).astype(np.float32) * np.float32(
            2.0**-_UNIFORM_BITS
        )

    def integers(self, high: Int64[np.ndarray, "batch *shape"]) -> Int64[np.ndarray, "batch *shape"]:
        """Integers in [0, high), one per entry of `high` (each in [1, 2^31]): both ends can be reached."""
        return (self.words(*high.shape[1:]) * high) >> 32
