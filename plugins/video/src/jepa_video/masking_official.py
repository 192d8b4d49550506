"""What the public V-JEPA code does, for parity with released weights; written from its behaviour, not from its text.

Every comment and docstring that begins with "Here" states a difference from the paper.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float32, Int64

from jepa_core.errors import ConfigError
from jepa_core.masking import MaskView, SampleRandom
from jepa_core.masking.blocks import Blocks, Shape
from jepa_core.masking.budget import legacy_prefix, prefix_budgets, rest_of
from jepa_core.types import TokenGrid
from jepa_video.masking_configs import MultiBlock3dConfig, MultiBlockView

BATCH = 24
"""Samples per process in the public configurations of V-JEPA."""
_TRIES = 64


def first_steps(shape: Shape, share: float) -> Bool[np.ndarray, "tokens"]:
    """The cells of the first time steps: this share of them, rounded down, one at least."""
    steps = max(1, math.floor(shape[0] * share + 1e-9))
    return np.arange(math.prod(shape)) < steps * math.prod(shape[1:])


class OfficialMultiBlock3d:
    """`multiblock3d` with `preset: official`."""

    def __init__(self, config: MultiBlock3dConfig, grid: TokenGrid) -> None:
        """Raises ConfigError where the public code would search for ever: a block as large as the grid."""
        self.config, self.grid = config, grid
        draws = np.stack(np.meshgrid([0, 1], [0, 1], np.linspace(0, 1, 1001), indexing="ij"), -1, dtype=np.float32)
        problems = list[str]()
        for number, view in enumerate(config.views):
            extents = self._extent(view, draws.reshape(-1, 3))
            if (extents.prod(-1) == grid.num_tokens).any():
                problems.append(
                    f"masking.views.{number}: with the preset official a block may cover all of {grid}. "
                    "Allowed: a smaller spatial_scale or temporal_scale, or a larger grid."
                )
            if (extents.prod(-1) == 0).any():
                problems.append(
                    f"masking.views.{number}.spatial_scale: with the preset official a block on {grid} may have no "
                    f"cell. Allowed: from {1 / math.prod(grid.shape[1:]):.3g}."
                )
        if problems:
            raise ConfigError(problems)
        self.budgets = prefix_budgets(self, BATCH)

    def __call__(self, random: SampleRandom) -> tuple[MaskView, ...]:
        """Views whose lengths and whose masks depend on the batch."""
        return tuple(map(self._view, self.unlimited(random)))

    def unlimited(self, random: SampleRandom) -> tuple[Bool[np.ndarray, "batch tokens"], ...]:
        """See `jepa_core.masking.inspect.Unlimited`."""
        # Here one size of blocks serves the whole batch, that which its first sample draws; and as all views count the
        # same batches and take the count for their seed, the same three random numbers decide it in each.
        unit = random.rows(slice(1)).fork(0).uniform(3)
        return tuple(
            self._visible(random.fork(number), view, self._extent(view, unit)[0])
            for number, view in enumerate(self.config.views, 1)
        )

    def _view(self, visible: Bool[np.ndarray, "batch tokens"]) -> MaskView:
        context = legacy_prefix(visible)
        complete = self.config.full_complement
        target = rest_of(context, self.grid.num_tokens) if complete else legacy_prefix(~visible)
        return MaskView.of(context, target[:, None])

    def _visible(
        self, random: SampleRandom, view: MultiBlockView, extent: Int64[np.ndarray, "axes"]
    ) -> Bool[np.ndarray, "batch tokens"]:
        shape, early = self.grid.shape, first_steps(self.grid.shape, view.max_temporal_keep)
        extents = np.broadcast_to(extent, (len(random), view.num_blocks, len(shape)))
        places = np.array(shape) - extents + 1
        outside = np.zeros((len(random), self.grid.num_tokens), dtype=np.bool_)
        lacking = np.ones(len(random), dtype=np.bool_)
        for number in range(_TRIES + 1):
            corner = random.rows(lacking).fork(number).integers(places[lacking])
            # The public code would go on for ever. Blocks that all lie in the last corner leave cell 0.
            corner = corner if number < _TRIES else places[lacking] - 1
            outside[lacking] = ~Blocks(corner, extents[lacking]).union(shape)
            lacking: Bool[np.ndarray, "batch"] = ~np.any(outside & early, axis=1)
            if not lacking.any():
                break
        return (~outside if self.config.inverse else outside) & early

    def _extent(self, view: MultiBlockView, unit: Float32[np.ndarray, "draws 3"]) -> Int64[np.ndarray, "draws axes"]:
        """Here both sides of a block are rounded, so that its area is not the one that was drawn."""
        ends = np.array([view.temporal_scale, view.spatial_scale, view.aspect], dtype=np.float32)
        lasting, scale, aspect = (ends[:, 0] + (ends[:, 1] - ends[:, 0]) * unit).T
        steps, *plane = self.grid.shape
        # float32 has scale .15 a little above .15, and the whole numbers of tokens are those of exact arithmetic.
        area = np.floor(math.prod(plane) * scale + 1e-4)
        sides = [
            np.maximum(np.floor(steps * lasting), 1),
            np.rint(np.sqrt(area * aspect)),
            np.rint(np.sqrt(area / aspect)),
        ]
        return np.minimum(np.stack(sides, -1).astype(np.int64), np.array(self.grid.shape))
