"""Where images come from: folders, manifests, single files, built-in data."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int, Shaped
from torch import Tensor

from jepa_core.errors import DataError, UsageError
from jepa_core.plugin import Labels
from jepa_image import builtin, manifests
from jepa_image.decoding import read_pixels
from jepa_image.manifests import Manifest, read_manifest
from jepa_image.paths import SUFFIXES, PathTable, class_folders, find_images

HEADING = "label"
"""The heading of the labels of class folders and of built-in data."""
UNLABELLED = -1
"""The id of a sample without a label."""

Vocabulary = Mapping[str, tuple[str, ...]]
"""Class names by heading, in the order of their ids."""

log = logging.getLogger(__name__)


class FileSource:
    """Image files: only paths and labels in memory; a file is opened in `read`."""

    def __init__(self, root: str, paths: PathTable, channels: int, labels: Mapping[str, Labels] | None = None) -> None:
        """`paths` are relative to `root`, or absolute; `channels` is what `read` returns."""
        self.root, self.paths, self.channels = root, paths, channels
        self._labels = dict(labels or {})

    @property
    def labels(self) -> Mapping[str, Labels]:
        """By heading; an id of -1 stands for a sample without a label."""
        return self._labels

    def __len__(self) -> int:
        """Number of files."""
        return len(self.paths)

    def read(self, index: int) -> Shaped[Tensor, "channels height width"]:
        """The decoded file, see `read_pixels`; raises UnreadableSample."""
        return read_pixels(self.where(index), self.channels)

    def where(self, index: int) -> str:
        """The file's path."""
        return os.path.join(self.root, self.paths[index])


class FolderSource(FileSource):
    """Every image below a folder; its first-level folders are the classes, unless images lie beside them."""

    def __init__(self, root: str, channels: int, vocabulary: Vocabulary | None = None) -> None:
        """`vocabulary` fixes the ids of the classes ({}: there are none); without it they follow the alphabet."""
        folders = class_folders(root)
        paths = PathTable.of(find_images(root))
        if not len(paths):
            raise DataError(f"{root}: no images in this folder. Known are {' '.join(SUFFIXES)}")
        vocabulary = {HEADING: folders} if vocabulary is None else vocabulary
        labels = {}
        if folders and vocabulary:
            names = vocabulary.get(HEADING, ())
            own = [path.split(os.sep, 1)[0] for path in paths]
            labels = {HEADING: Labels(_ids(own, names, where=root), names)}
            absent = sorted(set(names) - set(folders))
            if absent:
                log.warning("%s: no folder for %d of the training data's classes: %s", root, len(absent), _few(absent))
        super().__init__(root, paths, channels, labels)


class ManifestSource(FileSource):
    """The rows of a .csv or .parquet table: a column `path`, relative to the table, and columns of labels."""

    def __init__(
        self, path: str, channels: int, headings: Sequence[str] | None = None, vocabulary: Vocabulary | None = None
    ) -> None:
        """`headings` are the columns that are labels (all by default); `vocabulary` fixes the ids of their classes."""
        manifest = read_manifest(path, headings if vocabulary is None else tuple(vocabulary))
        labels = {
            heading: Labels(_ids(manifest.labels[heading], names, where=f"{path}, column {heading}"), names)
            for heading, names in (_vocabulary(manifest) if vocabulary is None else vocabulary).items()
        }
        super().__init__(str(Path(path).parent), PathTable.of(manifest.iter_paths()), channels, labels)


class BuiltinSource:
    """Fashion-MNIST's splits, straight from memory: a pickle of it holds no pixels."""

    def __init__(self, test: bool, channels: int) -> None:
        """2,000 test images or 8,000 others; grey is repeated to `channels`."""
        self.test, self.channels = test, channels

    @property
    def labels(self) -> Mapping[str, Labels]:
        """Ten classes under one heading."""
        return {HEADING: Labels(builtin.fashion_mnist()[1][self._indices], builtin.NAMES)}

    @property
    def _indices(self) -> Int[np.ndarray, "samples"]:
        return builtin.split_indices(self.test)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._indices)

    def read(self, index: int) -> Shaped[Tensor, "channels 28 28"]:
        """A view of the image in memory, uint8."""
        images, _ = builtin.fashion_mnist()
        return images[self._indices[index]].expand(self.channels, -1, -1)

    def where(self, index: int) -> str:
        """Its position in Fashion-MNIST's test file."""
        return f"fashion-mnist/t10k/{self._indices[index]}"


def open_path(
    path: str, channels: int, headings: Sequence[str] | None = None, vocabulary: Vocabulary | None = None
) -> FileSource:
    """A folder, a manifest or a single image.

    Raises:
        UsageError: for a path that does not exist.
        DataError: for a source without samples, or with labels that `vocabulary` does not know.
    """
    path = _existing(path)
    if os.path.isdir(path):
        return FolderSource(path, channels, vocabulary)
    if path.lower().endswith(manifests.SUFFIXES):
        return ManifestSource(path, channels, headings, vocabulary)
    return FileSource("", PathTable.of([path]), channels)


def vocabulary_of(path: str, headings: Sequence[str] | None = None) -> Vocabulary:
    """The classes of a folder or manifest, without looking at its images."""
    path = _existing(path)
    if os.path.isdir(path):
        folders = class_folders(path)
        return {HEADING: folders} if folders else {}
    return _vocabulary(read_manifest(path, headings)) if path.lower().endswith(manifests.SUFFIXES) else {}


def _existing(path: str) -> str:
    path = os.path.expanduser(path)
    if not os.path.exists(path):
        expected = f"a folder of images or a manifest ({' or '.join(manifests.SUFFIXES)})"
        raise UsageError(f"{path}: does not exist (seen from {os.getcwd()}). Expected {expected}")
    return path


def _vocabulary(manifest: Manifest) -> Vocabulary:
    """The distinct labels of each heading: by value where all are whole numbers, else alphabetical."""
    vocabulary: dict[str, tuple[str, ...]] = {}
    for heading, labels in manifest.labels.items():
        names = {label for label in labels if label is not None}
        whole = all(name.isdecimal() for name in names)
        vocabulary[heading] = tuple(sorted(names, key=lambda name: (int(name), name)) if whole else sorted(names))
    return vocabulary


def _ids(labels: Collection[str | None], names: tuple[str, ...], where: str) -> Int[np.ndarray, "samples"]:
    """The position of each label in `names`, -1 for None."""
    position: dict[str | None, int] = {name: number for number, name in enumerate(names)} | {None: UNLABELLED}
    unknown = sorted({label for label in labels if label is not None and label not in position})
    if unknown:
        raise DataError(
            f"{where}: labels that the training data does not have: {_few(unknown)}. "
            f"It has {_few(names) or 'none'}. Rename them, or move these samples away"
        )
    return np.fromiter((position[label] for label in labels), np.int64, len(labels))


def _few(names: Sequence[str], most: int = 10) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
