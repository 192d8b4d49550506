"""Rotary positions on a token grid: each axis turns its own share of every head's channels (RoPE, 2104.09864)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from jepa_core.errors import ConfigError
from jepa_core.nn.positions import cell_coordinates, frequencies
from jepa_core.types import TokenGrid

Rotation = tuple[Float[Tensor, "#batch 1 token head"], Float[Tensor, "#batch 1 token head"]]
"""Cosines and sines of the angle by which each channel of a query or key is turned."""


def angles(grid: TokenGrid, head_width: int, tiled: bool = False) -> Float[Tensor, "cells head"]:
    """The angle of every cell and channel: channels 2i and 2i+1 are one pair, and turn by the same angle.

    Each axis has 2 * floor(head_width / axes / 2) channels, as in V-JEPA 2, and turns them by its coordinate in cells
    times frequencies from 1 down to nearly 1 / 10000; what is left over is not turned. So a score depends on the shift
    between two cells alone.

    Args:
        grid: its cells, in row-major order, are the rows of the result.
        head_width: channels of one attention head.
        tiled: lay an axis's frequencies out twice one after the other, and not each twice in a row. The two channels of
            a pair then turn by different angles, which is no rotation: a mistake in the public V-JEPA 2 code (its
            `rotate_queries_or_keys` says so) that its released weights were trained with.
    """
    channels = head_width // grid.num_axes // 2 * 2
    if channels == 0 or head_width % 2:
        raise ConfigError(
            f"encoder.positions: rope on the grid {grid} needs an even number of channels per attention head, at least "
            f"{2 * grid.num_axes}; a head of the encoder or the predictor has {head_width}. Change the number of "
            "heads, or use positions: sincos."
        )
    turns = [place[:, None] * frequencies(channels // 2) for place in cell_coordinates(grid).T]
    paired = [turn.repeat(1, 2) if tiled else turn.repeat_interleave(2, dim=1) for turn in turns]
    left_over = head_width - channels * grid.num_axes
    return nn.functional.pad(torch.cat(paired, dim=1), (0, left_over)).float()


def rotate(
    states: Float[Tensor, "batch heads token head"], rotation: Rotation
) -> Float[Tensor, "batch heads token head"]:
    """Turn each pair of channels (a, b) into (a cos - b sin, b cos + a sin); computed in the rotation's fp32."""
    cosines, sines = rotation
    even, odd = states.unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack((-odd, even), dim=-1).flatten(-2)
    return (states * cosines + turned * sines).to(states.dtype)


class RotaryPositions(nn.Module):
    """The rotation of every cell of a grid: tabulated once, gathered once per forward pass for all blocks."""

    cosines: Tensor
    sines: Tensor

    def __init__(self, grid: TokenGrid, head_width: int, tiled: bool = False) -> None:
        """`tiled` as in `angles`; raises ConfigError where a head is too narrow for the grid's axes."""
        super().__init__()
        table = angles(grid, head_width, tiled)
        self.register_buffer("cosines", table.cos(), persistent=False)
        self.register_buffer("sines", table.sin(), persistent=False)

    def forward(self, keep: Int[Tensor, "batch kept"] | None) -> Rotation:
        """The rotation of the kept cells, or of all."""
        if keep is None:
            return self.cosines[None, None], self.sines[None, None]
        return self.cosines[keep][:, None], self.sines[keep][:, None]
