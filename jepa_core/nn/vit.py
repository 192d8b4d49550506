"""A pre-norm transformer on any token grid: ViT (2010.11929) without a class token."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
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

    @property
    def depth(self) -> int:
        """Number of blocks: how many `layers` there are."""
        return len(self.blocks)

    def forward(
        self,
        tokens: Float[Tensor, "batch token dim"],
        keep: Int[Tensor, "batch token"] | None = None,
        layers: int = 1,
    ) -> Float[Tensor, "batch token dim"]:
        """Tokens after the last norm, or the mean over the last `layers` blocks.

        Each of their outputs is layer-normed without affine before it joins the mean, so that none outweighs the others
        by its scale (data2vec, 2202.03555, section 3.3). The last norm takes no part in it.

        Args:
            tokens: (batch, n, width), projected cells of the grid.
            keep: (batch, n) the cell of each token, in any order; None where all cells are there in row-major order.
            layers: 1, or how many blocks, counted from the last, make the mean; at most `depth`.
        """
        tokens = tokens.to(self.norm.weight.dtype)  # under autocast the residual stream stays fp32
        if self.positions is not None:
            tokens = tokens + self.positions(keep)
        rotation = None if self.rotary is None else self.rotary(keep)
        recompute = self.config.activation_checkpointing and torch.is_grad_enabled()
        mean = torch.zeros_like(tokens) if layers > 1 else None  # as it grows: all outputs at once would fill memory
        for number, block in enumerate(self.blocks, 1):
            if recompute:
                tokens = cast("Tensor", checkpoint(block, tokens, rotation, use_reentrant=False))
            else:
                tokens = block(tokens, rotation)
            if mean is not None and number > self.depth - layers:
                mean = mean + F.layer_norm(tokens, tokens.shape[-1:]) / layers
        return self.norm(tokens) if mean is None else mean
