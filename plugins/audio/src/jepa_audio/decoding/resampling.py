"""A stretch of a file at another sample rate, equal to the same stretch of the whole file resampled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import gcd

import torch
from jaxtyping import Float
from torch import Tensor
from torchaudio.transforms import Resample

LARGEST_KERNEL = 2**24
"""Values of a resampling kernel, 64 MiB: its size grows with the rates over their greatest common divisor."""


@dataclass(frozen=True)
class Rates:
    """From one sample rate to another."""

    source: int
    """Of the file, in Hz."""
    target: int
    """That is wanted, in Hz."""

    @property
    def block(self) -> tuple[int, int]:
        """How many samples of the file, and of what is wanted, last equally long: the smallest such numbers."""
        common = gcd(self.source, self.target)
        return self.source // common, self.target // common

    @property
    def feasible(self) -> bool:
        """Whether the kernel is small enough; it is for all usual rates, and not for 44,099 Hz."""
        source, target = self.block
        return target * (source + 2 * _reach(source, target)) <= LARGEST_KERNEL

    def length(self, num_samples: int) -> int:
        """Samples after resampling.

        >>> Rates(48_000, 16_000).length(100)
        34
        """
        source, target = self.block
        return -(-num_samples * target // source)


def _reach(source: int, target: int) -> int:
    """An upper bound of the samples of the file on each side that an output depends on (six zeros of the sinc)."""
    return -(-7 * source // min(source, target))


@lru_cache(maxsize=16)
def _resample(rates: Rates) -> Resample:
    """The kernel, made once per process: torchaudio's windowed sinc with its default width and roll-off.

    In fp32, as `torchaudio.functional.resample` makes it: the log-mel of quiet bands tells it from one in fp64 (by .015
    at 11,025 Hz), and files that were resampled beforehand shall give the same features.
    """
    return Resample(*rates.block, dtype=torch.float32)


def resampled(
    rates: Rates, num_samples: int, start: int, count: int, read: Callable[[int, int], Float[Tensor, "n"]]
) -> Float[Tensor, "count"]:
    """`count` samples from `start` on, at the wanted rate.

    The stretch that is read is widened to whole blocks and by the reach of the filter, so that every output sees the
    samples that it would see in the whole file.

    Args:
        rates: of the file and of the result.
        num_samples: of the file.
        start: at the wanted rate, as `count`; together at most `rates.length(num_samples)`.
        count: see `start`.
        read: (first, number) of samples of the file.
    """
    if rates.source == rates.target:
        return read(start, count)
    source, target = rates.block
    margin = -(-_reach(source, target) // source)
    first = max(0, start // target - margin)
    last = min(num_samples, (-(-(start + count) // target) + margin) * source)
    wanted = _resample(rates)(read(first * source, last - first * source))
    return wanted[start - first * target :][:count]
