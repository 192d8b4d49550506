"""From the pixels of one image to a signal: random crops for training, the centre for evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Shaped
from torch import Generator, Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

ATTEMPTS = 10
"""How often a random crop is drawn before the largest centred one of an allowed ratio is taken."""


@dataclass(frozen=True)
class Box:
    """A part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int


def random_box(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float], draws: Iterable[float]
) -> Box:
    """A crop with an area share uniform in `scale` and a width / height log-uniform in `ratio` (1409.4842, section 6).

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.
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


@dataclass(frozen=True)
class Normalise:
    """Pixels to values of mean 0 and deviation 1; bytes are taken as shares of 255, floats as they are."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @cached_property
    def _per_channel(self) -> tuple[Tensor, Tensor]:
        """Both as (channels or 1, 1, 1)."""
        return torch.tensor(self.mean)[:, None, None], torch.tensor(self.std)[:, None, None]

    def __call__(self, pixels: Shaped[Tensor, "channels height width"]) -> Float[Tensor, "channels height width"]:
        """float32; `mean` and `std` hold one number per channel, or one for all."""
        mean, std = self._per_channel
        return torch.div(pixels, 255.0 if pixels.dtype == torch.uint8 else 1.0).sub_(mean).div_(std)

    def undo(self, signal: Float[Tensor, "channels height width"]) -> Float[Tensor, "channels height width"]:
        """Values in [0, 1] for what was made from bytes."""
        mean, std = (values.to(signal.device) for values in self._per_channel)
        return signal * std + mean


@dataclass(frozen=True)
class TrainingTransform:
    """A random crop, resized, mirrored with a probability, normalised."""

    size: tuple[int, int]
    scale: tuple[float, float]
    ratio: tuple[float, float]
    flip: float
    interpolation: str
    normalise: Normalise

    def __call__(
        self, raw: Shaped[Tensor, "channels _ _"], generator: Generator
    ) -> Float[Tensor, "channels height width"]:
        """(C, H, W) of any size to (C, *size); all draws come from `generator`, in one call."""
        mirror, *draws = torch.rand(2 * ATTEMPTS + 3, generator=generator).tolist()
        height, width = raw.shape[-2:]
        box = random_box(height, width, self.scale, self.ratio, draws)
        pixels = F.resized_crop(
            raw, box.top, box.left, box.height, box.width, list(self.size), InterpolationMode(self.interpolation)
        )
        return self.normalise(pixels.flip(-1) if mirror < self.flip else pixels)


@dataclass(frozen=True)
class EvaluationTransform:
    """The centre of the image, scaled until it just covers `cover`; draws nothing."""

    size: tuple[int, int]
    cover: tuple[int, int]
    interpolation: str
    normalise: Normalise

    def __call__(
        self, raw: Shaped[Tensor, "channels _ _"], generator: Generator
    ) -> Float[Tensor, "channels height width"]:
        """(C, H, W) of any size to (C, *size)."""
        height, width = raw.shape[-2:]
        cover_height, cover_width = self.cover
        if cover_height * width > cover_width * height:
            cover_width = cover_height * width // height
        else:
            cover_height = cover_width * height // width
        resized = [cover_height, cover_width]
        pixels = F.resize(raw, resized, InterpolationMode(self.interpolation))  # returns raw where it fits
        return self.normalise(F.center_crop(pixels, list(self.size)))
