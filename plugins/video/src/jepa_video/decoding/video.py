"""An open video: how many frames there are, when they are shown, and their pixels."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from jepa_core.errors import UnreadableSample
from jepa_video.decoding.backends import named_reader, opener
from jepa_video.decoding.index import open_container, read_index
from jepa_video.decoding.pictures import PictureReader, frames_in, is_picture
from jepa_video.decoding.reader import FramesReader, Reader
from jepa_video.decoding.with_pyav import PyAVReader


def open_video(path: str, backend: str = "auto", pictures_fps: float | None = None) -> Video:
    """Open a file or a folder of pictures; no frame is decoded yet.

    Args:
        path: a video of any name, a picture (by its suffix), or a folder of pictures, which are frames in the order of
            their names with numbers as numbers.
        backend: "pyav", "decord" or "torchcodec"; "auto" is PyAV.
        pictures_fps: frames per second of a folder of pictures; None where it is unknown.

    Raises:
        UnreadableSample: for whatever is none of these, is damaged, or is cut short.
        MissingDependency: where the back end is named and does not work.
    """
    video = Video(path, backend, pictures_fps=pictures_fps)
    video.open()
    return video


@dataclass(frozen=True)
class _Opened:
    """An open file, which exists in the process that opened it and in no other; or all of its frames in memory."""

    process: int | None
    """None: it is in memory, and so in every process that was forked since."""
    reader: Reader
    timestamps: Float[np.ndarray, "frames"] | None
    num_frames: int
    still: bool = False


_INHERITED = list[_Opened]()
"""Handles of a parent process. Freeing one would wait for threads that do not exist in this process."""


class Video:
    """Frames by index. It opens its file at first use, and again in another process: it pickles as a path."""

    def __init__(
        self,
        path: str,
        backend: str = "auto",
        part: tuple[int, int] = (0, 1),
        pictures_fps: float | None = None,
    ) -> None:
        """See `open_video`, which also looks whether the file can be read.

        `part` is for those who choose clips: the number of a part, from 0, and how many equal parts there are.
        """
        self.path, self.backend, self.part, self.pictures_fps = path, backend, part, pictures_fps
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
        """Seconds from the first frame to each, strictly increasing; None for pictures whose rate is unknown."""
        return self.open().timestamps

    @property
    def fps(self) -> float | None:
        """Mean frames per second; None for pictures of unknown rate and for a single frame."""
        times = self.timestamps
        return None if times is None or len(times) < 2 else (len(times) - 1) / float(times[-1])

    def open(self) -> _Opened:
        """The handle of this process; raises what `open_video` raises."""
        if self._opened and self._opened.process not in {None, os.getpid()}:
            _INHERITED.append(self._opened)
            self._opened = None
        if self._opened is None:
            with _system_reasons(self.path):
                self._opened = _open(self.path, self.backend, self.pictures_fps)
        return self._opened

    def read(self, indices: Sequence[int]) -> UInt8[Tensor, "frames 3 height width"]:
        """The frames at `indices`, in that order, RGB and upright; an index may come more than once.

        Raises:
            UnreadableSample: where one of them is damaged.
        """
        opened = self.open()
        wanted = sorted(set(indices))
        assert set(wanted) <= set(range(opened.num_frames)), f"{self.path} has {opened.num_frames} frames: {indices}"
        with _system_reasons(self.path):
            frames = opened.reader.read(wanted)
        if len(wanted) == 1:
            return frames.expand(len(indices), -1, -1, -1)
        if wanted == list(indices):
            return frames
        return frames[torch.from_numpy(np.searchsorted(wanted, indices))]

    @property
    def decoded_bytes(self) -> int:
        """Of all frames as RGB, after a look at the first one; raises UnreadableSample."""
        return self.read([0]).nbytes * self.num_frames

    def keep(self) -> Callable[[], Video]:
        """Decode all frames: makes videos that open no file, each with a `part` of its own; raises UnreadableSample."""
        with self:
            frames = self.read(range(self.num_frames))
            held = replace(self.open(), process=None, reader=FramesReader(frames))
        return partial(Video._of_frames, held, self.path, self.backend, self.part, self.pictures_fps)

    @classmethod
    def _of_frames(cls, held: _Opened, *made_of: Any) -> Video:
        video = cls(*made_of)
        video._opened = held
        return video

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

    def __reduce__(self) -> tuple[type[Video], tuple[str, str, tuple[int, int], float | None]]:
        """Travels as a path: handles do not."""
        return Video, (self.path, self.backend, self.part, self.pictures_fps)


@contextmanager
def _system_reasons(path: str) -> Generator[None]:
    """Turn what the system says about a file that vanished or is forbidden into UnreadableSample."""
    try:
        yield
    except OSError as error:
        raise UnreadableSample(path, error.strerror or type(error).__name__) from error


def _open(path: str, backend: str, pictures_fps: float | None) -> _Opened:
    if os.path.isdir(path):
        paths = frames_in(path)
        times = np.arange(len(paths)) / pictures_fps if pictures_fps else None
        return _Opened(os.getpid(), PictureReader(paths), times, len(paths))
    if not os.path.exists(path):
        raise UnreadableSample(path, "does not exist")
    if is_picture(os.path.basename(path)):
        return _Opened(os.getpid(), PictureReader([path]), None, 1, still=True)
    named = opener(backend)
    container, stream = open_container(path)
    with ExitStack() as stack:
        stack.callback(container.close)
        index = read_index(path, container, stream)
        if named:
            reader = named_reader(path, index, named)
        else:
            stack.pop_all()
            reader = PyAVReader(path, index, (container, stream))
    return _Opened(os.getpid(), reader, index.timestamps, len(index.pts), still=container.format.name.endswith("_pipe"))
