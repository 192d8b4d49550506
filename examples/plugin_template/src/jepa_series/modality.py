"""The modality `series`: recordings of several channels. Methods import what needs torch or NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from jepa_core.config import Section
from jepa_core.config.fields import complete_statistics, require_multiples
from jepa_core.config.files import FileSection
from jepa_core.plugin import Modality, Source, Split, Transform
from jepa_core.types import TokenGrid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    import numpy as np
    from torch import Tensor, nn

BUILTIN_STATISTICS = {
    "shoulder-exercises": (
        (-0.0111, 0.3846, -0.139, 0.0214, -0.0047, 0.0164),
        (0.9329, 0.5004, 0.5635, 0.998, 2.59, 1.1173),
    )
}
"""Mean and standard deviation per channel of the data to learn from."""


class SeriesConfig(FileSection):
    """Recordings of several channels, cut into patches of one channel and a few time steps."""

    name: Literal["series"] = "series"
    """The registered name."""
    builtin: Literal["shoulder-exercises"] | None = None
    """Data that comes with the package, with its own splits, in place of the three paths."""

    channels: int = Field(default=6, ge=1)
    """Channels of every recording."""
    length: int = Field(default=80, ge=1)
    """Time steps that the encoder sees; of a longer recording a clip, a shorter one is padded with its mean values."""
    patch: int = Field(default=8, ge=1)
    """Time steps of a token; divides `length`."""
    clips: int = Field(default=1, ge=1)
    """Evaluation: evenly spaced clips of every recording, the middle where it is 1."""

    mean: tuple[float, ...] | None = None
    """Subtracted from the values, one per channel or one for all. The built-in data has its own; for other data
    `jepa stats CONFIG` measures it, with `std`, and nothing trains without."""
    std: tuple[float, ...] | None = None
    """What the values are divided by after that, in the same form."""

    @field_validator("mean", "std")
    @classmethod
    def _one_per_channel_or_one_for_all(
        cls, value: tuple[float, ...] | None, info: ValidationInfo
    ) -> tuple[float, ...] | None:
        if value is None and not info.data.get("builtin"):
            return None
        return complete_statistics(value or (), info, BUILTIN_STATISTICS, usual={})

    @model_validator(mode="after")
    def _fits(self) -> Self:
        require_multiples(("time",), (self.length,), (self.patch,))
        return self


class Series(Modality):
    """Recordings of several channels as a grid of channels and time."""

    name: ClassVar[str] = "series"
    summary: ClassVar[str] = "recordings of several channels, such as motion sensors"
    api_version: ClassVar[int] = 1
    Config: ClassVar[type[Section]] = SeriesConfig
    defaults: ClassVar[Mapping[str, Any]] = {
        "masking": {"name": "random", "ratio": 0.7},
        "features": {"concatenate": ["channel"]},  # the mean over channels would mix what each of them says
    }
    unnormalised: ClassVar[Mapping[str, Any]] = {"mean": (0.0,), "std": (1.0,)}

    def grid(self, config: SeriesConfig) -> TokenGrid:
        """A token per channel and patch, for example 6 x 10."""
        return TokenGrid((config.channels, config.length // config.patch), ("channel", "time"))

    def signal_shape(self, config: SeriesConfig) -> tuple[int, ...]:
        """(channels, length)."""
        return (config.channels, config.length)

    def source(self, config: SeriesConfig, split: Split) -> Source:
        """Files as `split_source` finds them, or the built-in data."""
        from functools import partial

        from jepa_core.sources import split_source
        from jepa_series.builtin import BuiltinSource
        from jepa_series.signals import RECORDINGS, read_recording

        if config.builtin:
            return BuiltinSource(test=split == "probe_test")
        return split_source(config, split, RECORDINGS, partial(read_recording, channels=config.channels))

    def open(self, config: SeriesConfig, path: str) -> Source:
        """A folder, a manifest or one recording."""
        from functools import partial

        from jepa_core.sources import open_path
        from jepa_series.signals import RECORDINGS, read_recording

        return open_path(path, RECORDINGS, partial(read_recording, channels=config.channels), config.labels)

    def suffixes(self) -> Sequence[str]:
        """What `open` finds in a folder."""
        from jepa_series.signals import RECORDINGS

        return RECORDINGS.suffixes

    def transform(self, config: SeriesConfig, train: bool) -> Transform:
        """A clip that begins anywhere, or evenly spaced ones; both normalised."""
        from jepa_core.crops import Normalise
        from jepa_series.signals import EvaluationClips, TrainingClip

        assert config.mean is not None, "whoever trains or evaluates calls require_statistics first"
        assert config.std is not None
        normalise = Normalise(config.mean, config.std)
        if train:
            return TrainingClip(config.length, normalise)
        return EvaluationClips(config.length, config.clips, normalise)

    def views(self, config: SeriesConfig) -> int:
        """As the configuration says."""
        return config.clips

    def tokenizer(self, config: SeriesConfig, width: int) -> nn.Module:
        """Patches of one channel and one matrix product for all channels."""
        from jepa_series.signals import SeriesTokenizer

        return SeriesTokenizer(config.patch, width)

    def picture(self, config: SeriesConfig, signal: Tensor) -> np.ndarray:
        """A curve per channel, one below the other."""
        from jepa_series.signals import draw_curves

        return draw_curves(signal.detach().float().cpu().numpy())

    def demo(self) -> str:
        """`jepa demo series`."""
        from importlib import resources

        return resources.files("jepa_series").joinpath("demo.yaml").read_text(encoding="utf-8")


series = Series()
