"""Axis-aligned blocks on an N-dimensional grid: sizes, places, cells; vectorised over samples and blocks.

The last two axes are the plane: a block's share of it (scale) and its aspect ratio are independent draws, as in V-JEPA
and unlike the public I-JEPA code, which uses one random number for both. Axes before the plane have an extent of their
own. A grid of one axis is a plane of one row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64

from jepa_core.masking.budget import random_subset
from jepa_core.masking.random import SampleRandom

Range = tuple[float, float]
Shape = tuple[int, ...]

_ROUNDING = 1e-4  # draws are in float32; and .07 * 100 is a little more than 7


@dataclass(frozen=True)
class Blocks:
    """K blocks per sample."""

    corner: Int64[np.ndarray, "batch blocks axes"]
    """The cell of each block with the lowest coordinates."""
    extent: Int64[np.ndarray, "batch blocks axes"]
    """Cells along each axis, at least 1."""

    @property
    def area(self) -> Int64[np.ndarray, "batch blocks"]:
        """Cells in each block."""
        return self.extent.prod(-1)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.corner)

    def rows(self, which: Bool[np.ndarray, "batch"] | Int64[np.ndarray, "rows"] | slice) -> Blocks:
        """The blocks of some samples."""
        return Blocks(self.corner[which], self.extent[which])

    def only(self, blocks: slice) -> Blocks:
        """Some of the blocks of every sample."""
        return Blocks(self.corner[:, blocks], self.extent[:, blocks])

    def replaced(self, rows: Bool[np.ndarray, "batch"], new: Blocks) -> Blocks:
        """With `new`, one entry per chosen row, in place of those rows."""
        corner, extent = self.corner.copy(), self.extent.copy()
        corner[rows], extent[rows] = new.corner, new.extent
        return Blocks(corner, extent)

    def cells(self, shape: Shape) -> Bool[np.ndarray, "batch blocks tokens"]:
        """Which cells of the grid lie in each block: the outer product of one range per axis."""
        inside = np.ones((*self.corner.shape[:2], 1), dtype=np.bool_)
        for axis, length in enumerate(shape):
            offset = np.arange(length) - self.corner[..., axis, None]
            within = (offset >= 0) & (offset < self.extent[..., axis, None])
            inside = (inside[..., None] & within[..., None, :]).reshape(*inside.shape[:2], -1)
        return inside

    def subset(
        self, random: SampleRandom, shape: Shape, count: int, most: int
    ) -> Int64[np.ndarray, "batch blocks {count}"]:
        """`count` random cells of each block, ascending.

        Args:
            random: the samples' streams.
            shape: of the grid.
            count: at most the smallest area.
            most: at least the largest area that blocks can have, not only these (or masks would depend on the batch).
        """
        offset = random_subset(random, np.arange(most) < self.area[..., None], count)
        cell, stride = np.zeros_like(offset), 1
        for axis in reversed(range(len(shape))):  # row-major in the block becomes row-major on the grid
            offset, along = np.divmod(offset, self.extent[..., axis, None])
            cell += (self.corner[..., axis, None] + along) * stride
            stride *= shape[axis]
        return cell


@dataclass(frozen=True)
class BlockSize:
    """How large a block is: the ranges of independent uniform draws."""

    scale: Range
    """Share of the plane, in (0, 1]."""
    aspect: Range = (1.0, 1.0)
    """Cells along the last axis but one over cells along the last, above 0; not kept where the grid is too narrow."""
    leading: tuple[Range, ...] = ()
    """Share of each axis before the plane, in (0, 1]."""


class BlockSampler:
    """Draws one block per size for every sample, anywhere on the grid, the last row and column included.

    The height is the nearest to sqrt(area x aspect); the width then brings the block nearest to the drawn area, but not
    below the low end of the scale: so a token budget of `least` always holds. (Rounding both sides would lose a fifth.)
    """

    def __init__(self, sizes: Sequence[BlockSize], shape: Shape) -> None:
        """`sizes` one per block, each with as many `leading` ranges as the grid has axes before its plane."""
        self.shape = shape
        self._leading, (self._rows, self._columns) = shape[:-2], (1, *shape)[-2:]
        ranges = np.array([[*size.leading, size.scale, size.aspect] for size in sizes], dtype=np.float32)
        self._low, self._width = ranges[..., 0], ranges[..., 1] - ranges[..., 0]
        plane = self._rows * self._columns
        self._least = np.array([math.ceil(size.scale[0] * plane - _ROUNDING) for size in sizes])
        ends = np.array([self._ends_in_plane(size) for size in sizes]).T
        ends *= self._along_leading(ranges[:, : len(self._leading)].transpose(2, 0, 1)).prod(-1).astype(np.int64)
        self.least, self.most = ends.tolist()
        """Cells that each block has at least and at most, as lists of one number per block."""

    def draw(self, random: SampleRandom, num_apart: int = 0) -> Blocks:
        """Blocks that may overlap, but for the first `num_apart`: those are disjoint.

        They are placed one after the other, each anywhere where it touches none before it. One for which no such place
        is left lies at cell 0, over another.
        """
        sizes = self._low.shape[1]
        unit = random.uniform(len(self._low), sizes + len(self.shape))
        extent = self._extents(unit[..., :sizes])
        corner = (unit[..., sizes:] * (np.array(self.shape) - extent + 1)).astype(np.int64)
        for number in range(1, num_apart):
            before = Blocks(corner[:, :number], extent[:, :number])
            corner[:, number] = self._place_apart(random, before, extent[:, number, None])
        return Blocks(corner, extent)

    def _place_apart(
        self, random: SampleRandom, before: Blocks, extent: Int64[np.ndarray, "batch 1 axes"]
    ) -> Int64[np.ndarray, "batch axes"]:
        inside = Blocks(np.zeros_like(extent), np.array(self.shape) - extent + 1).cells(self.shape)[:, 0]
        # A corner inside a block that is enlarged like this would make the two share a cell.
        touching = Blocks(before.corner - extent + 1, before.extent + extent - 1).cells(self.shape).any(1)
        allowed = inside & ~touching
        allowed[:, 0] |= ~allowed.any(1)
        return np.stack(np.unravel_index(random_subset(random, allowed, 1)[:, 0], self.shape), -1)

    def _extents(self, unit: Float32[np.ndarray, "batch blocks draws"]) -> Int64[np.ndarray, "batch blocks axes"]:
        drawn = self._low + self._width * unit
        area, aspect = drawn[..., -2] * (self._rows * self._columns), drawn[..., -1]
        # Where the grid is too narrow for the aspect ratio, the block is higher instead.
        shortest = np.maximum(np.ceil(self._least / self._columns), np.rint(area / self._columns))
        height = np.rint(np.sqrt(area * aspect)).clip(shortest, self._rows)
        width = np.maximum(np.rint(area / height), np.ceil(self._least / height)).clip(None, self._columns)
        extents = [*np.moveaxis(self._along_leading(drawn[..., :-2]), -1, 0), height, width]
        return np.stack(extents, -1)[..., -len(self.shape) :].astype(np.int64)

    def _along_leading(self, share: Float32[np.ndarray, "... axes"]) -> Float32[np.ndarray, "... axes"]:
        return np.rint(share * np.array(self._leading, dtype=np.float32)).clip(1)

    def _ends_in_plane(self, size: BlockSize) -> tuple[int, int]:
        """Smallest and largest area over all heights that can come out."""
        (low, high), (flat, tall) = (np.array(size.scale) * self._rows * self._columns).tolist(), size.aspect
        least = math.ceil(low - _ROUNDING)
        shortest = max(math.ceil(math.sqrt(low * flat) - 0.5 - _ROUNDING), math.ceil(least / self._columns))
        tallest = max(math.sqrt(high * tall), high / self._columns, shortest)
        heights = range(min(shortest, self._rows), min(math.floor(tallest + 0.5 + _ROUNDING), self._rows) + 1)
        smallest = min(height * math.ceil(least / height) for height in heights)
        return smallest, max(height * min(self._columns, math.ceil(high / height)) for height in heights)
