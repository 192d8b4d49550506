"""What jepa-image registers. Importing this module imports no torch, torchvision or Pillow: methods import their own.

Third parties copy this file: a modality is a configuration class and seven methods, and a masking strategy is one
line (`masking_configs.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from jepa_core.config import Section
from jepa_core.plugin import Modality, Source, Split, Transform, WeightFormat
from jepa_core.types import Finding, TokenGrid
from jepa_image.config import ImageConfig
from jepa_image.masking_configs import block, multiblock, quadrant
from jepa_image.presets import DEFAULTS, PRESETS

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

BASELINE_SIDE = 32
"""Longest side of the raw-pixel baseline: more pixels would cost gigabytes and tell a linear probe little."""


class ImageModality(Modality):
    """Still images as a two-dimensional grid of patches."""

    name: ClassVar[str] = "image"
    summary: ClassVar[str] = "still images from folders, manifests or built-in data (I-JEPA)"
    Config: ClassVar[type[Section]] = ImageConfig
    defaults: ClassVar[Mapping[str, Any]] = DEFAULTS
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    unnormalised: ClassVar[Mapping[str, Any]] = {"mean": (0.0,), "std": (1.0,)}

    formats: ClassVar[Sequence[WeightFormat]] = (
        WeightFormat(
            "ijepa", "checkpoint of the public I-JEPA code: all three networks", "jepa_image.interop:OfficialIJepa"
        ),
        WeightFormat(
            "hf-ijepa", "folder of transformers' IJepaModel: one encoder", "jepa_image.hugging_face:HuggingFaceIJepa"
        ),
    )

    def grid(self, config: ImageConfig) -> TokenGrid:
        """One token per patch, for example 14 x 14."""
        (height, width), (patch_height, patch_width) = config.size, config.patch
        return TokenGrid((height // patch_height, width // patch_width), ("height", "width"))

    def signal_shape(self, config: ImageConfig) -> tuple[int, ...]:
        """(channels, height, width)."""
        return (config.channels, *config.size)

    def source(self, config: ImageConfig, split: Split) -> Source:
        """Files as `split_source` finds them, or the built-in data."""
        from jepa_core.sources import split_source
        from jepa_image.builtin import BuiltinSource
        from jepa_image.decoding import IMAGES, read_pixels

        if config.builtin:
            return BuiltinSource(split == "probe_test", config.channels)
        return split_source(config, split, IMAGES, partial(read_pixels, channels=config.channels))

    def open(self, config: ImageConfig, path: str) -> Source:
        """A folder, a manifest or one image."""
        from jepa_core.sources import open_path
        from jepa_image.decoding import IMAGES, read_pixels

        return open_path(path, IMAGES, partial(read_pixels, channels=config.channels), config.labels)

    def suffixes(self) -> Sequence[str]:
        """Of images, and of arrays of measurements."""
        from jepa_image.decoding import IMAGES

        return IMAGES.suffixes

    def transform(self, config: ImageConfig, train: bool) -> Transform:
        """Random crop and mirror, or resize and centre crop; both normalise."""
        from jepa_core.crops import Normalise
        from jepa_image.transforms import EvaluationTransform, TrainingTransform

        normalise = Normalise(config.mean, config.std)
        if train:
            return TrainingTransform(
                config.size, config.crop_scale, config.crop_ratio, config.flip, config.interpolation, normalise
            )
        return EvaluationTransform(config.size, config.resize or config.size, config.interpolation, normalise)

    def tokenizer(self, config: ImageConfig, width: int) -> nn.Module:
        """Patches and one matrix product."""
        from jepa_core.nn.patches import PatchTokenizer

        return PatchTokenizer(config.channels, config.patch, width)

    def baseline(self, config: ImageConfig, signal: Tensor) -> Tensor:
        """The pixels themselves, averaged down to at most 32 x 32 where there are more."""
        from torch.nn import functional as F

        height, width = config.size
        return F.adaptive_avg_pool2d(signal, (min(height, BASELINE_SIDE), min(width, BASELINE_SIDE))).flatten(1)

    def picture(self, config: ImageConfig, signal: Tensor) -> np.ndarray:
        """The image as it was before normalisation: grey repeated, of more than three channels the first three.

        Values beyond [0, 1] (measurements in .npy files) are squeezed into it, image by image.
        """
        from jepa_core.crops import Normalise

        values = Normalise(config.mean, config.std).undo(signal.detach().float())
        values = values[:3] if len(values) >= 3 else values[:1].expand(3, -1, -1)
        low, high = values.min().clamp(max=0), values.max().clamp(min=1)
        return ((values - low) / (high - low) * 255).round().byte().permute(1, 2, 0).cpu().numpy()

    def demo(self) -> str:
        """`jepa demo image`."""
        from importlib import resources

        return resources.files("jepa_image").joinpath("demo.yaml").read_text(encoding="utf-8")

    def doctor(self) -> Sequence[Finding]:
        """Which file formats can be read."""
        from jepa_image.doctor import findings

        return tuple(findings())


image = ImageModality()

__all__ = ["ImageModality", "block", "image", "multiblock", "quadrant"]
