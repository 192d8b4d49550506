"""What the masking strategy computes, for a whole batch at once."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from jepa_core.errors import ConfigError
from jepa_core.masking import SampleRandom
from jepa_core.masking.splits import Split
from jepa_core.types import TokenGrid
from jepa_series.masking import NoiseConfig


class NoiseMasking(Split):
    """The cells with the highest values are hidden, equally many in every sample; the rest is context."""

    def __init__(self, config: NoiseConfig, grid: TokenGrid) -> None:
        """Raises ConfigError where nothing would be left to see."""
        hidden = max(1, round(config.ratio * grid.num_tokens))
        if hidden >= grid.num_tokens:
            most = (grid.num_tokens - 1) / grid.num_tokens
            raise ConfigError(
                f"masking.ratio: {config.ratio:g} leaves no context on a grid of {grid}. "
                f"Allowed: above 0, up to {most:.3g}."
            )
        self.config, self._num_visible = config, grid.num_tokens - hidden
        super().__init__(config, grid, self._num_visible)

    def values(self, random: SampleRandom) -> Float[np.ndarray, "batch *grid"]:
        """What decides: a random number per cell, smoothed over its neighbours.

        Smoothing goes on over the edges, as if the grid were a ring along every axis. So no cell is like another only
        by its place, and all are hidden equally often.
        """
        axes = range(1, 1 + self.grid.num_axes)
        spectrum = np.fft.fftn(random.uniform(*self.grid.shape), axes=axes)
        return np.fft.ifftn(spectrum * smoothing(self.grid.shape, self.config.smoothness), axes=axes).real

    def visible(self, random: SampleRandom) -> Bool[np.ndarray, "batch tokens"]:
        """All but the cells with the highest values."""
        values = self.values(random).reshape(len(random), -1)
        visible = np.zeros(values.shape, dtype=np.bool_)
        lowest = values.argpartition(self._num_visible, axis=1)[:, : self._num_visible]
        np.put_along_axis(visible, lowest, values=True, axis=1)
        return visible


def smoothing(shape: tuple[int, ...], share: float) -> Float[np.ndarray, "*grid"]:
    """The Fourier transform of a Gaussian with a standard deviation of this share of every axis.

    >>> smoothing((4,), 0.0)
    array([1., 1., 1., 1.])
    """
    # A frequency of k waves per axis is damped by exp(-2 (pi share k)^2), whatever the length of the axis.
    waves = [np.fft.fftfreq(length, 1 / length) for length in shape]
    squared = sum(np.meshgrid(*[wave**2 for wave in waves], indexing="ij"))
    return np.exp(-2 * (np.pi * share) ** 2 * squared)
