"""Files that stay in memory, decoded: for data that fits, and is gone through many times."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from jepa_core.errors import ConfigError, UnreadableSample
from jepa_core.sources.files import Read

_GIB = 2**30

log = logging.getLogger(__name__)


class Keepable(Protocol):
    """A raw sample that is an open file, and can be decoded as a whole."""

    @property
    def decoded_bytes(self) -> int:
        """What `keep` will need; known without decoding it all. Raises UnreadableSample."""
        ...

    def keep(self) -> Callable[[], Any]:
        """Decode it all, and close the file: makes samples of what is in memory, each of which may be closed.

        Raises:
            UnreadableSample: where any part is damaged.
        """
        ...


@dataclass
class _Memory:
    """Of one process and one way to read: what is kept, by path."""

    room: float
    """Bytes that are left."""
    kept: dict[str, Callable[[], Any]] = field(default_factory=dict)
    left_out: set[str] = field(default_factory=set)
    """What did not fit, or is damaged in a part that nobody may want."""

    def read(self, path: str, read: Read) -> Any:
        if (make := self.kept.get(path)) is not None:
            return make()
        raw = read(path)
        if path in self.left_out:
            return raw
        try:
            self.kept[path] = make = self._keep(raw)
        except (UnreadableSample, MemoryError) as error:
            self._leave_out(path, error)
            return read(path)
        return make()

    def _keep(self, raw: Any) -> Callable[[], Any]:
        plain = isinstance(raw, Tensor | np.ndarray)
        if not plain and not hasattr(type(raw), "keep"):
            raise ConfigError(
                f"modality.keep_gib: what this modality reads ({type(raw).__name__}) is no tensor, no array and not "
                "Keepable, so it cannot be kept. Set it to 0; its author can say how: jepa_core.sources.Keepable"
            )
        size = raw.nbytes if plain else raw.decoded_bytes
        if size > self.room:
            raise MemoryError(f"{size / _GIB:.3g} GiB more do not fit")
        make = partial(_same, raw) if plain else raw.keep()
        self.room -= size
        return make

    def _leave_out(self, path: str, error: Exception) -> None:
        if not self.left_out and isinstance(error, MemoryError):
            log.warning(
                "modality.keep_gib: %d files fill it, and %s of %s; it and others that do not fit are read every time",
                len(self.kept),
                error,
                path,
            )
        self.left_out.add(path)


_memories = dict[bytes, _Memory]()
"""By how files are read and how much may be kept. At most one: another configuration begins anew."""


@dataclass(frozen=True)
class Remembered:
    """Reads a file once and keeps it. The memory belongs to the process; a pickle of this holds none of it."""

    read: Read
    gib: float
    """How much may be kept."""

    def __call__(self, path: str) -> Any:
        """The sample of a file; raises what `read` does."""
        identity = pickle.dumps((self.read, self.gib))
        if identity not in _memories:
            _memories.clear()
            _memories[identity] = _Memory(self.gib * _GIB)
        return _memories[identity].read(path, self.read)


def remembered(read: Read, gib: float) -> Read:
    """`read`, with up to `gib` GiB of decoded files kept in this process; `read` itself for 0.

    It is shared by pretraining and evaluation, and by the cells of a study that run in this process one after the
    other. Files that are changed meanwhile are not noticed.

    Args:
        read: to be called with a path; what it returns is `Keepable`, or a tensor or an array, which no transform may
            change.
        gib: see `modality.keep_gib`.
    """
    return Remembered(read, gib) if gib else read


def _same(raw: Any) -> Any:
    return raw
