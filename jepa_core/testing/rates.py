"""What shares of the samples, counted cell by cell, say of a masking strategy, and what is only chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float

from jepa_core.masking.inspect import ViewStatistics, along_axes
from jepa_core.types import TokenGrid

_EXPECTED = 40
"""How often a cell must be expected before it says something that it was not seen: by chance in e^-40 of the cases."""
_MOST = 0.9
"""Share of the samples in which a cell is hidden that no layout can show: one block of .6 always covers the centre."""
_TOLERANCE, _DEVIATIONS = 0.2, 5.0
"""Relative difference that is allowed, and standard deviations of the counts beside it."""


def never(
    rate: Float[np.ndarray, "*grid"], other: Float[np.ndarray, "*grid"], directed: Sequence[int], samples: int
) -> Bool[np.ndarray, "*grid"]:
    """The cells that were on one side in none of the samples, and on the other side in fewer than nine of ten.

    None where chance alone may leave some out.

    Args:
        rate: share of the samples in which each cell was on the side.
        other: likewise, on the other side.
        directed: axes along which it is enough that one cell of a line was there.
        samples: over which both were counted.
    """
    if rate.mean() * samples < _EXPECTED:
        return np.zeros(rate.shape, dtype=np.bool_)
    return ~(rate > 0).any(tuple(directed), keepdims=True) & (other < _MOST)


def lopsided_axis(view: ViewStatistics, grid: TokenGrid, directed: Sequence[str], samples: int) -> str:
    """The first axis along which places are treated unlike, in words; empty where none is.

    Each place is compared with the one opposite, but not along axes that are `directed`; and, where the strategy says
    what is visible before the rule of equal lengths, the context with that.
    """
    for axis, name in enumerate(grid.axes):
        for what, rate, other in _comparisons(view, axis, name not in directed):
            gap = np.abs(rate - other) / np.maximum((rate + other) / 2, 1e-12)
            excess = gap - _TOLERANCE - _DEVIATIONS * _noise((rate + other) / 2, samples)
            place = int(excess.argmax())
            if excess[place] > 0:
                return f"{what} {place} along {name} in {rate[place]:.1%} of the samples, against {other[place]:.1%}"
    return ""


def _comparisons(
    view: ViewStatistics, axis: int, mirrored: bool
) -> Iterator[tuple[str, Float[np.ndarray, "length"], Float[np.ndarray, "length"]]]:
    context, target = (along_axes(rate)[axis] for rate in (view.context_rate, view.target_rate))
    if mirrored:
        yield "context at", context, context[::-1]
        yield "targets at", target, target[::-1]
    if view.unlimited_rate is not None:
        before = along_axes(view.unlimited_rate)[axis]
        yield "context at", context, before * (context.mean() / before.mean())


def _noise(rate: Float[np.ndarray, "length"], samples: int) -> Float[np.ndarray, "length"]:
    """Relative standard deviation of the difference of two such shares, were all cells at a place of one fate."""
    share = np.clip(rate, 1 / samples, 1)
    return np.sqrt(2 * (1 - share) / (share * samples))
