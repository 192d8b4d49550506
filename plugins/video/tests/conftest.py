"""Small video files for the tests of the plugin; every frame shows its own number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from torch import Tensor

WriteVideo = Callable[..., str]
NumbersIn = Callable[[Tensor], list[int]]
BITS = 8


def picture_of(number: int, height: int, width: int) -> np.ndarray:
    """Vertical stripes, white for the ones of the number, over a moving texture: (height, width, 3)."""
    rows, columns = np.mgrid[:height, :width]
    texture = (rows * 3 + columns * 2 + number * 5) % 32
    ones = (number >> (columns * BITS // width)) & 1
    return np.repeat((texture + 220 * ones)[..., None], 3, axis=2).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def numbers_in() -> NumbersIn:
    """What frames (T, 3, H, W) show."""

    def read(frames: Tensor) -> list[int]:
        stripes = [stripe.float().mean((1, 2, 3)) > 128 for stripe in frames.tensor_split(BITS, dim=3)]
        return sum((stripe.long() << bit for bit, stripe in enumerate(stripes)), start=0 * stripes[0].long()).tolist()

    return read


@pytest.fixture(scope="session")
def write_video(tmp_path_factory: pytest.TempPathFactory) -> WriteVideo:
    """`write_video("a.mp4", frames=24, codec="libx264")` writes a file, once per session and set of arguments."""
    known = dict[str, str]()

    def write(
        name: str,
        frames: int = 24,
        size: tuple[int, int] = (48, 64),
        codec: str = "libx264",
        pixels: str = "yuv420p",
        times: Sequence[int] | None = None,
        options: dict[str, str] | None = None,
        muxing: dict[str, str] | None = None,
    ) -> str:
        key = repr((name, frames, size, codec, pixels, times, options, muxing))
        if key not in known:
            path = tmp_path_factory.mktemp("videos") / name
            encode(path, frames, size, codec, pixels, times, options or {}, muxing or {})
            known[key] = str(path)
        return known[key]

    return write


def encode(
    path: Path,
    frames: int,
    size: tuple[int, int],
    codec: str,
    pixels: str,
    times: Sequence[int] | None,
    options: dict[str, str],
    muxing: dict[str, str],
) -> None:
    """Write a file of 25 frames per second, or with the given `times` in milliseconds."""
    with av.open(str(path), "w", options=muxing) as container:
        stream: Any = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = size
        stream.pix_fmt = pixels
        stream.codec_context.thread_count = 1
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture_of(number, *size), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
