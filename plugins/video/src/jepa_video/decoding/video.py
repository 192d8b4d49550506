"""An open video: how many frames there are, when they are shown, and their pixels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from jepa_core.errors import UnreadableSample
from jepa_video.decoding.backends import opener, preferred_reader
from jepa_video.decoding.index import open_container, read_index
from jepa_video.decoding.pictures import PictureReader, frames_in, is_picture
from jepa_video.decoding.reader import Reader
from jepa_video.decoding.with_pyav import PyAVReader


def open_video(path: str, backend: str = "auto") -> Video:
    """Open a file or a folder of pictures; no frame is decoded yet.

    Args:
        path: a video of any name, a picture (by its suffix), or a folder of pictures, which are frames in the order of
            their names with numbers as numbers.
        backend: "decord", "torchcodec", "pyav", or "auto": the first of these that works here, and PyAV for a file
            that it would not read right.

    Raises:
        UnreadableSample: for whatever is none of these, is damaged, or is cut short.
        MissingDependency: where the back end is named and does not work.
    """
    video = Video(path, backend)
    video.open()
    return video


@dataclass(frozen=True)
class _Opened:
    """What exists in the process that opened the file, and in no other."""

    process: int
    reader: Reader
    timestamps: Float[np.ndarray, "frames"] | None
    num_frames: int
    still: bool = False


_INHERITED = list[_Opened]()
"""Handles of a parent process. Freeing one would wait for threads that do not exist in this process."""


class Video:
    """Frames by index. It opens its file at first use, and again in another process: it pickles as a path."""

    def __init__(self, path: str, backend: str = "auto", part: tuple[int, int] = (0, 1)) -> None:
        """See `open_video`, which also looks whether the file can be read.

        `part` is for those who choose clips: the number of a part, from 0, and how many equal parts there are.
        """
        self.path, self.backend, self.part = path, backend, part
        self._opened: _Opened | None = None

    @property
    def still(self) -> bool:
        """Whether this is a single picture: a clip of any length that stands still."""
        return self.open().still

    @property
    def num_frames(self) -> int:
        """Frames that can be decoded, whatever the file claims; at least 1."""
        return self.open().num_frames

    @property
    def timestamps(self) -> Float[np.ndarray, "frames"] | None:
        """Seconds from the first frame to each, strictly increasing; None for pictures, which have no times."""
        return self.open().timestamps

    @property
    def fps(self) -> float | None:
        """Mean frames per second; None for pictures and for a single frame."""
        times = self.timestamps
        return None if times is None or len(times) < 2 else (len(times) - 1) / float(times[-1])

    def open(self) -> _Opened:
        """The handle of this process; raises what `open_video` raises."""
        if self._opened and self._opened.process != os.getpid():
            _INHERITED.append(self._opened)
            self._opened = None
        if self._opened is None:
            self._opened = _open(self.path, self.backend)
        return self._opened

    def read(self, indices: Sequence[int]) -> UInt8[Tensor, "frames 3 height width"]:
        """The frames at `indices`, in that order, RGB and upright; an index may come more than once.

        Raises:
            UnreadableSample: where one of them is damaged.
        """
        opened = self.open()
        wanted = sorted(set(indices))
        assert set(wanted) <= set(range(opened.num_frames)), f"{self.path} has {opened.num_frames} frames: {indices}"
        frames = opened.reader.read(wanted)
        if len(wanted) == 1:
            return frames.expand(len(indices), -1, -1, -1)
        if wanted == list(indices):
            return frames
        return frames[torch.from_numpy(np.searchsorted(wanted, indices))]

    def close(self) -> None:
        """Free the decoder; the next use opens the file again."""
        if self._opened and self._opened.process == os.getpid():
            self._opened.reader.close()
            self._opened = None

    def __enter__(self) -> Self:
        """Closes at the end of the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def __reduce__(self) -> tuple[type[Video], tuple[str, str, tuple[int, int]]]:
        """Travels as a path: handles do not."""
        return Video, (self.path, self.backend, self.part)


def _open(path: str, backend: str) -> _Opened:
    if os.path.isdir(path):
        paths = frames_in(path)
        return _Opened(os.getpid(), PictureReader(paths), None, len(paths))
    if not os.path.exists(path):
        raise UnreadableSample(path, "does not exist")
    if is_picture(os.path.basename(path)):
        return _Opened(os.getpid(), PictureReader([path]), None, 1, still=True)
    preferred = opener(backend)
    container, stream = open_container(path)
    with ExitStack() as stack:
        stack.callback(container.close)
        index = read_index(path, container, stream)
        reader = preferred_reader(path, index, backend, preferred) if preferred else None
        if reader is None:
            stack.pop_all()
            reader = PyAVReader(path, index, (container, stream))
    return _Opened(os.getpid(), reader, index.timestamps, len(index.pts), still=container.format.name.endswith("_pipe"))
