"""Absolute positions on a token grid: fixed sines and cosines, or learned; either is added to the tokens."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from jepa_core.errors import ConfigError
from jepa_core.masking import seed_of
from jepa_core.nn.tokens import places_of
from jepa_core.types import TokenGrid

AbsoluteKind = Literal["sincos", "sincos_half_first", "learned"]

_INTERPOLATION = {1: "linear", 2: "bicubic", 3: "trilinear"}  # the smoothest that torch offers for so many axes


def cell_coordinates(grid: TokenGrid) -> Float[Tensor, "cells axes"]:
    """The place of every cell along every axis, cells in row-major order, float64."""
    return torch.stack(places_of(torch.arange(grid.num_tokens), grid.shape), dim=1).double()


def frequencies(count: int) -> Float[Tensor, "count"]:
    """10000^(-i / count) for i in [0, count) (Attention Is All You Need, section 3.5), float64."""
    return 10000.0 ** (-torch.arange(count, dtype=torch.float64) / count)


def sincos_rows(
    places: Float[Tensor, "cells axes"], width: int, half_first: bool = False
) -> Float[Tensor, "cells width"]:
    """Fixed positions of cells: each axis has its own channels, first their sines, then their cosines.

    Equal shares are 2 * ceil(width / axes / 2) channels per axis, and the last axis loses what is beyond `width`
    (V-JEPA's `uniform_power`). Axes follow each other in grid order; on two axes the second comes first, as in MAE and
    the public I-JEPA code, whose weights expect it.

    Args:
        places: (cells, axes), float64.
        width: channels per token.
        half_first: the first axis takes half of the channels and the others share the rest (V-JEPA's other split).
    """
    axes = places.shape[1]
    shares = [2 * math.ceil(width / axes / 2)] * axes
    if half_first and axes > 1:
        shares = [2 * math.ceil(width / 4)] + [2 * math.ceil(width / 4 / (axes - 1))] * (axes - 1)
    order = (1, 0) if axes == 2 and not half_first else range(axes)
    waves: list[Tensor] = []
    for axis in order:
        phase = places[:, axis, None] * frequencies(shares[axis] // 2)
        waves += [phase.sin(), phase.cos()]
    return torch.cat(waves, dim=1)[:, :width].float()


def sincos_table(grid: TokenGrid, width: int, half_first: bool = False) -> Float[Tensor, "cells width"]:
    """Fixed positions (`sincos_rows`) of all cells of a grid, in row-major order."""
    return sincos_rows(cell_coordinates(grid), width, half_first)


def resize_table(table: Float[Tensor, "cells width"], old: TokenGrid, new: TokenGrid) -> Float[Tensor, "cells2 width"]:
    """Learned positions for another grid with the same axes, interpolated to its shape (not by a scale factor).

    Raises ConfigError where the two grids have other axes, or more axes than can be interpolated.
    """
    if old.axes != new.axes or old.num_axes not in _INTERPOLATION:
        raise ConfigError(f"encoder.positions: learned positions on {old} cannot be resized to {new}.")
    if old.shape == new.shape:
        return table
    lattice = table.T.reshape(1, -1, *old.shape)
    resized = F.interpolate(lattice, size=new.shape, mode=_INTERPOLATION[old.num_axes], align_corners=False)
    return resized.flatten(2)[0].T


class Positions(nn.Module):
    """A table with one row per cell, gathered by the cells that are present."""

    table: Tensor

    def __init__(self, kind: AbsoluteKind, grid: TokenGrid, width: int) -> None:
        """A fixed table is no parameter and no part of a checkpoint: it follows from the grid.

        A learned one begins with random numbers of its own: they follow from the seed of torch's global generator and
        take none from it, so that the other weights are the same under every kind of positions.
        """
        super().__init__()
        if kind == "learned":
            self.table = nn.Parameter(torch.empty(grid.num_tokens, width))
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed_of(torch.initial_seed(), *self.table.shape))
                nn.init.trunc_normal_(self.table, std=0.02)
        else:
            table = sincos_table(grid, width, half_first=kind == "sincos_half_first")
            self.register_buffer("table", table, persistent=False)

    def forward(self, keep: Int[Tensor, "batch kept"] | None) -> Float[Tensor, "#batch kept width"]:
        """The rows of the kept cells, or all of them."""
        return self.table[None] if keep is None else self.table[keep]
