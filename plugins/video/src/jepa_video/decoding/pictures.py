"""Videos without a container: folders of pictures, one per frame, and single pictures.

Pillow reads them, and not torchvision.io: it knows more formats, turns pictures upright, and says what is wrong with a
file in exceptions of known types.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from jepa_core.errors import UnreadableSample

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
"""What counts as a picture, whatever the case."""

# What Pillow raises on damaged files.
_FAULTS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class PictureReader:
    """One picture per frame; all have the size of the first."""

    def __init__(self, paths: Sequence[str]) -> None:
        """`paths` in the order of the frames."""
        self.paths = paths

    def read(self, indices: Sequence[int]) -> UInt8[Tensor, "frames 3 height width"]:
        """The frames at strictly increasing indices; raises UnreadableSample, which names the picture."""
        pictures = [read_picture(self.paths[index]) for index in indices]
        for index, picture in zip(indices, pictures, strict=True):
            if picture.shape != pictures[0].shape:
                raise UnreadableSample(self.paths[index], f"is {_size(picture)}, unlike {_size(pictures[0])} before it")
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)

    def close(self) -> None:
        """Nothing is open between reads."""


def is_picture(name: str) -> bool:
    """Whether a file of that name is read as a picture."""
    return name.lower().endswith(PICTURES) and not name.startswith(".")


def frames_in(folder: str) -> list[str]:
    """Paths of the pictures in a folder, by name with numbers as numbers: 2.jpg before 10.jpg.

    Raises:
        UnreadableSample: where the folder cannot be listed, or holds none.
    """
    try:
        names = sorted(filter(is_picture, os.listdir(folder)), key=natural)
    except OSError as error:
        raise UnreadableSample(folder, error.strerror or type(error).__name__) from error
    if not names:
        raise UnreadableSample(folder, "a folder without pictures, which would be its frames")
    return [os.path.join(folder, name) for name in names]


def natural(name: str) -> list[tuple[int, str]]:
    """A key for sorting that compares runs of digits as numbers."""
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def read_picture(path: str) -> UInt8[np.ndarray, "height width 3"]:
    """RGB, upright as its EXIF orientation says; transparency is laid over white, 16-bit grey is cut to 8 bits."""
    try:
        with Image.open(path) as picture:
            ImageOps.exif_transpose(picture, in_place=True)
            if picture.mode.startswith("I;16"):
                return np.repeat((np.array(picture) >> 8).astype(np.uint8)[..., None], 3, axis=2)
            if picture.mode in {"I", "F"}:
                raise ValueError(f"has 32-bit values (mode {picture.mode}) of unknown range: store it with 16")
            if picture.has_transparency_data:
                opaque = picture.convert("RGBA")
                return np.array(Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque).convert("RGB"))
            return np.array(picture.convert("RGB"))
    except UnidentifiedImageError as error:
        reason = "no picture of a known format" if os.path.getsize(path) else "the file is empty"
        raise UnreadableSample(path, reason) from error
    except _FAULTS as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UnreadableSample(path, reason or type(error).__name__) from error


def _size(picture: np.ndarray) -> str:
    return f"{picture.shape[1]} x {picture.shape[0]}"
