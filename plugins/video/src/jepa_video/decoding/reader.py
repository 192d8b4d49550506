"""What a back end is: it reads frames by index from one open file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from jaxtyping import UInt8
from torch import Tensor


class Reader(Protocol):
    """An open file. It belongs to the process that opened it."""

    def read(self, indices: Sequence[int]) -> UInt8[Tensor, "frames 3 height width"]:
        """The frames at strictly increasing indices, RGB and upright; raises UnreadableSample."""
        ...

    def close(self) -> None:
        """Free everything; the reader is not used afterwards."""
        ...


@dataclass(frozen=True)
class FramesReader:
    """Frames that are in memory."""

    frames: UInt8[Tensor, "frames 3 height width"]
    """All of the video."""

    def read(self, indices: Sequence[int]) -> UInt8[Tensor, "frames 3 height width"]:
        """A copy of the frames at strictly increasing indices."""
        return self.frames[list(indices)]

    def close(self) -> None:
        """They stay."""


class Unsuited(Exception):
    """The back end would not give the frames of the file's index; PyAV does."""
