"""From the pixels of one image to a signal: random crops for training, the centre for evaluation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Generator, Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from jepa_core.crops import ATTEMPTS, Normalise, covering_size, elongation_limit, random_box


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
        box = elongation_limit(height, width, self.cover)
        pixels = F.resize(
            F.crop(raw, box.top, box.left, box.height, box.width),
            list(covering_size(box.height, box.width, self.cover)),
            InterpolationMode(self.interpolation),
        )  # the same memory where it fits
        return self.normalise(F.center_crop(pixels, list(self.size)))
