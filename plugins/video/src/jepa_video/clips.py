"""Which frames a clip has: every `stride`-th of the file, or by time stamps at a rate of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from jepa_core.errors import ConfigError, UnreadableSample
from jepa_video.decoding import Video

DEFAULT_STRIDE = 4
"""Of V-JEPA's configurations with 16 frames."""
TOLERANCE = 1e-3
"""Seconds by which a time stamp may be late: Matroska rounds them to milliseconds."""


@dataclass(frozen=True)
class ClipFrames:
    """How many frames a clip has, how far apart they are, and what becomes of a video that is too short for it."""

    frames: int
    """Of a clip."""
    stride: int | None = None
    """Distance in frames of the file; None for 4, or for `fps`."""
    fps: float | None = None
    """Frames per second of a clip, in place of `stride`."""
    short: Literal["loop", "pad", "skip"] = "loop"
    """Start again at the first frame, repeat the last frame, or raise UnreadableSample."""

    def of(self, video: Video, position: float) -> Int[np.ndarray, "frames"]:
        """Indices of the frames of one clip; they increase, except where a short video starts again or stands still.

        Args:
            video: its `part` (number, parts) says which share of the places where a clip fits is meant.
            position: in [0, 1], where in that share: 0 is the earliest clip, 1 the latest.

        Raises:
            UnreadableSample: for a short video under `skip`.
            ConfigError: for pictures of unknown rate under `fps`; it concerns all of them, so none is skipped.
        """
        number, parts = video.part
        position, loop = (number + position) / parts, self.short == "loop"
        if video.still:
            return np.zeros(self.frames, np.int64)
        if self.fps is None:
            stride = self.stride or DEFAULT_STRIDE
            needed = span(self.frames, stride)
            self._check(video, video.num_frames >= needed, f"{video.num_frames} frames, a clip needs {needed}")
            return indices_by_stride(video.num_frames, self.frames, stride, position, loop)
        times = video.timestamps
        if times is None:
            raise ConfigError(
                "modality.fps needs modality.pictures_fps where videos are folders of pictures, which have no time "
                f"stamps. Set it to the rate at which they were taken, or modality.stride in place of modality.fps. "
                f"The first such folder: {video.path}"
            )
        needed = (self.frames - 1) / self.fps
        enough = bool(times[-1] >= needed - TOLERANCE)
        self._check(video, enough, f"{times[-1]:.2f} s between its first and last frame, a clip needs {needed:.2f}")
        return indices_by_time(times, self.frames, self.fps, position, loop)

    def _check(self, video: Video, enough: bool, has: str) -> None:
        if not enough and self.short == "skip":
            how = "modality.short=loop or pad reads it, or a larger data.max_unreadable lets it be skipped"
            raise UnreadableSample(video.path, f"has {has}; {how}")


def span(frames: int, stride: int) -> int:
    """Frames of the file from the first to the last of a clip.

    >>> span(frames=16, stride=4)
    61
    """
    return (frames - 1) * stride + 1


def indices_by_stride(
    num_frames: int, frames: int, stride: int, position: float, loop: bool
) -> Int[np.ndarray, "frames"]:
    """Every `stride`-th frame, from the place `position` in [0, 1] of all where the clip fits.

    A shorter video is taken from its first frame, and then started again (`loop`) or its last frame repeated.

    >>> indices_by_stride(10, frames=3, stride=2, position=1.0, loop=True).tolist()
    [5, 7, 9]
    >>> indices_by_stride(5, frames=4, stride=2, position=0.5, loop=True).tolist()
    [0, 2, 4, 1]
    """
    steps = np.arange(frames) * stride
    room = num_frames - span(frames, stride)
    if room >= 0:
        return min(int(position * (room + 1)), room) + steps
    return steps % num_frames if loop else np.minimum(steps, num_frames - 1)


def indices_by_time(
    timestamps: Float[np.ndarray, "num_frames"], frames: int, fps: float, position: float, loop: bool
) -> Int[np.ndarray, "frames"]:
    """The frame that is shown at each tick of a clock of `fps`: the last one that began before it.

    As `indices_by_stride`, but on a scale of seconds, so a variable frame rate does not bend the motion. Where the
    clock is the faster one, frames come more than once.

    >>> indices_by_time(np.array([0.0, 0.1, 0.5, 0.6]), frames=3, fps=5.0, position=0.0, loop=True).tolist()
    [0, 1, 1]
    """
    times = np.arange(frames) / fps
    room = float(timestamps[-1] - times[-1])
    if room > -TOLERANCE:
        times += position * max(room, 0)
    elif loop and len(timestamps) > 1:
        times %= timestamps[-1] * len(timestamps) / (len(timestamps) - 1)  # the last frame is shown for a mean interval
    return np.searchsorted(timestamps, times + TOLERANCE, side="right") - 1
