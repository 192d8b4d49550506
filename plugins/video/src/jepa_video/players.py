"""Clips as small moving pictures."""

from __future__ import annotations

import io

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from jepa_core.crops import Normalise
from jepa_core.types import Player
from jepa_video.clips import DEFAULT_STRIDE
from jepa_video.config import VideoConfig
from jepa_video.decoding import Video

SIDE = 128
"""Pixels of the longer side: larger clips are scaled down to it."""
PICTURES_PER_SECOND = 8.0
"""Of what has no times."""
_QUALITY = 80
_SHRINK = 0.75


def play(config: VideoConfig, video: Video, signal: Tensor, max_bytes: int) -> Player | None:
    """An evaluation clip in its own time, over and over; None where even the smallest is larger than `max_bytes`.

    Args:
        config: the section.
        video: what the clip is of.
        signal: (channels, frames, height, width), normalised.
        max_bytes: of the file.
    """
    values = Normalise(config.mean, config.std).undo(signal).expand(3, -1, -1, -1)
    frames = (values.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 3, 0)
    scale = min(1.0, SIDE / max(config.size))
    while min(config.size) * scale >= 1:
        content = webp(frames, scale, milliseconds(config, video))
        if len(content) <= max_bytes:
            return Player("image/webp", content)
        scale *= _SHRINK
    return None


def milliseconds(config: VideoConfig, video: Video) -> int:
    """From one frame of a clip to the next."""
    rate = config.fps
    if rate is None:
        rate = video.fps / (config.stride or DEFAULT_STRIDE) if video.fps else PICTURES_PER_SECOND
    return max(1, round(1000 / rate))


def webp(frames: UInt8[Tensor, "time height width 3"], scale: float, duration: int) -> bytes:
    """A WebP file that starts again at its end; every frame lasts `duration` milliseconds."""
    size = (max(1, round(frames.shape[2] * scale)), max(1, round(frames.shape[1] * scale)))
    first, *others = (Image.fromarray(frame.numpy()).resize(size, Image.Resampling.BOX) for frame in frames)
    content = io.BytesIO()
    first.save(content, "WEBP", save_all=True, append_images=others, duration=duration, loop=0, quality=_QUALITY)
    return content.getvalue()
