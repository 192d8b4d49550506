"""Masks that hide whole time steps or whole frequency bands: `time` and `frequency`."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from jepa_audio.masking_configs import FrequencyConfig, SpanConfig, TimeConfig
from jepa_core.masking import SampleRandom
from jepa_core.masking.splits import Slices, Split, some_of
from jepa_core.types import TokenGrid


def time(config: TimeConfig, grid: TokenGrid) -> Spans:
    """`time`: whole time steps are hidden."""
    return Spans(config, grid, "time")


def frequency(config: FrequencyConfig, grid: TokenGrid) -> Spans:
    """`frequency`: whole bands are hidden."""
    return Spans(config, grid, "frequency")


class Spans(Split):
    """Slices along one axis are hidden in spans.

    Spans and visible slices come in a random order, which is then turned round the axis by a random amount, as if its
    ends met. So every slice is hidden equally often, exactly; spans that may not stick out would spare the ends.
    """

    def __init__(self, config: SpanConfig, grid: TokenGrid, axis: str) -> None:
        """Raises ConfigError with the feasible range where nothing would be left, or a budget cannot be met."""
        self._slices = Slices(grid, axis)
        self._hidden, self._span = self._slices.of_share("ratio", config.ratio), config.span
        super().__init__(config, grid, (self._slices.count - self._hidden) * self._slices.places)

    def visible(self, random: SampleRandom) -> Bool[np.ndarray, "batch tokens"]:
        """The other slices."""
        batch, count = len(random), self._slices.count
        spans = -(-self._hidden // self._span)
        is_span = some_of(random, count - self._hidden + spans, spans)
        rest = self._hidden - (spans - 1) * self._span
        shorter = random.integers(np.full((batch, 1), spans))
        lengths = np.where(is_span & (is_span.cumsum(1) - 1 == shorter), rest, np.where(is_span, self._span, 1))
        hidden = np.repeat(is_span.ravel(), lengths.ravel()).reshape(batch, count)
        turned = (np.arange(count) + random.integers(np.full((batch, 1), count))) % count
        return self._slices.on_grid(~np.take_along_axis(hidden, turned, axis=1)[:, :, None])
