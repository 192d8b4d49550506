"""Many paths in little memory, and finding them."""

from __future__ import annotations

import logging
import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np

from jepa_core.errors import DataError, UsageError
from jepa_core.sources.kinds import FileKind

SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})
"""Names of folders that are taken for splits, not for classes."""

log = logging.getLogger(__name__)


class PathTable:
    """Paths as one block of bytes and one integer each.

    A Python list of a million strings costs about 100 MB in every worker, because reading a string writes its
    reference count and so copies its page (pytorch issue 13246); this costs the characters and 8 bytes a path, and is
    shared between forked workers.
    """

    def __init__(self, characters: np.ndarray, ends: np.ndarray) -> None:
        """`characters` is (bytes,) uint8; `ends` is (paths,) int64, where each path ends."""
        self._characters, self._ends = characters, ends

    @classmethod
    def of(cls, paths: Iterable[str]) -> PathTable:
        """The table of `paths`, which may be a generator."""
        characters, ends = bytearray(), array("q")
        for path in paths:
            characters += os.fsencode(path)
            ends.append(len(characters))
        return cls(np.frombuffer(bytes(characters), np.uint8), np.frombuffer(ends, np.int64))

    def __len__(self) -> int:
        """Number of paths."""
        return len(self._ends)

    def __getitem__(self, index: int) -> str:
        """The path at `index`, from 0."""
        start = self._ends[index - 1] if index else 0
        return os.fsdecode(self._characters[start : self._ends[index]].tobytes())

    @property
    def nbytes(self) -> int:
        """Memory of the table."""
        return self._characters.nbytes + self._ends.nbytes


def is_folder_sample(folder: str, kind: FileKind) -> bool:
    """Whether a folder is itself one sample, see `FileKind.takes_folder`."""
    if not kind.folder_suffixes:
        return False
    children = _listed(folder)
    return not any(child.is_dir() for child in children) and kind.takes_folder(child.name for child in children)


def class_folders(root: str, kind: FileKind) -> tuple[str, ...]:
    """The names of the class folders in alphabetical order; empty where `root` is unlabelled.

    It is unlabelled when it holds fewer than two folders, or a sample of its own beside them.
    """
    children = _listed(root)
    folders = sorted(child.name for child in children if child.is_dir())
    loose = any(kind.takes(child.name) and child.is_file() for child in children)
    if len(folders) < 2 or loose or any(is_folder_sample(os.path.join(root, name), kind) for name in folders):
        return ()
    if {folder.lower() for folder in folders} <= SPLITS:
        raise UsageError(
            f"{root}: its folders ({', '.join(folders)}) are splits, not classes. Name one of them, "
            f"for example {Path(root, folders[0])}"
        )
    return tuple(folders)


def find_samples(root: str, kind: FileKind) -> Iterator[str]:
    """Paths of the files and folders below `root` that are samples, relative to it, in a fixed order.

    Hidden files and folders are passed over, and so are files of other kinds, with a count in the log. Symbolic links
    are followed unless they lead back to a folder that they are in. Raises DataError for a folder that cannot be
    listed: a sample that is left out in silence would change what an index means.
    """
    others, whole = Counter[str](), 0
    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=_refuse):
        here, below = Path(folder).resolve(), os.path.relpath(folder, root)
        subfolders[:] = sorted(
            name for name in subfolders if not name.startswith(".") and not _leads_back(folder, name, here)
        )
        if not subfolders and kind.takes_folder(files):
            whole += 1
            yield below
            continue
        for name in sorted(files):
            if kind.takes(name):
                yield name if below == os.curdir else os.path.join(below, name)
            elif not name.startswith("."):
                others[Path(name).suffix.lower() or "no suffix"] += 1
    if whole:
        log.info("%s: %d folders without subfolders are one %s each", root, whole, kind.singular)
    if others:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(5))
        log.warning("%s: files that are no known %s are passed over: %s", root, kind.plural, kinds)


def _listed(folder: str) -> list[os.DirEntry[str]]:
    """What a folder holds and does not hide."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        _refuse(error)


def _refuse(error: OSError) -> NoReturn:
    raise DataError(f"{error.filename}: cannot be listed ({error.strerror}). Check its permissions.") from error


def _leads_back(folder: str, name: str, here: Path) -> bool:
    """Whether a subfolder is a link to one of its own ancestors."""
    path = Path(folder, name)
    return path.is_symlink() and path.resolve() in (here, *here.parents)
