"""Frames by torchcodec, which uses the FFmpeg of the system."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from importlib import import_module

from jaxtyping import UInt8
from torch import Tensor

from jepa_core.errors import UnreadableSample
from jepa_video.decoding.index import FrameIndex
from jepa_video.decoding.reader import Unsuited

# Not a plain import: torchcodec is optional, and a type checker that does not find it would refuse the line.
VideoDecoder = import_module("torchcodec.decoders").VideoDecoder


class TorchCodecReader:
    """One decoding thread; its exact mode indexes the whole file, as ours does."""

    def __init__(self, path: str, index: FrameIndex) -> None:
        """Raises Unsuited where torchcodec would not give the frames of `index`."""
        self.path = path
        try:
            self._video = VideoDecoder(os.path.abspath(path), seek_mode="exact", num_ffmpeg_threads=1)
        except UnicodeEncodeError as error:
            raise Unsuited("torchcodec cannot open a path that is not UTF-8") from error
        except (RuntimeError, ValueError) as error:
            raise Unsuited(f"torchcodec: {_short(error)}") from error
        if self._video.metadata.num_frames != len(index.pts):
            count = self._video.metadata.num_frames
            raise Unsuited(f"torchcodec counts {count} frames where {len(index.pts)} can be decoded")

    def read(self, indices: Sequence[int]) -> UInt8[Tensor, "frames 3 height width"]:
        """The frames at strictly increasing indices; raises UnreadableSample where one is damaged."""
        try:
            return self._video.get_frames_at(list(indices)).data
        except (RuntimeError, IndexError) as error:
            raise UnreadableSample(self.path, f"torchcodec: {_short(error)}") from error

    def close(self) -> None:
        """Free the decoder with the last reference."""
        del self._video


def _short(error: Exception) -> str:
    """What torchcodec says, without the place in its source."""
    return re.sub(r"^.*\.cpp:\d+, ", "", str(error).split("\n", 1)[0])
