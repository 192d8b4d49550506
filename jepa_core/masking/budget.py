"""Equal length without bias: every sample has the same number of tokens, and a random subset meets it (promise 2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int64, UInt32

from jepa_core.masking.random import SampleRandom

SHARE = 0.95
"""Share of layouts that an automatic budget has room in; the others are redrawn."""

_LARGEST = (1 << 32) - 1


def random_subset(
    random: SampleRandom, allowed: Bool[np.ndarray, "batch *sets cells"], count: int
) -> Int64[np.ndarray, "batch *sets {count}"]:
    """`count` of the allowed cells of every set, each subset equally likely, ascending.

    Every set must allow at least `count` cells (at least 1).
    """
    chosen = _shuffled(random, allowed)[..., :count]
    assert (chosen[..., -1] < allowed.shape[-1]).all(), f"a set allows fewer than {count} cells"
    return np.sort(chosen, axis=-1).astype(np.int64)


def random_partition(random: SampleRandom, cells: int, sizes: Sequence[int]) -> list[Int64[np.ndarray, "batch size"]]:
    """`cells` cells divided into groups of these sizes, which add up to it; each partition equally likely."""
    order = _shuffled(random, np.ones((len(random), cells), dtype=np.bool_))
    return [np.sort(group, axis=-1).astype(np.int64) for group in np.split(order, np.cumsum(sizes)[:-1], axis=-1)]


def _shuffled(
    random: SampleRandom, allowed: Bool[np.ndarray, "batch *sets cells"]
) -> UInt32[np.ndarray, "batch *sets cells"]:
    """The allowed cells of every set in a random order, then a number that is no cell for each of the others."""
    cells = allowed.shape[-1]
    lowest = (1 << cells.bit_length()) - 1
    # A random number above, the cell below: no two keys are equal, and a sorted key still says which cell it was.
    # (Equal random numbers go by the cell; with 24 bits for 196 cells that favours none measurably.)
    keys = random.words(*allowed.shape[1:]) & np.uint32(_LARGEST ^ lowest)
    keys |= np.arange(cells, dtype=np.uint32)
    keys |= ~allowed * np.uint32(_LARGEST)
    keys.sort(axis=-1)
    return keys & np.uint32(lowest)


def legacy_prefix(allowed: Bool[np.ndarray, "batch *sets cells"]) -> Int64[np.ndarray, "batch *sets count"]:
    """The first cells of every set in row-major order, as many as the smallest set of the batch allows.

    What the public I-JEPA and V-JEPA code does, for parity only: the last rows are cut off, the more of them the larger
    the batch, so masks depend on it.
    """
    return np.argsort(~allowed, axis=-1, kind="stable")[
        ..., : allowed.sum(-1).min()
    ]  # the allowed ones, in their order


def largest_budget(room: Int64[np.ndarray, "layouts"], share: float = SHARE) -> int:
    """The largest number of tokens that at least `share` of the layouts have room for."""
    return int(np.sort(room)[::-1][round(share * (len(room) - 1))])
