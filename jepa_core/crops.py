"""Random crops of signals with a height and a width, and their normalisation: what plugins for such signals share."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

ATTEMPTS = 10
"""How often a random crop is drawn before the largest centred one of an allowed ratio is taken."""

LONGEST = 16
"""Times what has to be covered that a signal which covers it may be high or wide."""


@dataclass(frozen=True)
class Box:
    """A part of a signal's height and width, in its own samples."""

    top: int
    left: int
    height: int
    width: int


def random_box(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float], draws: Iterable[float]
) -> Box:
    """A crop with an area share uniform in `scale` and a width / height log-uniform in `ratio` (1409.4842, section 6).

    Args:
        height: of the signal.
        width: of the signal.
        scale: smallest and largest share of the area.
        ratio: smallest and largest width / height.
        draws: at least 2 * ATTEMPTS + 2 numbers, uniform in [0, 1).
    """
    uniform = iter(draws)
    place = next(uniform), next(uniform)
    for _ in range(ATTEMPTS):
        area = height * width * (scale[0] + (scale[1] - scale[0]) * next(uniform))
        aspect = math.exp(math.log(ratio[0]) + math.log(ratio[1] / ratio[0]) * next(uniform))
        box_width, box_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < box_width <= width and 0 < box_height <= height:
            top, left = int(place[0] * (height - box_height + 1)), int(place[1] * (width - box_width + 1))
            return Box(top, left, box_height, box_width)
    box_width = min(width, max(1, round(height * ratio[1])))
    box_height = min(height, max(1, round(width / ratio[0])))
    return Box((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)


def covering_size(height: int, width: int, cover: tuple[int, int]) -> tuple[int, int]:
    """The smallest size of the same shape that covers (height, width) = `cover`: one side fits, the other is longer.

    >>> covering_size(720, 1280, (224, 224))
    (224, 398)
    """
    if cover[0] * width > cover[1] * height:
        return cover[0], cover[0] * width // height
    return cover[1] * height // width, cover[1]


def elongation_limit(height: int, width: int, cover: tuple[int, int]) -> Box:
    """The centre of a signal that would be more than `LONGEST` times `cover` once it covers it; else all of it.

    What is cut off lies far outside any centre crop, and scaling it would take memory without bound: 1 x 5,000 samples
    that cover 224 x 224 are 224 x 1,120,000.

    >>> elongation_limit(1, 5000, (224, 224))
    Box(top=0, left=2492, height=1, width=16)
    """
    scale = max(cover[0] / height, cover[1] / width)
    box_height = min(height, math.ceil(LONGEST * cover[0] / scale))
    box_width = min(width, math.ceil(LONGEST * cover[1] / scale))
    box_height += (height - box_height) % 2  # the same on either side, so that the centre stays where it was
    box_width += (width - box_width) % 2
    return Box((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)


@dataclass(frozen=True)
class Normalise:
    """Values of mean 0 and deviation 1 per channel, the first axis; bytes are taken as shares of 255."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @cached_property
    def _per_channel(self) -> tuple[Tensor, Tensor]:
        """Both as (channels or 1,)."""
        return torch.tensor(self.mean), torch.tensor(self.std)

    def __call__(self, raw: Shaped[Tensor, "channels *axes"]) -> Float[Tensor, "channels *axes"]:
        """float32; `mean` and `std` hold one number per channel, or one for all."""
        mean, std = (values.view(-1, *[1] * (raw.ndim - 1)) for values in self._per_channel)
        return torch.div(raw, 255.0 if raw.dtype == torch.uint8 else 1.0).sub_(mean).div_(std)

    def undo(self, signal: Float[Tensor, "channels *axes"]) -> Float[Tensor, "channels *axes"]:
        """Values in [0, 1] for what was made from bytes."""
        mean, std = (values.to(signal.device).view(-1, *[1] * (signal.ndim - 1)) for values in self._per_channel)
        return signal * std + mean
