"""The video section of a configuration. Importing this module imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from jepa_core.config.fields import Range, ShareRange, Sides, complete_statistics, require_multiples
from jepa_core.config.files import FileSection

USUAL_STATISTICS = {3: ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))}
"""By number of channels: those of ImageNet."""
_MOVING_FASHION = ((0.2218,), (0.3314,))
BUILTIN_STATISTICS = {"moving-fashion": _MOVING_FASHION, "moving-fashion-small": _MOVING_FASHION}
"""Mean and standard deviation of the training part of each built-in data set; of a part of it, those of the whole."""

Backend = Literal["decord", "torchcodec", "pyav"]


class VideoConfig(FileSection):
    """Clips of video files, cut into tubelets.

    A file is a video, a folder of pictures in the order of their names (one per frame; see `picture_folders`), or a
    single picture, which is a clip that stands still. A path is a folder of such files (or of one folder per class), or
    a .csv or .parquet manifest with a header row and a column `path`, relative to the manifest; its other columns are
    labels.
    """

    name: Literal["video"] = "video"
    """The registered name."""
    builtin: Literal["moving-fashion", "moving-fashion-small"] | None = None
    """Data that comes with the package, with its own splits, in place of the three paths. The small one is the first 32
    training and 16 test videos of the other: for tries, not for results."""
    decoder: Backend | Literal["auto"] = "auto"
    """What decodes; `auto` takes PyAV, which is always installed: it is the fastest, and refuses most damaged frames,
    where decord gives others without a word."""

    picture_folders: Literal["video", "stills"] = "video"
    """What a folder of pictures alone is, wherever one is found: one video, of which they are the frames; or a folder
    of single pictures, as the class folders of ImageNet in a mixture are."""

    channels: Literal[1, 3] = 3
    """3 for RGB, 1 for grey."""
    frames: int = Field(default=16, ge=1)
    """Frames of a clip."""
    stride: Annotated[int, Field(ge=1)] | None = None
    """Distance of a clip's frames, in frames of the file: 4 unless `fps` is given."""
    fps: Annotated[float, Field(gt=0)] | None = None
    """Frames per second of a clip, by the time stamps of the file, in place of `stride`."""
    pictures_fps: Annotated[float, Field(gt=0)] | None = None
    """Frames per second at which folders of pictures were taken, which `fps` needs; null: unknown."""
    short: Literal["loop", "pad", "skip"] = "loop"
    """A video shorter than a clip: start again, repeat its last frame, or skip it. Skipped videos count in
    `data.max_unreadable`, above which (1 %) a run stops: raise it to the share that is short."""
    pretrain_clips: int = Field(default=1, ge=1)
    """Clips that a pass of pretraining takes from each video, each from an equal part of it."""
    clips: int = Field(default=1, ge=1)
    """Evaluation: clips per video, evenly spaced over it; pooled features are their mean, an attentive probe sees the
    tokens of all."""

    size: Sides = (224, 224)
    """Height and width that the encoder sees, in pixels; one number means a square."""
    patch: Sides = (16, 16)
    """Height and width of a token, in pixels; divides `size`."""
    tubelet: int = Field(default=2, ge=1)
    """Frames per token; divides `frames`."""

    crop_scale: ShareRange = (0.3, 1.0)
    """Training: smallest and largest share of the area in a random crop, the same for all frames (V-JEPA: .3 to 1)."""
    crop_ratio: Range = (3 / 4, 1.35)
    """Training: smallest and largest width / height of the random crop."""
    flip: float = Field(default=0.5, ge=0, le=1)
    """Training: probability of mirroring a clip left to right."""
    resize: Sides | None = None
    """Evaluation: frames are scaled until they just cover this (256 for the usual 224 crop), then the centre is cut
    out; null scales until they just cover `size`."""
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
        if self.frames % self.tubelet:
            below = self.frames - self.frames % self.tubelet
            allowed = " or ".join(str(count) for count in (below, below + self.tubelet) if count)
            raise PydanticCustomError(
                "tubelet",
                "frames: {frames} does not divide by the tubelet's {tubelet}; the nearest that do: {allowed}",
                {"frames": self.frames, "tubelet": self.tubelet, "allowed": allowed},
            )
        if self.stride is not None and self.fps is not None:
            raise PydanticCustomError("stride", "stride and fps exclude each other: remove one")
        if self.resize is not None and (self.resize[0] < self.size[0] or self.resize[1] < self.size[1]):
            raise PydanticCustomError("resize", "resize must be at least size in both directions, or null")
        return self

    @property
    def grid_shape(self) -> tuple[int, int, int]:
        """Tokens along time, height and width."""
        return (self.frames // self.tubelet, self.size[0] // self.patch[0], self.size[1] // self.patch[1])
