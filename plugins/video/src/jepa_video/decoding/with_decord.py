"""Frames by decord 0.6, which brings an FFmpeg of 2018."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

import decord
import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from jepa_core.errors import UnreadableSample
from jepa_video.decoding.index import FrameIndex
from jepa_video.decoding.reader import Unsuited

NO_REPEATS: Any = 1e-9
"""Share of frames that decord may replace by their neighbours: by default it does that without a word, and 0 would
allow any number. (Documented as a share; a type checker sees the default, an int.)"""


class DecordReader:
    """One decoding thread; decord searches for key frames by itself."""

    def __init__(self, path: str, index: FrameIndex) -> None:
        """Raises Unsuited where decord would not give the frames of `index`."""
        decord.logging.set_level(decord.logging.QUIET)
        self.path = path
        try:
            self._video = decord.VideoReader(os.path.abspath(path), num_threads=1, fault_tol=NO_REPEATS)
            agrees = len(self._video) == len(index.pts) and self._agrees(index)
        except UnicodeEncodeError as error:
            raise Unsuited("decord cannot open a path that is not UTF-8") from error
        except (decord.DECORDError, decord.DECORDLimitReachedError, RuntimeError) as error:
            raise Unsuited(f"decord: {_short(error)}") from error
        if not agrees:
            raise Unsuited(f"decord counts {len(self._video)} frames where {len(index.pts)} can be decoded")

    def _agrees(self, index: FrameIndex) -> bool:
        """Whether decord gives frames the same times."""
        times = self._video.get_frame_timestamp(range(len(index.pts)))[:, 0]
        return np.allclose(times - times[0], index.timestamps, atol=1e-3)

    def read(self, indices: Sequence[int]) -> UInt8[Tensor, "frames 3 height width"]:
        """The frames at strictly increasing indices; raises UnreadableSample where one is damaged."""
        try:
            return torch.from_numpy(self._video.get_batch(list(indices)).asnumpy()).permute(0, 3, 1, 2)
        except (decord.DECORDError, decord.DECORDLimitReachedError) as error:
            raise UnreadableSample(self.path, f"decord: {_short(error)}") from error

    def close(self) -> None:
        """Free the decoder: its thread ends and the file is closed with the last reference."""
        del self._video


def _short(error: Exception) -> str:
    """What decord says, without the time and the places in its source."""
    return re.sub(r"\[[^]]*\](?: \S+\.cc:\d+:)? *", "", str(error)).split("\n", 1)[0]
