"""The token grids on which the checks of masking strategies and encoders run: small, odd and lopsided ones too."""

from __future__ import annotations

from collections.abc import Sequence

from jepa_core.plugin import Masking
from jepa_core.types import TokenGrid

_SHAPES: dict[int, tuple[tuple[int, ...], ...]] = {
    1: ((1,), (2,), (3,), (7,), (16,), (64,), (129,)),
    2: ((1, 1), (1, 5), (6, 1), (2, 2), (3, 3), (3, 7), (8, 8), (13, 5), (4, 25), (14, 14), (15, 15), (16, 16)),
    3: ((1, 1, 1), (2, 2, 2), (3, 4, 5), (4, 8, 8), (3, 9, 7), (8, 7, 7), (5, 8, 8), (2, 16, 16)),
}
_NAMES = ("depth", "height", "width")
_OTHER_NAMES = ("first", "second", "third")


def grids_for(plugin: Masking) -> list[TokenGrid]:
    """Grids of one to three axes, from 1 to 512 cells, that the strategy says it serves.

    Axes that it needs come first on every other grid and last on the rest. One that needs a fourth axis gets grids of
    a few cells along each.
    """
    fewest = max(1, len(plugin.needs_axes))
    counts = plugin.num_axes or tuple(range(fewest, max(3, fewest) + 1))
    grids: list[TokenGrid] = []
    for count in (count for count in counts if count >= fewest):
        namings = _namings(plugin.needs_axes, count)
        shapes = _SHAPES.get(count, ((2,) * count, (3,) * count))
        grids += [TokenGrid(shape, namings[number % len(namings)]) for number, shape in enumerate(shapes)]
    return grids


def _namings(needed: Sequence[str], count: int) -> list[tuple[str, ...]]:
    """Names of so many axes: the needed ones first, and last; where none is needed, names of two kinds."""
    more = count - len(needed)
    if not needed:
        return [_filled(_NAMES, count), _filled(_OTHER_NAMES, count)]
    others = _filled([name for name in _NAMES if name not in needed], more)
    return [(*needed, *others), (*others, *needed)] if others else [tuple(needed), tuple(reversed(needed))]


def _filled(names: Sequence[str], count: int) -> tuple[str, ...]:
    """So many names, numbered where there are not enough."""
    return (*names, *(f"axis {number}" for number in range(len(names), count)))[:count]
