"""From a file to a signal and from a signal to tokens and pictures: what `modality.py` refers to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Generator, Tensor
from torch.nn import functional as F

from jepa_core.crops import Normalise
from jepa_core.errors import UnreadableSample
from jepa_core.nn.patches import PatchTokenizer
from jepa_core.sources.kinds import FileKind

RECORDINGS = FileKind("recording", "recordings", (".npy", ".txt"))
"""A .npy array of shape (time, channels), or text with a line per time step, its numbers parted by spaces or commas."""

BAND, STEP = 32, 4
"""Height of a channel and width of a time step in a picture."""


def read_recording(path: str, channels: int) -> Float[np.ndarray, "channels time"]:
    """The values of a file as float32; raises UnreadableSample unless it holds finite numbers of all channels."""
    try:
        values = _numbers(path)
    except (OSError, EOFError, ValueError) as error:
        raise UnreadableSample(path, str(error)) from error
    if values.ndim != 2 or not len(values) or values.shape[1] != channels:
        raise UnreadableSample(path, f"has shape {values.shape}, and must be (time, {channels})")
    if not np.isfinite(values).all():
        raise UnreadableSample(path, "holds values that are not finite")
    return values.T


def _numbers(path: str) -> Float[np.ndarray, "*any"]:
    with open(path, "rb") as file:
        if path.lower().endswith(".npy"):
            return np.lib.format.read_array(file).astype(np.float32)  # nothing is unpickled
        return np.array([line.replace(b",", b" ").split() for line in file], np.float32)


@dataclass(frozen=True)
class TrainingClip:
    """A clip that begins at any time step."""

    length: int
    normalise: Normalise

    def __call__(
        self, raw: Float[np.ndarray, "channels time"], generator: Generator
    ) -> Float[Tensor, "channels length"]:
        """Every beginning is equally likely."""
        values = _padded(raw, self.length, self.normalise)
        start = int(torch.randint(values.shape[1] - self.length + 1, (), generator=generator))
        return values[:, start : start + self.length]


@dataclass(frozen=True)
class EvaluationClips:
    """The clip in the middle, or several that are evenly spaced from the beginning to the end."""

    length: int
    clips: int
    normalise: Normalise

    def __call__(
        self, raw: Float[np.ndarray, "channels time"], generator: Generator
    ) -> Float[Tensor, "*clips channels length"]:
        """One clip, or a stack of them."""
        values = _padded(raw, self.length, self.normalise)
        room = values.shape[1] - self.length
        if self.clips == 1:
            return values[:, room // 2 : room // 2 + self.length]
        starts = [round(clip * room / (self.clips - 1)) for clip in range(self.clips)]
        return torch.stack([values[:, start : start + self.length] for start in starts])


def _padded(
    raw: Float[np.ndarray, "channels time"], length: int, normalise: Normalise
) -> Float[Tensor, "channels at_least_length"]:
    """Normalised, with zeros (the mean) at the end of what is too short."""
    values = normalise(torch.from_numpy(raw))
    return F.pad(values, (0, max(0, length - values.shape[1])))


class SeriesTokenizer(PatchTokenizer):
    """Patches of one channel; the position embedding tells the encoder which."""

    def __init__(self, patch: int, width: int) -> None:
        """`patch` time steps to `width` features."""
        super().__init__(1, (1, patch), width)

    def forward(
        self, signal: Float[Tensor, "batch channels length"], keep: Int[Tensor, "batch kept"] | None = None
    ) -> Float[Tensor, "batch tokens width"]:
        """Tokens of the kept cells, or of all, channel by channel."""
        return super().forward(signal.unsqueeze(1), keep)


def draw_curves(values: Float[np.ndarray, "channels length"]) -> UInt8[np.ndarray, "height width 3"]:
    """Dark curves on white: three standard deviations up and down fill a channel's band."""
    height = ((1 - values.clip(-3, 3) / 3) / 2 * (BAND - 1)).round()
    before = np.concatenate([height[:, :1], height[:, :-1]], axis=1)
    low, high = np.minimum(height, before)[:, None], np.maximum(height, before)[:, None]
    rows = np.arange(BAND)[:, None]
    inked = (rows >= low) & (rows <= high)  # (channels, BAND, length): from the step before to this one
    grey = np.where(inked, 40, 255).astype(np.uint8).reshape(-1, values.shape[1])
    return np.repeat(np.repeat(grey, STEP, axis=1)[..., None], 3, axis=-1)
