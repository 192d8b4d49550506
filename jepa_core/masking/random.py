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

import numpy as np
from jaxtyping import Float32, Int64, Shaped, UInt64

from jepa_core.types import SampleKey

_GOLDEN, _MIX_1, _MIX_2 = (np.uint64(value) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_64_BITS = (1 << 64) - 1
_UNIFORM_BITS = 24  # every float32 in [0, 1) that is a multiple of 2^-24


def _mix(x: UInt64[np.ndarray, "*shape"]) -> UInt64[np.ndarray, "*shape"]:
    """SplitMix64's finaliser: a bijection of 64-bit integers whose output bits look independent."""
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return x ^ (x >> np.uint64(31))


def _unsigned(*values: int) -> UInt64[np.ndarray, "values"]:
    """Any integers, modulo 2^64; an array even for one, because NumPy warns when a scalar overflows."""
    return np.array([value & _64_BITS for value in values], dtype=np.uint64)


def seed_of(*parts: int) -> int:
    """A non-negative 63-bit seed for a torch.Generator from any integers, for example (seed, epoch, index)."""
    state = _unsigned(0)
    for part in parts:
        state = _mix(state + _GOLDEN + _unsigned(part))
    return int(state[0]) >> 1


class SampleRandom:
    """One random stream per sample of a batch.

    >>> random = SampleRandom.of(0, [SampleKey(epoch=0, index=7), SampleKey(epoch=0, index=8)])
    >>> random.uniform(3).shape
    (2, 3)
    """

    def __init__(self, state: UInt64[np.ndarray, "batch"]) -> None:
        """`state` names the streams; two batches that hold the same state draw the same numbers."""
        self._state = state
        self._drawn = 0

    @classmethod
    def of(cls, seed: int, keys: Sequence[SampleKey], purpose: int = 0) -> SampleRandom:
        """Streams for (seed, epoch, index); `purpose` separates uses that must not share numbers."""
        state = np.repeat(_unsigned(seed_of(seed, purpose)), len(keys))
        for part in (_unsigned(*(key.epoch for key in keys)), _unsigned(*(key.index for key in keys))):
            state = _mix(state + _GOLDEN + part)
        return cls(state)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self._state)

    def rows(self, which: Shaped[np.ndarray, "..."] | slice) -> SampleRandom:
        """The streams of some samples (a mask, positions or a slice), at the place where they are now."""
        part = SampleRandom(self._state[which])
        part._drawn = self._drawn
        return part

    def fork(self, number: int) -> SampleRandom:
        """Other streams for the same samples, one set per `number`; this one stays where it is.

        What is redrawn for some samples must come from a fork: it then shifts no later draw of theirs.
        """
        return SampleRandom(_mix(_mix(self._state) + _unsigned(number)))

    def bits(self, *shape: int) -> UInt64[np.ndarray, "batch *shape"]:
        """(batch, *shape) uniformly distributed 64-bit integers."""
        count = math.prod(shape)
        counter = np.arange(self._drawn + 1, self._drawn + count + 1, dtype=np.uint64) * _GOLDEN
        self._drawn += count
        return _mix(self._state[:, None] + counter).reshape(len(self), *shape)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Float32[np.ndarray, "batch *shape"]:
        """(batch, *shape) float32 in [low, high)."""
        unit = (self.bits(*shape) >> np.uint64(64 - _UNIFORM_BITS)).astype(np.float32) * np.float32(2.0**-_UNIFORM_BITS)
        return np.float32(low) + np.float32(high - low) * unit

    def integers(self, high: Int64[np.ndarray, "batch *shape"]) -> Int64[np.ndarray, "batch *shape"]:
        """Integers in [0, high), one per entry of `high` (each in [1, 2^31)): both ends can be reached."""
        upper = self.bits(*high.shape[1:]) >> np.uint64(32)
        return ((upper * high.astype(np.uint64)) >> np.uint64(32)).astype(np.int64)
