"""What the public I-JEPA code does, for parity with released weights; written from its behaviour, not from its text.

Every comment and docstring that begins with "Here" states a difference from the paper.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float32, Int64

from jepa_core.errors import ConfigError
from jepa_core.masking import MaskView, SampleRandom
from jepa_core.masking.blocks import Blocks, Range
from jepa_core.masking.budget import legacy_prefix, prefix_budgets
from jepa_core.types import TokenGrid
from jepa_image.masking_configs import MultiBlockConfig

_TRIES = 20
_MIN_TOKENS = 11
BATCH = 128
"""Samples per process in the public configurations."""


class OfficialMultiBlock:
    """`multiblock` with `preset: official`."""

    def __init__(self, config: MultiBlockConfig, grid: TokenGrid) -> None:
        """Raises ConfigError where the public code would search for ever: blocks below the minimum."""
        self.config, self.grid = config, grid
        self._fewest = _MIN_TOKENS if config.min_tokens == "auto" else config.min_tokens
        draws = np.linspace(0, 1, 1001, dtype=np.float32)
        for name, scale, aspect in (
            ("target", config.target_scale, config.target_aspect),
            ("context", config.context_scale, config.context_aspect),
        ):
            least = int(self._extent(draws, scale, aspect).prod(-1).min())
            if least < self._fewest:
                raise ConfigError(
                    f"masking.min_tokens: {self._fewest} are too many: with the preset official a {name} block on a "
                    f"grid of {grid} may have {least}. "
                    + (f"Allowed: 1 to {least}." if least else "Use a larger grid.")
                )
        self.budgets = prefix_budgets(self, BATCH)

    def __call__(self, random: SampleRandom) -> tuple[MaskView, ...]:
        """One view, whose lengths and whose masks depend on the batch."""
        targets, visible = self._draw(random)
        return (MaskView.of(legacy_prefix(visible), legacy_prefix(targets)),)

    def unlimited(self, random: SampleRandom) -> tuple[Bool[np.ndarray, "batch tokens"], ...]:
        """See `jepa_core.masking.inspect.Unlimited`."""
        return (self._draw(random)[1],)

    def _draw(
        self, random: SampleRandom
    ) -> tuple[Bool[np.ndarray, "batch blocks tokens"], Bool[np.ndarray, "batch tokens"]]:
        """Target blocks, and the context block without them."""
        config, shape = self.config, self.grid.shape
        # Here one size of target and one of context blocks serve the whole batch: those that its first sample draws.
        unit = random.rows(slice(1)).fork(0).uniform(2)[0]
        target = self._extent(unit[:1], config.target_scale, config.target_aspect)
        context = self._extent(unit[1:], config.context_scale, config.context_aspect)
        targets = self._place(random, target.repeat(config.num_targets, 0)).cells(shape)
        hidden = np.zeros_like(targets) if config.allow_overlap else targets
        visible = np.zeros_like(targets[:, 0])
        lacking = np.ones(len(random), dtype=np.bool_)
        for number in range(_TRIES * (config.num_targets + 1)):
            # Here, when 20 context blocks in a row leave too little, one target block more stays in the context.
            removed = hidden[lacking, : config.num_targets - number // _TRIES].any(1)
            block = self._place(random.rows(lacking).fork(number + 1), context).cells(shape)[:, 0]
            visible[lacking] = block & ~removed
            lacking = visible.sum(1) < self._fewest
            if not lacking.any():
                break
        return targets, visible

    def _extent(
        self, unit: Float32[np.ndarray, "draws"], scale: Range, aspect: Range
    ) -> Int64[np.ndarray, "draws axes"]:
        """Here one random number decides both scale and aspect ratio, and no block is as high or wide as the grid."""
        area = np.floor(math.prod(self.grid.shape) * (scale[0] + (scale[1] - scale[0]) * unit))
        ratio = aspect[0] + (aspect[1] - aspect[0]) * unit
        extent = np.rint(np.stack([np.sqrt(area * ratio), np.sqrt(area / ratio)], -1)).astype(np.int64)
        return np.minimum(extent, np.array(self.grid.shape) - 1)

    def _place(self, random: SampleRandom, extent: Int64[np.ndarray, "blocks axes"]) -> Blocks:
        """Here the bound is exclusive, so no block reaches the last row or column."""
        extents = np.broadcast_to(extent, (len(random), *extent.shape))
        return Blocks(random.integers(np.array(self.grid.shape) - extents), extents)
