"""The image section of a configuration. Importing this module imports no torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from jepa_core.config.fields import Range, ShareRange, Sides, complete_statistics, require_multiples
from jepa_core.config.files import FileSection

USUAL_STATISTICS = {3: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))}
"""By number of channels: those of ImageNet."""
BUILTIN_STATISTICS = {"fashion-mnist": ((0.2859,), (0.3518,))}
"""Mean and standard deviation of the training part of each built-in data set."""


class ImageConfig(FileSection):
    """Images from folders, manifests or built-in data, cut into patches.

    A path is a folder (of images, or of one folder per class) or a .csv or .parquet manifest with a header row and a
    column `path`, relative to the manifest; its other columns are labels.
    """

    name: Literal["image"] = "image"
    """The registered name."""
    builtin: Literal["fashion-mnist"] | None = None
    """Data that comes with the package, with its own splits, in place of the three paths."""

    channels: int = Field(default=3, ge=1)
    """1 grey, 3 RGB, 2 and 4 with alpha; any other number needs .npy arrays."""
    size: Sides = (224, 224)
    """Height and width that the encoder sees, in pixels; one number means a square."""
    patch: Sides = (16, 16)
    """Height and width of a patch, that is of one token, in pixels; divides `size`."""

    crop_scale: ShareRange = (0.3, 1.0)
    """Training: smallest and largest share of the image's area in the random crop (I-JEPA: .3 to 1)."""
    crop_ratio: Range = (3 / 4, 4 / 3)
    """Training: smallest and largest width / height of the random crop."""
    flip: float = Field(default=0.0, ge=0, le=1)
    """Training: probability of mirroring left to right (I-JEPA does not)."""
    resize: Sides | None = None
    """Evaluation: the image is scaled until it just covers this (256 for the usual 224 crop), then the centre is cut
    out; null scales it until it just covers `size`."""
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    """How pixels are resampled, with antialiasing."""

    mean: tuple[float, ...] = ()
    """Subtracted from values in [0, 1], one per channel or one for all. Empty: ImageNet's for 3 channels, those of the
    built-in data; other data states its own, which `jepa stats CONFIG` measures."""
    std: tuple[float, ...] = ()
    """What the values are divided by after that, in the same form."""

    @field_validator("mean", "std")
    @classmethod
    def _has_statistics(cls, value: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        return complete_statistics(value, info, BUILTIN_STATISTICS, USUAL_STATISTICS)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        require_multiples(("height", "width"), self.size, self.patch)
        if self.resize is not None and (self.resize[0] < self.size[0] or self.resize[1] < self.size[1]):
            raise PydanticCustomError("resize", "resize must be at least size in both directions, or null")
        return self
