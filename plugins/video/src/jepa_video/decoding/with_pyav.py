"""Frames by PyAV, which brings its own FFmpeg; it reads what the other back ends cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count

import numpy as np
import torch
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from jaxtyping import UInt8
from torch import Tensor

from jepa_core.errors import UnreadableSample
from jepa_video.decoding.index import FrameIndex, ffmpeg_reasons, open_container

NOWHERE = -1
"""The position of a container that has given no frame yet."""


class PyAVReader:
    """Seeks to the last key frame before a wanted frame, unless going on from the last one is shorter."""

    def __init__(self, path: str, index: FrameIndex, opened: tuple[InputContainer, VideoStream]) -> None:
        """`opened` is the file that `index` was read from; the reader closes it."""
        self.path, self.index = path, index
        self._container, self._stream = opened
        self._size = self._stream.codec_context.width, self._stream.codec_context.height
        self._frames: Iterator[tuple[int, VideoFrame]] = iter(())
        self._position = NOWHERE
        self._wanted = frozenset[int]()
        # A slice with nal_ref_idc 0 is never referred to (H.264, 7.4.1), so a frame of such slices that is not wanted
        # need not be decoded: with x264's defaults, half of all. Other codings promise less.
        self._skips = self._stream.codec_context.name == "h264" and not index.numbered
        self._colours = VideoReformatter()

    def read(self, indices: Sequence[int]) -> UInt8[Tensor, "frames 3 height width"]:
        """The frames at strictly increasing indices; raises UnreadableSample for one that is damaged."""
        self._wanted = frozenset(self.index.pts[list(indices)].tolist())
        with ffmpeg_reasons(self.path):
            pictures = [self._picture(self._find(index)) for index in indices]
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)

    def close(self) -> None:
        """Free the decoder and close the file."""
        self._frames = iter(())  # the generator and the reader refer to each other: frames would wait for the collector
        self._container.close()

    def _find(self, index: int) -> VideoFrame:
        """Decode up to a frame."""
        time = int(self.index.pts[index])
        for start in self._starts(time):
            start()
            frame = self._advance(time)
            if frame is not None and not frame.is_corrupt:
                return frame
        raise UnreadableSample(self.path, f"frame {index} of {len(self.index.pts)} cannot be decoded")

    def _starts(self, time: int) -> Iterator[Callable[[], None]]:
        """Ways to reach a frame, the shortest first."""
        number = int(np.searchsorted(self.index.keys, time, side="right")) - 1
        if self.index.keys[number] <= self._position < time:
            yield lambda: None
        if not self.index.numbered:
            yield partial(self._seek, number)
            # Transport and program streams have no table of places: a search by time can end behind the one it is for.
            yield partial(self._seek, max(0, number - 2))
        yield self._start_again

    def _seek(self, key: int) -> None:
        """Go to a key frame."""
        self._container.seek(int(self.index.keys[key]), stream=self._stream)
        self._frames = self._decode()

    def _start_again(self) -> None:
        """Go to the first frame."""
        self._container.close()
        self._container, self._stream = open_container(self.path)
        self._frames = self._decode()

    def _decode(self) -> Iterator[tuple[int, VideoFrame]]:
        """The frames from here on and their times, in the order in which they are shown; wanted ones are among them."""
        numbers = count()
        for packet in self._container.demux(self._stream):
            if self._skips:
                self._stream.codec_context.skip_frame = "DEFAULT" if packet.pts in self._wanted else "NONREF"
            for frame in packet.decode():
                if self.index.numbered:
                    yield next(numbers), frame
                elif frame.pts is not None:
                    yield frame.pts, frame

    def _advance(self, time: int) -> VideoFrame | None:
        """The frame of that time, or None where a later one or the end comes first."""
        for position, frame in self._frames:
            self._position = position
            if position >= time:
                return frame if position == time else None
        self._position = NOWHERE
        return None

    def _picture(self, frame: VideoFrame) -> UInt8[np.ndarray, "height width 3"]:
        """The frame in RGB, upright, in the size that the file states."""
        width, height = self._size
        rgb = self._colours.reformat(frame, width=width, height=height, format="rgb24", threads=1)
        return np.rot90(rgb.to_ndarray(), frame.rotation // 90)
