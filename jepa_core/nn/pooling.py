"""From the tokens of a sample to one vector."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from jepa_core.config.tree import FeaturesConfig
from jepa_core.errors import ConfigError
from jepa_core.types import TokenGrid


class Pooling:
    """The mean over tokens and views, or over some axes of the grid only, with the cells of the others side by side."""

    def __init__(self, config: FeaturesConfig, grid: TokenGrid) -> None:
        """Raises ConfigError for axes that the grid does not have."""
        self.grid = grid
        unknown = [axis for axis in config.concatenate if axis not in grid.axes]
        if unknown or len(set(config.concatenate)) < len(config.concatenate):
            problem = f"'{unknown[0]}' is no axis of the grid of {grid}" if unknown else "an axis is named twice"
            raise ConfigError(f"features.concatenate: {problem}. Allowed: any of {', '.join(grid.axes)}, once each.")
        self._averaged = tuple(1 + place for place, axis in enumerate(grid.axes) if axis not in config.concatenate)

    def __call__(self, tokens: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch features"]:
        """In fp32.

        Args:
            tokens: all cells of the grid in row-major order, of one view after the other.

        Returns:
            (batch, dim), times the length of every axis that is concatenated; cells in row-major order, and the
            channels of one cell next to each other.
        """
        on_grid = tokens.float().unflatten(1, (-1, *self.grid.shape)).mean(1)
        return (on_grid.mean(self._averaged) if self._averaged else on_grid).flatten(1)
