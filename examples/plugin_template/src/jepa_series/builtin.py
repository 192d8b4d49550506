"""Shoulder exercises recorded by a watch, shipped with the package (data/LICENSE), with splits of our own."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import numpy as np
from jaxtyping import Float, Int, Int8

from jepa_core.plugin import Labels

EXERCISES = (
    "pendulum",
    "abduction",
    "forward elevation",
    "internal rotation",
    "external rotation",
    "trapezius extension",
    "upright row",
)
SIDES = ("left", "right")
TEST_PEOPLE = (8, 9, 10)
"""Of ten; nobody is in both splits."""
PIECE = 100
"""Time steps of a sample, 4 seconds: recordings are cut into such pieces, and what is left over is not used."""


@dataclass(frozen=True)
class Archive:
    """The file: all recordings, one after the other."""

    values: Int8[np.ndarray, "time channels"]
    """In units of `unit`."""
    unit: Float[np.ndarray, "channels"]
    lengths: Int[np.ndarray, "recordings"]
    """Time steps of each."""
    person: Int[np.ndarray, "recordings"]
    """From 1."""
    exercise: Int[np.ndarray, "recordings"]
    side: Int[np.ndarray, "recordings"]


@functools.cache
def archive() -> Archive:
    """Read once per process, 0.8 MB."""
    path = resources.files("jepa_series") / "data" / "shoulder-exercises.npz"
    with path.open("rb") as file, np.load(file) as data:
        return Archive(**data)


@functools.cache
def pieces(test: bool) -> Int[np.ndarray, "samples 2"]:
    """The recording and the first time step of every sample of a split."""
    data = archive()
    starts = np.cumsum(data.lengths) - data.lengths
    found = [
        (recording, start + offset)
        for recording, (start, length) in enumerate(zip(starts, data.lengths, strict=True))
        if (data.person[recording] in TEST_PEOPLE) == test
        for offset in range(0, length - PIECE + 1, PIECE)
    ]
    return np.array(found, np.int64)


@dataclass(frozen=True)
class BuiltinSource:
    """One of the two splits, straight from memory: a pickle of it holds no values."""

    test: bool

    @property
    def labels(self) -> Mapping[str, Labels]:
        """Which exercise it is, and which arm did it."""
        recordings = pieces(self.test)[:, 0]
        data = archive()
        return {
            "exercise": Labels(data.exercise[recordings].astype(np.int64), EXERCISES),
            "side": Labels(data.side[recordings].astype(np.int64), SIDES),
        }

    def __len__(self) -> int:
        """Number of pieces."""
        return len(pieces(self.test))

    def read(self, index: int) -> Float[np.ndarray, "channels time"]:
        """Acceleration along three axes, then rotation about them."""
        start = int(pieces(self.test)[index, 1])
        data = archive()
        return np.ascontiguousarray((data.values[start : start + PIECE] * data.unit).T, np.float32)

    def where(self, index: int) -> str:
        """Recording and time step, for messages."""
        recording, start = pieces(self.test)[index]
        return f"shoulder-exercises/{recording}/{start}"
