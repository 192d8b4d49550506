"""Masks that hide whole places through time, or whole time steps: `tube`, `causal` and `frame_drop`.

They serve any grid with an axis named time: on frequency x time, tubes are frequency bands and dropped steps are
stretches of time at all frequencies.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool

from jepa_core.errors import ConfigError
from jepa_core.masking import SampleRandom
from jepa_core.masking.splits import Slices, Split, some_of, up_to
from jepa_core.types import TokenGrid
from jepa_video.masking_configs import CausalConfig, FrameDropConfig, TubeConfig


class Tube(Split):
    """`tube`: a random set of places is hidden through all time."""

    def __init__(self, config: TubeConfig, grid: TokenGrid) -> None:
        """Raises ConfigError with the feasible range where nothing would be left, or a budget cannot be met."""
        self._steps = Slices(grid, "time")
        places = self._steps.places
        # As in the public code, the share that stays is rounded down; (1 - .9) * 10 is a little less than 1.
        self._kept = min(math.floor(places * (1 - config.ratio) + 1e-9), places - 1)
        if not self._kept:
            raise ConfigError(
                f"masking.ratio: {config.ratio:g} leaves no context on a grid of {grid}, which has {places} "
                f"places at every time step. Allowed: {up_to((places - 1) / places)}."
            )
        super().__init__(config, grid, self._kept * self._steps.count)

    def visible(self, random: SampleRandom) -> Bool[np.ndarray, "batch tokens"]:
        """The other places."""
        return self._steps.on_grid(some_of(random, self._steps.places, self._kept)[:, None])


class Causal(Split):
    """`causal`: the first time steps are the context, the later ones are predicted."""

    directed = ("time",)

    def __init__(self, config: CausalConfig, grid: TokenGrid) -> None:
        """Raises ConfigError with the feasible range where nothing would be hidden, or a budget cannot be met."""
        self._steps = Slices(grid, "time")
        self._seen = self._steps.of_share("context_share", config.context_share)
        super().__init__(config, grid, self._seen * self._steps.places)

    def visible(self, random: SampleRandom) -> Bool[np.ndarray, "batch tokens"]:
        """The first steps."""
        first = np.arange(self._steps.count) < self._seen
        return self._steps.on_grid(np.tile(first[:, None], (len(random), 1, 1)))


class FrameDrop(Split):
    """`frame_drop`: a random set of time steps is hidden."""

    def __init__(self, config: FrameDropConfig, grid: TokenGrid) -> None:
        """Raises ConfigError with the feasible range where nothing would be left, or a budget cannot be met."""
        self._steps = Slices(grid, "time")
        self._seen = self._steps.count - self._steps.of_share("ratio", config.ratio)
        super().__init__(config, grid, self._seen * self._steps.places)

    def visible(self, random: SampleRandom) -> Bool[np.ndarray, "batch tokens"]:
        """The other steps."""
        return self._steps.on_grid(some_of(random, self._steps.count, self._seen)[:, :, None])
