"""Samples that are files, of a folder, a manifest or a single path, and the ids of their classes."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from jepa_core.errors import DataError, UsageError
from jepa_core.plugin import Labels
from jepa_core.sources import manifests
from jepa_core.sources.kinds import FileKind
from jepa_core.sources.manifests import Manifest, read_manifest
from jepa_core.sources.paths import PathTable, class_folders, find_samples, is_folder_sample

HEADING = "label"
"""The heading of the labels of class folders."""
UNLABELLED = -1
"""The id of a sample without a label."""

Read = Callable[[str], Any]
"""From a path to a raw sample; raises UnreadableSample. Travels to loader processes, so it can be pickled."""
Vocabulary = Mapping[str, tuple[str, ...]]
"""Class names by heading, in the order of their ids."""

log = logging.getLogger(__name__)


class FileSource:
    """Files: only paths and labels in memory; a file is opened in `read`."""

    def __init__(self, root: str, paths: PathTable, read: Read, labels: Mapping[str, Labels] | None = None) -> None:
        """`paths` are relative to `root`, or absolute."""
        self.root, self.paths = root, paths
        self._read = read
        self._labels = dict(labels or {})

    @property
    def labels(self) -> Mapping[str, Labels]:
        """By heading; an id of -1 stands for a sample without a label."""
        return self._labels

    def __len__(self) -> int:
        """Number of files."""
        return len(self.paths)

    def read(self, index: int) -> Any:
        """What the reader makes of the file; raises UnreadableSample."""
        return self._read(self.where(index))

    def where(self, index: int) -> str:
        """The file's path."""
        return os.path.join(self.root, self.paths[index])


def open_path(
    path: str,
    kind: FileKind,
    read: Read,
    headings: Sequence[str] | None = None,
    vocabulary: Vocabulary | None = None,
) -> FileSource:
    """The samples of a folder, of a manifest, or of a single file.

    Every sample below a folder is taken; its first-level folders are the classes, unless samples lie beside them. A
    manifest is a .csv or .parquet table with a column `path`, relative to the table, and columns of labels.

    Args:
        path: what the user named.
        kind: which files are samples.
        read: opens one of them.
        headings: the columns of a manifest that are labels; None for all.
        vocabulary: fixes the ids of the classes ({}: there are no labels); without it they are those of `path`.

    Raises:
        UsageError: for a path that does not exist.
        DataError: for a path without samples, or with labels that `vocabulary` does not know.
    """
    path = _existing(path, kind)
    if os.path.isdir(path) and not is_folder_sample(path, kind):
        return _open_folder(path, kind, read, vocabulary)
    if _is_manifest(path):
        return _open_manifest(path, read, headings, vocabulary)
    return FileSource("", PathTable.of([path]), read)


def vocabulary_of(path: str, kind: FileKind, headings: Sequence[str] | None = None) -> Vocabulary:
    """The classes of a folder or manifest, without looking at its samples."""
    path = _existing(path, kind)
    if os.path.isdir(path):
        folders = class_folders(path, kind)
        return {HEADING: folders} if folders else {}
    return _vocabulary(read_manifest(path, headings)) if _is_manifest(path) else {}


def _open_folder(root: str, kind: FileKind, read: Read, vocabulary: Vocabulary | None) -> FileSource:
    folders = class_folders(root, kind)
    paths = PathTable.of(find_samples(root, kind))
    if not len(paths):
        raise DataError(f"{root}: no {kind.plural} in this folder. Known are {' '.join(kind.suffixes)}")
    vocabulary = {HEADING: folders} if vocabulary is None else vocabulary
    labels = {}
    if folders and vocabulary:
        names = vocabulary.get(HEADING, ())
        own = [path.split(os.sep, 1)[0] for path in paths]
        labels = {HEADING: Labels(_ids(own, names, where=root), names)}
        absent = sorted(set(names) - set(folders))
        if absent:
            log.warning("%s: no folder for %d of the training data's classes: %s", root, len(absent), _few(absent))
    return FileSource(root, paths, read, labels)


def _open_manifest(path: str, read: Read, headings: Sequence[str] | None, vocabulary: Vocabulary | None) -> FileSource:
    manifest = read_manifest(path, headings if vocabulary is None else tuple(vocabulary))
    labels = {
        heading: Labels(_ids(manifest.labels[heading], names, where=f"{path}, column {heading}"), names)
        for heading, names in (_vocabulary(manifest) if vocabulary is None else vocabulary).items()
    }
    return FileSource(str(Path(path).parent), PathTable.of(manifest.iter_paths()), read, labels)


def _is_manifest(path: str) -> bool:
    return path.lower().endswith(manifests.SUFFIXES)


def _existing(path: str, kind: FileKind) -> str:
    path = os.path.expanduser(path)
    if not os.path.exists(path):
        expected = f"a folder of {kind.plural}, a manifest ({' or '.join(manifests.SUFFIXES)}) or one {kind.singular}"
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
