"""A pre-norm transformer on any token grid: ViT (2010.11929) without a class token."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from jepa_core.builtin import ViTConfig
from jepa_core.nn.block import Block
from jepa_core.nn.positions import Positions
from jepa_core.nn.rope import RotaryPositions
from jepa_core.types import TokenGrid


class Transformer(nn.Module):
    """Adds positions to tokens and runs them through the blocks; the backbone of encoder and predictor alike."""

    def __init__(self, config: ViTConfig, grid: TokenGrid) -> None:
        """Initialised from torch's global generator."""
        super().__init__()
        self.config, self.grid = config, grid
        self.width, depth, self.heads, _ = config.dimensions
        self.positions: Positions | None = None
        self.rotary: RotaryPositions | None = None
        if config.positions in ("rope", "rope_vjepa2"):
            self.rotary = RotaryPositions(grid, self.width // self.heads, tiled=config.positions == "rope_vjepa2")
        else:
            self.positions = Positions(config.positions, grid, self.width)
        self.blocks = nn.ModuleList(Block(config, number) for number in range(depth))
        self.norm = nn.LayerNorm(self.width, eps=config.norm_eps)

    def forward(
        self, tokens: Float[Tensor, "batch token dim"], keep: Int[Tensor, "batch token"] | None = None
    ) -> Float[Tensor, "batch token dim"]:
        """Tokens after the last norm.

        Args:
            tokens: (batch, n, width), projected cells of the grid.
            keep: (batch, n) the cell of each token, in any order; None where all cells are there in row-major order.
        """
        tokens = tokens.to(self.norm.weight.dtype)  # under autocast the residual stream stays fp32
        if self.positions is not None:
            tokens = tokens + self.positions(keep)
        rotation = None if self.rotary is None else self.rotary(keep)
        recompute = self.config.activation_checkpointing and torch.is_grad_enabled()
        for block in self.blocks:
            if recompute:
                tokens = cast("Tensor", checkpoint(block, tokens, rotation, use_reentrant=False))
            else:
                tokens = block(tokens, rotation)
        return self.norm(tokens)
