"""The image section of a configuration. Importing this module imports no torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from jepa_core.config import Section

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BUILTIN_STATISTICS = {"fashion-mnist": ((0.2859,), (0.3518,))}
"""Mean and standard deviation of the training part of each built-in data set."""


def _both_sides(value: Any) -> Any:
    """28 means (28, 28)."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value, value)
    return tuple(value) if isinstance(value, list) else value


_Length = Annotated[int, Field(ge=1)]
Sides = Annotated[tuple[_Length, _Length], BeforeValidator(_both_sides, json_schema_input_type=int | tuple[int, int])]
"""(height, width) in pixels; one number means a square."""


class ImageConfig(Section):
    """Images from folders, manifests or built-in data, cut into patches.

    A path is a folder (of images, or of one folder per class) or a .csv or .parquet manifest with a header row and a
    column `path`, relative to the manifest; its other columns are labels.
    """

    name: Literal["image"] = "image"
    """The registered name."""
    train: str | None = None
    """Folder or manifest that is learned from, and that the probes are fitted on."""
    test: str | None = None
    """Folder or manifest that the probes are scored on; its classes are among those of `train`."""
    pretrain: str | None = None
    """Folder or manifest for pretraining alone, labels unused; null pretrains on `train`."""
    builtin: Literal["fashion-mnist"] | None = None
    """Data that comes with the package, with its own splits, in place of the three paths."""
    labels: tuple[str, ...] | None = None
    """Columns of a manifest that are labels; null takes every column but `path`."""

    channels: int = Field(default=3, ge=1)
    """1 grey, 3 RGB, 2 and 4 with alpha; any other number needs .npy arrays."""
    size: Sides = (224, 224)
    """Height and width that the encoder sees, in pixels; one number means a square."""
    patch: Sides = (16, 16)
    """Height and width of a patch, that is of one token, in pixels; divides `size`."""

    crop_scale: tuple[float, float] = (0.3, 1.0)
    """Training: smallest and largest share of the image's area in the random crop (I-JEPA: .3 to 1)."""
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
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
        """Put the numbers that `()` stands for into the configuration, so that a checkpoint holds them (promise 14)."""
        if "channels" not in info.data or "builtin" not in info.data:
            return value  # those fields have their own errors
        channels, builtin, is_std = info.data["channels"], info.data["builtin"], info.field_name == "std"
        if not value and builtin:
            value = BUILTIN_STATISTICS[builtin][is_std]
        elif not value and channels == len(IMAGENET_MEAN):
            value = IMAGENET_STD if is_std else IMAGENET_MEAN
        if len(value) not in {1, channels}:
            raise PydanticCustomError(
                "statistics",
                "{field} must hold one number per channel ({channels}) or one for all: "
                "`jepa stats CONFIG` measures them",
                {"field": info.field_name, "channels": channels},
            )
        if is_std and min(value) <= 0:
            raise PydanticCustomError("statistics", "must be above 0")
        return value

    @field_validator("crop_scale", "crop_ratio")
    @classmethod
    def _is_a_range(cls, value: tuple[float, float], info: ValidationInfo) -> tuple[float, float]:
        low, high = value
        most = 1.0 if info.field_name == "crop_scale" else float("inf")
        if not 0 < low <= high <= most:
            bound = " <= 1" if most == 1 else ""
            raise PydanticCustomError("range", "must be [low, high] with 0 < low <= high{bound}", {"bound": bound})
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for axis, size, patch in zip(("height", "width"), self.size, self.patch, strict=True):
            if size % patch:
                allowed = [side for side in (size - size % patch, size + patch - size % patch) if side]
                raise PydanticCustomError(
                    "patch",
                    "size: the {axis} {size} does not divide by the patch's {patch}; the nearest that does: {allowed}",
                    {"axis": axis, "size": size, "patch": patch, "allowed": " or ".join(map(str, allowed))},
                )
        if self.resize is not None and (self.resize[0] < self.size[0] or self.resize[1] < self.size[1]):
            raise PydanticCustomError("resize", "resize must be at least size in both directions, or null")
        if self.builtin and (self.train or self.test or self.pretrain):
            raise PydanticCustomError("builtin", "builtin brings its own splits: remove train, test and pretrain")
        return self
