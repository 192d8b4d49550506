"""From an open video to a signal: random clips and crops for training, even clips and the centre for evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Generator, Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from jepa_core.crops import ATTEMPTS, Normalise, covering_size, elongation_limit, random_box
from jepa_video.clips import ClipFrames
from jepa_video.decoding import Video

Frames = UInt8[Tensor, "time 3 height width"]


@dataclass(frozen=True)
class Finish:
    """What both transforms end with."""

    channels: int
    """3, or 1 for luma (ITU-R 601)."""
    normalise: Normalise

    def __call__(self, frames: Frames) -> Float[Tensor, "channels time height width"]:
        """Bytes (T, 3, H, W) to float32 (C, T, H, W)."""
        if self.channels == 1:
            frames = F.rgb_to_grayscale(frames)
        return self.normalise(frames.transpose(0, 1).contiguous())


@dataclass(frozen=True)
class TrainingTransform:
    """A random clip; one random crop, and one decision to mirror, for all of its frames (V-JEPA, section 4.1)."""

    clip: ClipFrames
    size: tuple[int, int]
    scale: tuple[float, float]
    ratio: tuple[float, float]
    flip: float
    interpolation: str
    finish: Finish

    def __call__(self, raw: Video, generator: Generator) -> Float[Tensor, "channels time height width"]:
        """Decodes the frames of the clip and closes the video; all draws come from `generator`, in one call.

        Raises:
            UnreadableSample: for a damaged frame, and as `ClipFrames.of` does.
        """
        start, mirror, *draws = torch.rand(2 * ATTEMPTS + 4, generator=generator).tolist()

        def augment(frames: Frames) -> Frames:
            height, width = frames.shape[-2:]
            box = random_box(height, width, self.scale, self.ratio, draws)
            mode = InterpolationMode(self.interpolation)
            resized = F.resized_crop(frames, box.top, box.left, box.height, box.width, list(self.size), mode)
            return resized.flip(-1) if mirror < self.flip else resized

        with raw as video:
            return decode(video, self.clip.of(video, start), lambda frames: self.finish(augment(frames)))


@dataclass(frozen=True)
class EvaluationTransform:
    """Evenly spaced clips, of each frame the centre, scaled until it just covers `cover`; draws nothing."""

    clip: ClipFrames
    clips: int
    size: tuple[int, int]
    cover: tuple[int, int]
    interpolation: str
    finish: Finish

    def __call__(self, raw: Video, generator: Generator) -> Float[Tensor, "*views channels time height width"]:
        """(C, T, H, W) of the middle clip, or (clips, C, T, H, W); raises as the training transform does."""
        with raw as video:
            views = [
                decode(video, self.clip.of(video, (number + 0.5) / self.clips), self._centre)
                for number in range(self.clips)
            ]
        return torch.stack(views) if self.clips > 1 else views[0]

    def _centre(self, frames: Frames) -> Float[Tensor, "channels time height width"]:
        height, width = frames.shape[-2:]
        box = elongation_limit(height, width, self.cover)
        pixels = F.resize(
            F.crop(frames, box.top, box.left, box.height, box.width),
            list(covering_size(box.height, box.width, self.cover)),
            InterpolationMode(self.interpolation),
        )  # the same memory where it fits
        return self.finish(F.center_crop(pixels, list(self.size)))


def decode(
    video: Video,
    indices: Int[np.ndarray, "time"],
    prepare: Callable[[Frames], Float[Tensor, "channels _ height width"]],
) -> Float[Tensor, "channels time height width"]:
    """Read and prepare each frame once, however often it occurs in the clip."""
    unique, places = np.unique(indices, return_inverse=True)
    signal = prepare(video.read(unique.tolist()))
    return signal if len(unique) == len(indices) else signal[:, torch.from_numpy(places)]
