"""Fashion-MNIST's 10,000 test images, shipped with the package (data/LICENSE), with splits of our own."""

from __future__ import annotations

import functools
import gzip
from collections.abc import Mapping
from importlib import resources

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from jepa_core.plugin import Labels
from jepa_core.sources import HEADING

NAMES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
"""Class names in the order of the ids."""
TEST_PER_CLASS = 200
"""Of the 1,000 images of each class; the other 800 are for training."""


def _unpacked(name: str, header: int) -> np.ndarray:
    """The values of an IDX file."""
    packed = resources.files("jepa_image").joinpath("data", name).read_bytes()
    return np.frombuffer(bytearray(gzip.decompress(packed)), np.uint8, offset=header)


@functools.cache
def fashion_mnist() -> tuple[UInt8[Tensor, "10000 28 28"], Int[np.ndarray, "10000"]]:
    """Images and class ids; read once per process, 7.8 MB."""
    images = torch.from_numpy(_unpacked("t10k-images-idx3-ubyte.gz", header=16).reshape(-1, 28, 28))
    return images, _unpacked("t10k-labels-idx1-ubyte.gz", header=8).astype(np.int64)


@functools.cache
def split_indices(test: bool) -> Int[np.ndarray, "samples"]:
    """Positions in the file, ascending: 2,000 for testing (200 of each class), the other 8,000 for training.

    The split is fixed for ever: `RandomState` is the one NumPy generator whose stream is frozen between releases.
    """
    _, ids = fashion_mnist()
    random = np.random.RandomState(0)
    by_class = [random.permutation(np.flatnonzero(ids == number)) for number in range(len(NAMES))]
    chosen = slice(None, TEST_PER_CLASS) if test else slice(TEST_PER_CLASS, None)
    return np.sort(np.concatenate([members[chosen] for members in by_class]))


class BuiltinSource:
    """Fashion-MNIST's splits, straight from memory: a pickle of it holds no pixels."""

    def __init__(self, test: bool, channels: int) -> None:
        """2,000 test images or 8,000 others; grey is repeated to `channels`."""
        self.test, self.channels = test, channels

    @property
    def labels(self) -> Mapping[str, Labels]:
        """Ten classes under one heading."""
        return {HEADING: Labels(fashion_mnist()[1][self._indices], NAMES)}

    @property
    def _indices(self) -> Int[np.ndarray, "samples"]:
        return split_indices(self.test)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._indices)

    def read(self, index: int) -> UInt8[Tensor, "channels 28 28"]:
        """A view of the image in memory."""
        images, _ = fashion_mnist()
        return images[self._indices[index]].expand(self.channels, -1, -1)

    def where(self, index: int) -> str:
        """Its position in Fashion-MNIST's test file."""
        return f"fashion-mnist/t10k/{self._indices[index]}"
