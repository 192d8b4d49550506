"""Axis-aligned blocks on an N-dimensional grid: sizes, places, cells; vectorised over samples and blocks.

The last two axes are the plane: a block's share of it (scale) and its aspect ratio are independent draws, as in V-JEPA
and unlike the public I-JEPA code, which uses one random number for both. Axes before the plane have an extent of their
own. A grid of one axis is a plane of one row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce

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
        """Which cells of the grid lie in each block; no block may stick out of it."""
        end = self.corner + self.extent
        return reduce(
            np.logical_and,
            (
                below.take(self.corner[..., axis], axis=0) ^ below.take(end[..., axis], axis=0)
                for axis, below in enumerate(_below(shape))
            ),
        )

    def union(self, shape: Shape) -> Bool[np.ndarray, "batch tokens"]:
        """Which cells of the grid lie in one of the blocks or more."""
        if len(shape) < 3:
            return np.any(self.cells(shape), axis=1)
        # A matrix product over the blocks joins the places along the leading axes with those in the plane: a fraction
        # of the time that it takes to list the cells of every block.
        leading, plane = (
            Blocks(self.corner[..., axes], self.extent[..., axes]).cells(shape[axes])
            for axes in (slice(None, -2), slice(-2, None))
        )
        joined = leading.transpose(0, 2, 1).astype(np.float32) @ plane.astype(np.float32)
        return (joined > 0).reshape(len(self), math.prod(shape))

    def subset(
        self, random: SampleRandom, shape: Shape, count: int, largest: Shape
    ) -> Int64[np.ndarray, "batch blocks {count}"]:
        """`count` random cells of each block, ascending.

        Args:
            random: the samples' streams.
            shape: of the grid.
            count: at most the smallest area.
            largest: extents that no such block exceeds, not only these blocks: or masks would depend on the batch.
        """
        in_box = random_subset(random, Blocks(np.zeros_like(self.corner), self.extent).cells(largest), count)
        first = self.corner @ _strides(shape)
        return first[..., None] + _cells_of_box(shape, largest).take(in_box)


@lru_cache(maxsize=16)
def _strides(shape: Shape) -> Int64[np.ndarray, "axes"]:
    """How many cells one step along each axis skips, in row-major order."""
    return np.array([math.prod(shape[axis + 1 :]) for axis in range(len(shape))])


@lru_cache(maxsize=16)
def _cells_of_box(shape: Shape, box: Shape) -> Int64[np.ndarray, "cells"]:
    """Cells of the grid in the box that starts at cell 0, in row-major order."""
    return np.indices(box).reshape(len(box), -1).T @ _strides(shape)


@lru_cache(maxsize=16)
def _below(shape: Shape) -> tuple[Bool[np.ndarray, "_ tokens"], ...]:
    """Per axis a table whose row i tells which cells have a coordinate below i: blocks are looked up, not compared."""
    coordinates = np.indices(shape).reshape(len(shape), -1)
    return tuple(along < np.arange(length + 1)[:, None] for along, length in zip(coordinates, shape, strict=True))


@dataclass(frozen=True)
class BlockSize:
    """How large a block is: the ranges of independent uniform draws."""

    scale: Range
    """Share of the plane, in (0, 1]."""
    aspect: Range = (1.0, 1.0)
    """Cells along the last axis but one over cells along the last, above 0; not kept where the grid is too narrow."""
    leading: tuple[Range, ...] = ()
    """Share of each axis before the plane, in (0, 1]."""
    at_least: bool = True
    """No block is smaller than the low end of `scale`, as a token budget for each block needs it. Otherwise areas are
    just the nearest to those drawn, and so is their mean."""


class BlockSampler:
    """Draws one block per size for every sample, anywhere on the grid, the last row and column included.

    One side is the nearest to what area and aspect ratio say, for the height sqrt(area x aspect); the other side then
    brings the block nearest to the drawn area, but (with `at_least`) not below the low end of the scale: so a token
    budget of `least` always holds. (Rounding both sides alike would lose a fifth.)
    """

    def __init__(self, sizes: Sequence[BlockSize], shape: Shape) -> None:
        """`sizes` one per block, each with as many `leading` ranges as the grid has axes before its plane."""
        self.shape = shape
        self._leading, (self._rows, self._columns) = shape[:-2], (1, *shape)[-2:]
        ranges = np.array([[*size.leading, size.scale, size.aspect] for size in sizes], dtype=np.float32)
        self._low, self._width = ranges[..., 0], ranges[..., 1] - ranges[..., 0]
        plane = self._rows * self._columns
        self._least = np.array([math.ceil(size.scale[0] * plane - _ROUNDING) if size.at_least else 1 for size in sizes])
        smallest, largest = zip(*(self._ends_in_plane(size) for size in sizes), strict=True)
        leading = self._along_leading(ranges[:, : len(self._leading)].transpose(2, 0, 1)).astype(np.int64)
        self.least: list[int] = (smallest * leading[0].prod(-1)).tolist()
        """Cells that each block has, at least."""
        self.largest: list[Shape] = [
            (*front, *ends)[-len(shape) :] for front, ends in zip(leading[1].tolist(), largest, strict=True)
        ]
        """Extents that each block does not exceed."""

    def draw(self, random: SampleRandom, num_apart: int = 0) -> Blocks:
        """Blocks that may overlap, but for the first `num_apart`: those are disjoint.

        They are placed one after the other, each anywhere where it touches none before it. One for which no such place
        is left lies at cell 0, over another.
        """
        sizes = self._low.shape[1] + 1
        unit = random.uniform(len(self._low), sizes + len(self.shape))
        extent = self._extents(unit[..., :sizes])
        corner = self._corners(unit[..., sizes:], extent)
        for number in range(1, num_apart):
            before = Blocks(corner[:, :number], extent[:, :number])
            corner[:, number] = self._place_apart(random, before, extent[:, number, None])
        return Blocks(corner, extent)

    def draw_alike(self, random: SampleRandom, count: int) -> Blocks:
        """`count` blocks per sample, which may overlap: one size for all of a sample's, but a place for each.

        For a sampler of one size.
        """
        extent = self._extents(random.uniform(1, self._low.shape[1] + 1)).repeat(count, 1)
        return Blocks(self._corners(random.uniform(count, len(self.shape)), extent), extent)

    def _corners(
        self, unit: Float32[np.ndarray, "batch blocks axes"], extent: Int64[np.ndarray, "batch blocks axes"]
    ) -> Int64[np.ndarray, "batch blocks axes"]:
        return (unit * (np.array(self.shape) - extent + 1)).astype(np.int64)

    def _place_apart(
        self, random: SampleRandom, before: Blocks, extent: Int64[np.ndarray, "batch 1 axes"]
    ) -> Int64[np.ndarray, "batch axes"]:
        inside = Blocks(np.zeros_like(extent), np.array(self.shape) - extent + 1).cells(self.shape)[:, 0]
        # A corner from `first` to the end of such a block would make the two share a cell.
        first = np.maximum(before.corner - extent + 1, 0)
        touching = Blocks(first, before.corner + before.extent - first).cells(self.shape).any(1)
        allowed = inside & ~touching
        allowed[:, 0] |= ~allowed.any(1)
        return np.stack(np.unravel_index(random_subset(random, allowed, 1)[:, 0], self.shape), -1)

    def _extents(self, unit: Float32[np.ndarray, "batch blocks draws"]) -> Int64[np.ndarray, "batch blocks axes"]:
        drawn = self._low + self._width * unit[..., :-1]
        area, aspect = drawn[..., -2] * (self._rows * self._columns), drawn[..., -1]
        # Which side is rounded first is a coin's choice: the second side bears both errors, and neither axis should.
        turned = unit[..., -1] < 0.5
        length = np.where(turned, self._columns, self._rows)
        across = np.where(turned, self._rows, self._columns)
        # Where the grid is too narrow for the aspect ratio, the block is longer instead.
        shortest = np.maximum(np.ceil(self._least / across), np.rint(area / across))
        first = np.rint(np.sqrt(area * np.where(turned, 1 / aspect, aspect)))
        first = np.minimum(np.maximum(first, shortest), length)
        second = np.minimum(np.maximum(np.rint(area / first), np.ceil(self._least / first)), across)
        extent = np.empty((*unit.shape[:2], len(self._leading) + 2), dtype=np.int64)
        if self._leading:
            extent[..., :-2] = self._along_leading(drawn[..., :-2])
        extent[..., -2] = np.where(turned, second, first)
        extent[..., -1] = np.where(turned, first, second)
        return extent[..., -len(self.shape) :]

    def _along_leading(self, share: Float32[np.ndarray, "... axes"]) -> Float32[np.ndarray, "... axes"]:
        return np.maximum(np.rint(share * np.array(self._leading, dtype=np.float32)), 1)

    def _ends_in_plane(self, size: BlockSize) -> tuple[int, tuple[int, int]]:
        """Smallest area, and largest height and width, of all blocks that can come out."""
        flat, tall = size.aspect
        upright = self._ends(size, (flat, tall), self._rows, self._columns)
        turned = self._ends(size, (1 / tall, 1 / flat), self._columns, self._rows)
        return min(upright[0], turned[0]), (max(upright[1], turned[2]), max(upright[2], turned[1]))

    @staticmethod
    def _ends(size: BlockSize, aspect: Range, length: int, across: int) -> tuple[int, int, int]:
        """Smallest area, longest first side and longest second side, where the first side is rounded first."""
        low, high = (end * length * across for end in size.scale)
        least = math.ceil(low - _ROUNDING) if size.at_least else 1
        shortest = max(math.ceil(math.sqrt(low * aspect[0]) - 0.5 - _ROUNDING), math.ceil(least / across), 1)
        longest = max(math.sqrt(high * aspect[1]), high / across, shortest)
        firsts = range(min(shortest, length), min(math.floor(longest + 0.5 + _ROUNDING), length) + 1)
        seconds = {first: max(math.ceil(low / first - 0.5 - _ROUNDING), math.ceil(least / first)) for first in firsts}
        area = min(first * second for first, second in seconds.items())
        return area, firsts[-1], min(across, math.ceil(high / firsts[0]))
