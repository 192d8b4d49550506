"""Pictures that move on a torus in eight directions: real mp4 files, rendered and encoded at first use.

Each of 2,500 pictures of Fashion-MNIST (data/LICENSE) moves over a grey field of 32 x 32 pixels and comes in again at
the other side. The start is random, so one frame says nothing of the direction; and a step is half a token of the
demo's grid, because the untrained encoder reads smaller ones off two neighbouring frames (docs/log.md).
"""

from __future__ import annotations

from functools import cache, partial
from importlib import resources
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from jepa_core.errors import MissingDependency
from jepa_core.plugin import Labels
from jepa_core.sources import FileSource, PathTable
from jepa_core.sources.cache import cached_folder
from jepa_core.sources.files import Read

CONTENT = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
"""What moves, in the order of the ids."""
MOTION = ("east", "south-east", "south", "south-west", "west", "north-west", "north", "north-east")
"""Where to, in the order of the ids."""
_STEPS = np.array([(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)])

SIDE, FRAMES, SPEED, RATE = 32, 12, 4, 12
"""Height and width in pixels, frames per file, pixels per frame along each moving axis, frames per second."""
TEST_PICTURES = 500
"""The first of the pictures; the other 2,000 are for training. No picture is in both."""
VIDEOS_PER_PICTURE = 2
COUNTS = {"moving-fashion": (None, None), "moving-fashion-small": (32, 16)}
"""How many of the training and of the test videos are in each built-in data set; None for all."""
_VERSION = 2
"""Part of the cache folder's name: another rendering gets another folder."""


@cache
def pictures() -> tuple[UInt8[np.ndarray, "2500 28 28"], Int[np.ndarray, "2500"]]:
    """The pictures and what they show."""
    with resources.files("jepa_video").joinpath("data", "fashion-mnist-2500.npz").open("rb") as file:
        content = np.load(file, allow_pickle=False)
        return content["images"], content["ids"].astype(np.int64)


def plan(test: bool) -> tuple[Int[np.ndarray, "videos"], Int[np.ndarray, "videos"], Int[np.ndarray, "videos 2"]]:
    """Picture, direction and start (row, column) of every video of a split; directions are equally frequent.

    Fixed for ever: `RandomState` is the one NumPy generator whose stream is frozen between releases.
    """
    members = np.arange(TEST_PICTURES) if test else np.arange(TEST_PICTURES, len(pictures()[0]))
    picture = np.repeat(members, VIDEOS_PER_PICTURE)
    random = np.random.RandomState(1 + test)
    direction = random.permutation(np.arange(len(picture)) % len(MOTION))
    return picture, direction, random.randint(0, SIDE, (len(picture), 2))


def render(
    picture: UInt8[np.ndarray, "28 28"], direction: int, start: Int[np.ndarray, "2"]
) -> UInt8[np.ndarray, "frames 32 32"]:
    """All frames of one video."""
    field = np.zeros((SIDE, SIDE), np.uint8)
    field[: picture.shape[0], : picture.shape[1]] = picture
    shifts = start + _STEPS[direction] * SPEED * np.arange(FRAMES)[:, None]
    return np.stack([np.roll(field, tuple(shift), (0, 1)) for shift in shifts])


def source(name: str, test: bool, read: Read) -> FileSource:
    """4,000 training videos, or 1,000 test videos, or the first of them, with two headings: motion and content.

    Raises:
        DataError: where the files cannot be written.
    """
    count = COUNTS[name][test]
    picture, direction, _ = (values[:count] for values in plan(test))
    ids = pictures()[1][picture]
    split = "test" if test else "train"
    folder = cached_folder(f"{name}-{_VERSION}/{split}", partial(_write, test=test, count=count))
    names = PathTable.of(f"{number:04}.mp4" for number in range(len(picture)))
    labels = {"motion": Labels(direction.astype(np.int64), MOTION), "content": Labels(ids, CONTENT)}
    return FileSource(str(folder), names, read, labels)


def _write(folder: Path, test: bool, count: int | None) -> None:
    """Encode the first videos of a split, or all."""
    images, _ = pictures()
    for number, (picture, direction, start) in enumerate(islice(zip(*plan(test), strict=True), count)):
        encode(folder / f"{number:04}.mp4", render(images[picture], direction, start))


def encode(path: Path, frames: UInt8[np.ndarray, "frames height width"]) -> None:
    """Write grey frames as H.264 in mp4, always the same bytes; raises MissingDependency for a PyAV without libx264.

    (With macroblock trees libx264 writes other bytes for 1 in 100 of so small videos each time.)
    """
    import av

    if "libx264" not in av.codecs_available:
        raise MissingDependency(
            "The built-in videos are encoded with libx264, which this PyAV lacks; its wheels have it: "
            "pip install --force-reinstall --only-binary :all: av"
        )
    with av.open(str(path), "w") as container:
        options = {"crf": "18", "preset": "veryfast", "x264-params": "mbtree=0"}
        stream = container.add_stream("libx264", rate=RATE, options=options)
        stream.height, stream.width = frames.shape[1:]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1  # of so small files, threads only cost
        for values in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(values, format="gray")))
        container.mux(stream.encode())
