"""What jepa-video registers. Importing this module imports no torch, NumPy or decoder: methods import their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from jepa_core.config import Section
from jepa_core.plugin import Modality, Source, Split, Transform, WeightFormat
from jepa_core.types import Finding, Player, TokenGrid
from jepa_video.config import VideoConfig
from jepa_video.masking_configs import causal, frame_drop, multiblock3d, tube
from jepa_video.presets import DEFAULTS, PRESETS

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from jepa_video.decoding import Video

BASELINE_SHAPE = (8, 16, 16)
"""Largest number of frames, rows and columns of the raw baseline: more would cost gigabytes and tell a probe little."""


class VideoModality(Modality):
    """Clips of videos as a three-dimensional grid of tubelets."""

    name: ClassVar[str] = "video"
    summary: ClassVar[str] = "clips of video files, of folders of frames, or built-in (V-JEPA)"
    Config: ClassVar[type[Section]] = VideoConfig
    defaults: ClassVar[Mapping[str, Any]] = DEFAULTS
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    unnormalised: ClassVar[Mapping[str, Any]] = {"mean": (0.0,), "std": (1.0,)}
    formats: ClassVar[Sequence[WeightFormat]] = (
        WeightFormat(
            "vjepa", "checkpoint of the public V-JEPA code: all three networks", "jepa_video.interop:OfficialVJepa"
        ),
        WeightFormat(
            "vjepa2", "checkpoint of the public V-JEPA 2 code: all three networks", "jepa_video.interop:OfficialVJepa2"
        ),
        WeightFormat(
            "hf-vjepa2",
            "folder of transformers' VJEPA2Model: encoder and predictor",
            "jepa_video.hugging_face:HuggingFaceVJepa2",
        ),
    )

    def grid(self, config: VideoConfig) -> TokenGrid:
        """One token per tubelet, for example 8 x 14 x 14."""
        return TokenGrid(config.grid_shape, ("time", "height", "width"))

    def signal_shape(self, config: VideoConfig) -> tuple[int, ...]:
        """(channels, frames, height, width)."""
        return (config.channels, config.frames, *config.size)

    def views(self, config: VideoConfig) -> int:
        """Evaluation looks at this many clips of each video."""
        return config.clips

    def source(self, config: VideoConfig, split: Split) -> Source:
        """Files as `split_source` finds them, or the built-in videos; pretraining may take several clips of each.

        Raises MissingDependency for a decoder that is named and does not work, before any file is looked for.
        """
        from jepa_core.sources import remembered, split_source
        from jepa_video import builtin
        from jepa_video.sources import KINDS, ClipSource

        read = _reader(config)
        if config.builtin:
            videos = builtin.source(config.builtin, split == "probe_test", remembered(read, config.keep_gib))
        else:
            videos = split_source(config, split, KINDS[config.picture_folders], read)
        return ClipSource(videos, config.pretrain_clips) if split == "pretrain" else videos

    def open(self, config: VideoConfig, path: str) -> Source:
        """A folder, a manifest, one video, or one folder of frames; raises MissingDependency as `source` does."""
        from jepa_core.sources import open_path
        from jepa_video.sources import KINDS

        return open_path(path, KINDS[config.picture_folders], _reader(config), config.labels)

    def suffixes(self) -> Sequence[str]:
        """Of videos, and of pictures, which are clips that stand still."""
        from jepa_video.sources import VIDEOS

        return VIDEOS.suffixes

    def transform(self, config: VideoConfig, train: bool) -> Transform:
        """A random clip, crop and mirror, the same for all frames; or evenly spaced clips and the centre."""
        from jepa_core.crops import Normalise
        from jepa_video.clips import ClipFrames
        from jepa_video.transforms import EvaluationTransform, Finish, TrainingTransform

        clip = ClipFrames(config.frames, config.stride, config.fps, config.short)
        finish = Finish(config.channels, Normalise(config.mean, config.std))
        if train:
            return TrainingTransform(
                clip, config.size, config.crop_scale, config.crop_ratio, config.flip, config.interpolation, finish
            )
        cover = config.resize or config.size
        return EvaluationTransform(clip, config.clips, config.size, cover, config.interpolation, finish)

    def tokenizer(self, config: VideoConfig, width: int) -> nn.Module:
        """Tubelets and one matrix product."""
        from jepa_core.nn.patches import PatchTokenizer

        return PatchTokenizer(config.channels, (config.tubelet, *config.patch), width)

    def baseline(self, config: VideoConfig, signal: Tensor) -> Tensor:
        """Grey values, averaged down to at most 8 frames of 16 x 16."""
        from torch.nn import functional as F

        frames, rows, columns = map(min, signal.shape[2:], BASELINE_SHAPE)
        return F.adaptive_avg_pool3d(signal.mean(1), (frames, rows, columns)).flatten(1)

    def controls(self, config: VideoConfig) -> Mapping[str, Callable[[Tensor], Tensor]]:
        """The middle frame alone, standing still: what it tells is not about motion."""
        middle = config.frames // 2
        return {"one frame": lambda signal: signal[:, :, middle : middle + 1].expand_as(signal)}

    def picture(self, config: VideoConfig, signal: Tensor) -> np.ndarray:
        """The first frame of every time step, side by side, as it was before normalisation; grey is repeated."""
        from jepa_core.crops import Normalise

        values = Normalise(config.mean, config.std).undo(signal.detach().float())[:, :: config.tubelet]
        strip = values.expand(3, -1, -1, -1).permute(2, 1, 3, 0).flatten(1, 2)  # (height, time x width, 3)
        return (strip.clamp(0, 1) * 255).round().byte().cpu().numpy()

    def player(self, config: VideoConfig, raw: Video, max_bytes: int) -> Player | None:
        """The clip as a small moving picture (WebP)."""
        from torch import Generator

        from jepa_video.players import play

        with raw as video:
            clip = self.transform(config, train=False)(video, Generator())
            return play(config, video, clip[0] if config.clips > 1 else clip, max_bytes)

    def demo(self) -> str:
        """`jepa demo video`."""
        from importlib import resources

        return resources.files("jepa_video").joinpath("demo.yaml").read_text(encoding="utf-8")

    def sample(self) -> str:
        """The demo on few videos, for rendering them all takes a minute."""
        return self.demo().replace("builtin: moving-fashion", "builtin: moving-fashion-small")

    def doctor(self) -> Sequence[Finding]:
        """Which decoders work here, and why others do not."""
        from jepa_video.doctor import findings

        return tuple(findings())


def _reader(config: VideoConfig) -> Callable[[str], Video]:
    """What opens a file; raises MissingDependency for a decoder that is named and does not work."""
    from jepa_video.decoding import open_video
    from jepa_video.decoding.backends import opener

    opener(config.decoder)
    return partial(open_video, backend=config.decoder, pictures_fps=config.pictures_fps)


video = VideoModality()

__all__ = ["VideoModality", "causal", "frame_drop", "multiblock3d", "tube", "video"]
