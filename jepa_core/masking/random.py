"""Randomness that belongs to a sample: vectorised over the batch, yet a pure function of (seed, epoch, index).

A counter-based generator (the SplitMix64 finaliser: Steele, Lea and Flood, OOPSLA 2014) in place of a torch.Generator:
each sample owns a stream, so a mask depends neither on the batch that the sample sits in, nor on the number of workers
or processes, nor on what was drawn before the run was resumed (promise 5).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from jepa_core.types import SampleKey

# The constants of SplitMix64, as the signed 64-bit integers that torch has.
_GOLDEN, _MIX_1, _MIX_2 = (value - (1 << 64) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_UNIFORM_BITS = 24  # every float32 in [0, 1) that is a multiple of 2^-24


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """A logical shift: torch's own keeps the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def mix(x: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """SplitMix64's finaliser: a bijection of 64-bit integers whose output bits look independent."""
    x = (x ^ _shift_right(x, 30)) * _MIX_1
    x = (x ^ _shift_right(x, 27)) * _MIX_2
    return x ^ _shift_right(x, 31)


def seed_of(*parts: int) -> int:
    """A non-negative 63-bit seed for a torch.Generator from any integers, for example (seed, epoch, index)."""
    state = torch.zeros((), dtype=torch.int64)
    for part in parts:
        state = mix(state + _GOLDEN + part)
    return int(_shift_right(state, 1))


class SampleRandom:
    """One random stream per sample of a batch.

    >>> random = SampleRandom.of(0, [SampleKey(epoch=0, index=7), SampleKey(epoch=0, index=8)])
    >>> random.uniform(3).shape
    torch.Size([2, 3])
    """

    def __init__(self, state: Int[Tensor, "batch"]) -> None:
        """`state` names the streams; two batches that hold the same state draw the same numbers."""
        self._state = state
        self._drawn = 0

    @classmethod
    def of(cls, seed: int, keys: Sequence[SampleKey], purpose: int = 0) -> SampleRandom:
        """Streams for (seed, epoch, index); `purpose` separates uses that must not share numbers."""
        state = torch.full((len(keys),), seed_of(seed, purpose), dtype=torch.int64)
        for part in ([key.epoch for key in keys], [key.index for key in keys]):
            state = mix(state + _GOLDEN + torch.tensor(part, dtype=torch.int64))
        return cls(state)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self._state)

    def rows(self, which: Bool[Tensor, "batch"]) -> SampleRandom:
        """The streams of some samples, at the place where they are now."""
        part = SampleRandom(self._state[which])
        part._drawn = self._drawn
        return part

    def bits(self, *shape: int) -> Int[Tensor, "batch *shape"]:
        """(batch, *shape) uniformly distributed 64-bit integers."""
        count = int(torch.Size(shape).numel())
        counter = torch.arange(self._drawn + 1, self._drawn + count + 1) * _GOLDEN
        self._drawn += count
        return mix(self._state[:, None] + counter).view(len(self), *shape)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Float[Tensor, "batch *shape"]:
        """(batch, *shape) float32 in [low, high)."""
        unit = _shift_right(self.bits(*shape), 64 - _UNIFORM_BITS).float() * 2.0**-_UNIFORM_BITS
        return low + (high - low) * unit

    def integers(self, high: Int[Tensor, "batch *shape"]) -> Int[Tensor, "batch *shape"]:
        """Integers in [0, high), one per entry of `high` (each at least 1): both ends can be reached."""
        unit = self.uniform(*high.shape[1:]).double()
        return (unit * high).long().clamp_(max=high - 1)
