"""Equal length without bias: every sample has the same number of tokens, and a random subset meets it (promise 2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Int64, UInt32

from jepa_core.masking.random import SampleRandom
from jepa_core.masking.views import MaskView
from jepa_core.types import SampleKey, TokenBudget

SHARE = 0.95
"""Share of layouts that an automatic budget has room in; the others are redrawn."""

_LARGEST = (1 << 32) - 1
_SAMPLES = 4096


def random_subset(
    random: SampleRandom, allowed: Bool[np.ndarray, "batch *sets cells"], count: int
) -> Int64[np.ndarray, "batch *sets {count}"]:
    """`count` of the allowed cells of every set, each subset equally likely, ascending.

    Every set must allow at least `count` cells (at least 1).
    """
    keys, lowest = _keys(random, allowed)
    keys.partition(count - 1, axis=-1)
    chosen = np.sort(keys[..., :count] & lowest, axis=-1)
    assert (chosen[..., -1] < allowed.shape[-1]).all(), f"a set allows fewer than {count} cells"
    return chosen.astype(np.int64)


def random_partition(random: SampleRandom, cells: int, sizes: Sequence[int]) -> list[Int64[np.ndarray, "batch size"]]:
    """`cells` cells divided into groups of these sizes, which add up to it; each partition equally likely."""
    keys, lowest = _keys(random, np.ones((len(random), cells), dtype=np.bool_))
    keys.sort(axis=-1)
    groups = np.split(keys & lowest, np.cumsum(sizes)[:-1], axis=-1)
    return [np.sort(group, axis=-1).astype(np.int64) for group in groups]


def _keys(
    random: SampleRandom, allowed: Bool[np.ndarray, "batch *sets cells"]
) -> tuple[UInt32[np.ndarray, "batch *sets cells"], np.uint32]:
    """Random sort keys: those of allowed cells come first; and what masks the cell out of a key.

    A key of a cell that is not allowed holds a number that is no cell.
    """
    cells = allowed.shape[-1]
    lowest = (1 << cells.bit_length()) - 1
    # A random number above, the cell below: no two keys are equal, and a sorted key still says which cell it was.
    # (Equal random numbers go by the cell; with 24 bits for 196 cells that favours none measurably.)
    keys = random.words(*allowed.shape[1:]) & np.uint32(_LARGEST ^ lowest)
    keys |= np.arange(cells, dtype=np.uint32)
    keys |= ~allowed * np.uint32(_LARGEST)
    return keys, np.uint32(lowest)


def all_of(allowed: Bool[np.ndarray, "batch *sets cells"]) -> Int64[np.ndarray, "batch *sets count"]:
    """All allowed cells of every set, ascending; every set must allow the same number."""
    counts = allowed.sum(-1)
    assert (counts == counts.flat[0]).all(), "sets of different sizes"
    return np.nonzero(allowed)[-1].reshape(*allowed.shape[:-1], -1)


def rest_of(cells: Int64[np.ndarray, "batch count"], num_tokens: int) -> Int64[np.ndarray, "batch rest"]:
    """The cells of a grid of `num_tokens` that are not listed, ascending; none may be listed twice."""
    rest = np.ones((len(cells), num_tokens), dtype=np.bool_)
    np.put_along_axis(rest, cells, values=False, axis=1)
    return all_of(rest)


def legacy_prefix(allowed: Bool[np.ndarray, "batch *sets cells"]) -> Int64[np.ndarray, "batch *sets count"]:
    """The first cells of every set in row-major order, as many as the smallest set of the batch allows.

    What the public I-JEPA and V-JEPA code does, for parity only: the last rows are cut off, the more of them the larger
    the batch, so masks depend on it.
    """
    return np.argsort(~allowed, axis=-1, kind="stable")[
        ..., : allowed.sum(-1).min()
    ]  # the allowed ones, in their order


def prefix_budgets(strategy: Callable[[SampleRandom], tuple[MaskView, ...]], batch: int) -> tuple[TokenBudget, ...]:
    """The mean lengths of every view over batches of this size: under the prefix rule every batch has its own."""
    batches = range(_SAMPLES // batch)
    streams = [SampleRandom.of(0, [SampleKey(epoch, index) for index in range(batch)]) for epoch in batches]
    drawn = zip(*map(strategy, streams), strict=True)
    shapes = [np.mean([(*view.context.shape, *view.targets.shape) for view in views], 0) for views in drawn]
    return tuple(TokenBudget(round(shape[1]), round(shape[3]), round(shape[4])) for shape in shapes)


def largest_budget(room: Int64[np.ndarray, "layouts"], share: float = SHARE) -> int:
    """The largest number of tokens that at least `share` of the layouts have room for."""
    return int(np.sort(room)[::-1][round(share * (len(room) - 1))])
