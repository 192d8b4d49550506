"""Mean and standard deviation of a configuration's pretraining signals, per channel, before normalisation."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from jepa_core.config import RunConfig
from jepa_core.config.base import merge
from jepa_core.config.loading import parse_overrides
from jepa_core.config.text import parse_mapping, read_text
from jepa_core.errors import DataError, UnreadableSample, UsageError
from jepa_core.plugin import Source
from jepa_core.recipes import read_config
from jepa_core.registry import modalities

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Statistics:
    """What was measured."""

    mean: tuple[float, ...]
    """One per channel, or one for all where the modality's section holds one number."""
    std: tuple[float, ...]
    """In the same form; each above 0."""
    samples: int
    """How many signals it was measured on."""
    of: int
    """How many there are."""


def read_unnormalised(path: str | Path, overrides: Sequence[str] = ()) -> tuple[RunConfig, bool]:
    """A configuration with its normalisation taken out, and whether that is per channel.

    The file need not state `mean` and `std`: they are what is looked for. Raises UsageError where the modality does not
    normalise by them.
    """
    given = merge(parse_mapping(read_text(path), str(path)), parse_overrides(overrides))
    section = given.get("modality")
    name = section.get("name") if isinstance(section, dict) else None
    neutral = modalities.get(name).unnormalised if isinstance(name, str) else {}
    without = [f"modality.{key}={json.dumps(value)}" for key, value in neutral.items()]
    config = read_config(path, [*overrides, *without])
    if not neutral:
        raise UsageError(
            f"{path}: the modality '{name}' does not normalise by mean and std: there is nothing to measure"
        )
    return config, isinstance(neutral["mean"], Sequence)


def measure(
    config: RunConfig, source: Source, per_channel: bool, most: int, progress: Callable[[int], None]
) -> Statistics:
    """Moments over at most `most` samples of `source`, evenly spread, as evaluation preprocesses them.

    Unreadable samples are named in the log and left out; `progress` is told how many samples were looked at. Raises
    DataError where a deviation is 0 or nothing is readable.
    """
    modality = modalities.get(config.modality.name)
    transform, views = modality.transform(config.modality, train=False), modality.views(config.modality)
    count = min(most, len(source))
    total = squares = torch.zeros(modality.signal_shape(config.modality)[0] if per_channel else 1, dtype=torch.float64)
    values = samples = 0
    for number in range(count):
        try:
            raw = source.read(number * len(source) // count)
        except UnreadableSample as error:
            logger.warning("left out: %s", error)
        else:
            signal = transform(raw, torch.Generator()).double()
            if views > 1:
                signal = signal.transpose(0, 1)  # the channels first
            signal = signal.reshape(len(total), -1)
            total, squares = total + signal.sum(1), squares + signal.square().sum(1)
            values, samples = values + signal.shape[1], samples + 1
        progress(number + 1)
    if not samples:
        raise DataError(f"none of {count} samples can be read: there is nothing to measure")
    mean = total / values
    std = (squares / values - mean.square()).clamp(min=0).sqrt()
    # Sums of squares in fp64 leave about 1e-8 of the mean where the true deviation is 0.
    if constant := torch.nonzero(std <= 1e-7 * mean.abs()).flatten().tolist():
        raise DataError(f"channel {constant[0]} has the same value everywhere ({mean[constant[0]]:g}): leave it out")
    return Statistics(tuple(mean.tolist()), tuple(std.tolist()), samples, len(source))


def as_yaml(statistics: Statistics, per_channel: bool) -> str:
    """The lines for the configuration, with 4 significant digits."""
    rounded = {"mean": statistics.mean, "std": statistics.std}
    section = {key: [float(f"{value:.4g}") for value in values] for key, values in rounded.items()}
    lines = (f"  {key}: {json.dumps(values if per_channel else values[0])}" for key, values in section.items())
    return "\n".join(["modality:", *lines])
