"""From one file to pixels of a fixed number of channels, or to an error that names the file."""

from __future__ import annotations

import os
import struct
import tokenize
import zlib
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from jepa_core.errors import UnreadableSample
from jepa_core.sources import FileKind

IMAGES = FileKind(
    "image", "images", (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".npy")
)
"""What counts as an image in a folder."""

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
"""Pillow's name for each number of channels."""

# What Pillow and NumPy raise on damaged files: the kinds that were seen when bytes of 15 formats were changed 22,000
# times, and the other ways in which their readers can fail.
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
    tokenize.TokenError,
    zlib.error,
    Image.DecompressionBombError,
)


def read_pixels(path: str, channels: int) -> Shaped[Tensor, "channels height width"]:
    """The whole file decoded: uint8, or float32 where the file holds more than 8 bits.

    - The first picture of a file, turned upright as its EXIF orientation says.
    - Grey becomes RGB by repetition and RGB becomes grey by luma (ITU-R 601); palettes, CMYK and YCbCr are converted.
    - Transparency is laid over white, unless `channels` (2 or 4) keeps it.
    - 16-bit grey becomes float32 in [0, 1].
    - .npy: (H, W), (C, H, W) or (H, W, C); uint8, uint16 (to [0, 1]) or floats as they are.

    Raises:
        UnreadableSample: for whatever cannot be decoded to its end, is too large to be safe (Pillow's limit against
            decompression bombs), or does not give `channels` channels.
    """
    try:
        if path.lower().endswith(".npy"):
            # Mapped, so that a header which promises more than the file holds is an error before memory is taken.
            return _from_array(np.load(path, mmap_mode="r", allow_pickle=False), channels)
        with Image.open(path) as picture:
            return _from_picture(picture, channels)
    except _FAULTS as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if isinstance(error, UnidentifiedImageError):
            reason = "no image of a known format" if os.path.getsize(path) else "the file is empty"
        raise UnreadableSample(path, reason.replace(repr(path), "the file") or type(error).__name__) from error


def _from_picture(picture: Image.Image, channels: int) -> Shaped[Tensor, "channels height width"]:
    """Decode with Pillow; `load` raises where the file is cut short."""
    picture.load()
    ImageOps.exif_transpose(picture, in_place=True)
    if picture.mode.startswith("I;16"):
        return _from_array(np.array(picture), 1).expand(_grey_or_rgb(channels), -1, -1)
    if picture.mode in {"I", "F"}:
        raise ValueError(f"has 32-bit values (mode {picture.mode}) of unknown range: store it as .npy")
    if channels not in MODES:
        raise ValueError(f"is no .npy array, which modality.channels = {channels} needs")
    if picture.has_transparency_data and channels in {1, 3}:
        opaque = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque)
    values = np.array(picture.convert(MODES[channels]))
    return torch.from_numpy(values.reshape(*values.shape[:2], channels)).permute(2, 0, 1)


def _grey_or_rgb(channels: int) -> int:
    if channels not in {1, 3}:
        raise ValueError(f"is a 16-bit grey image, and modality.channels is {channels}: store it as .npy")
    return channels


def _from_array(array: Any, channels: int) -> Shaped[Tensor, "channels height width"]:
    """Put the channels first and 16-bit values into [0, 1]."""
    if not isinstance(array, np.ndarray):
        raise ValueError("is an archive of arrays: store one array as .npy")
    shape = array.shape
    if array.ndim == 2:
        array = array[None]
    elif array.ndim == 3 and shape[0] != channels and shape[-1] == channels:
        array = array.transpose(2, 0, 1)
    if array.ndim != 3 or array.shape[0] != channels or 0 in shape:
        raise ValueError(f"has the shape {shape}, and modality.channels is {channels}")
    if array.dtype == np.uint8:
        return torch.from_numpy(np.array(array))
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        return torch.from_numpy(array.astype(np.float32) / 65535)
    if array.dtype.kind != "f":
        raise ValueError(f"holds {array.dtype}: allowed are uint8, uint16 and floats")
    values = torch.from_numpy(array.astype(np.float32))
    if not values.isfinite().all():
        raise ValueError("holds values that are not finite")
    return values
