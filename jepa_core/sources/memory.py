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
_LARGEST = 1 / 16
"""Share of the memory that one file may take: a longer one takes long to decode, and pushes out many."""

log = logging.getLogger(__name__)


class Keepable(Protocol):
    """A raw sample that is an open file, and can be decoded as a whole."""

    @property
    def decoded_bytes(self) -> int:
        """What `keep` will need; known without decoding it all. Raises UnreadableSample."""
        ...

    def keep(self) -> Callable[[], Any] | None:
        """Decode it all: makes samples of what is in memory, as often as it is called, each of which may be closed.

        None where a part of the whole is not, bit for bit, what is decoded when only that part is asked for.

        Raises:
            UnreadableSample: where any part is damaged.
        """
        ...

    def close(self) -> None:
        """Free everything; may be called twice."""
        ...


@dataclass
class _Memory:
    """Of one process and one way to read: what is kept, by path."""

    room: float
    """Bytes that are left."""
    largest: float
    """Bytes that one file may take."""
    kept: dict[str, Callable[[], Any]] = field(default_factory=dict)
    once: set[str] = field(default_factory=set)
    """Read once: what comes again is worth decoding as a whole, and much never does."""
    left_out: set[str] = field(default_factory=set)
    """What does not fit, or cannot be kept."""
    is_full: bool = False

    def read(self, path: str, read: Read) -> Any:
        if (make := self.kept.get(path)) is not None:
            return make()
        if path in self.once and path not in self.left_out:
            make = self._kept(path, read(path))
            if make is not None:
                self.kept[path] = make
                return make()
            self.left_out.add(path)
        self.once.add(path)
        return read(path)

    def _kept(self, path: str, raw: Any) -> Callable[[], Any] | None:
        """What makes samples of the whole file; None where it does not fit or cannot be kept."""
        if isinstance(raw, Tensor | np.ndarray):
            own = _copy(raw)  # of the file alone, without what it may be a view of
            return partial(_copy, own) if self._takes(path, own.nbytes) else None
        if not hasattr(type(raw), "keep"):
            raise ConfigError(
                f"modality.keep_gib: what this modality reads ({type(raw).__name__}) is no tensor, no array and not "
                "Keepable, so it cannot be kept. Set it to 0; its author can say how: jepa_core.sources.Keepable"
            )
        try:
            return raw.keep() if self._takes(path, raw.decoded_bytes) else None
        except UnreadableSample:
            return None
        finally:
            raw.close()

    def _takes(self, path: str, size: int) -> bool:
        """Whether there is room, which is then taken."""
        fits = size <= min(self.room, self.largest)
        if fits:
            self.room -= size
        elif not self.is_full:
            self.is_full = True
            log.warning(
                "modality.keep_gib: %d files are kept, and there is no room for the %.3g GiB of %s (a file may take a "
                "sixteenth of all). Files that do not fit are read every time; a larger modality.keep_gib holds more",
                len(self.kept),
                size / _GIB,
                path,
            )
        return fits


_memories = dict[bytes, _Memory]()
"""By how files are read and how much may be kept. At most one: another configuration begins anew."""


@dataclass(frozen=True)
class Remembered:
    """Reads files, and keeps those that come again. The memory is the process's; a pickle of this holds none of it."""

    read: Read
    room: float
    """Bytes that may be kept."""
    identity: bytes
    """Of the way to read."""

    def __call__(self, path: str) -> Any:
        """The sample of a file; raises what `read` does."""
        memory = _memories.get(self.identity)
        if memory is None:
            _memories.clear()
            memory = _memories[self.identity] = _Memory(self.room, self.room * _LARGEST)
        return memory.read(path, self.read)


def remembered(read: Read, gib: float) -> Read:
    """`read`, with up to `gib` GiB of decoded files kept in this process from the second reading on; `read` for 0.

    The memory is shared by pretraining, evaluation, and the cells of a study that run in this process one after the
    other; asking for another one, or for none, frees it. Files that are changed meanwhile are not noticed.

    Args:
        read: to be called with a path, and picklable; it returns a tensor, an array, or what is `Keepable`.
        gib: see `modality.keep_gib`.

    Raises:
        ConfigError: `read` cannot be pickled.
    """
    if not gib:
        _memories.clear()
        return read
    try:
        identity = pickle.dumps((read, gib))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"modality.keep_gib: this modality reads with something that cannot be pickled ({error}). Set it to 0"
        ) from error
    if identity not in _memories:
        _memories.clear()
    return Remembered(read, gib * _GIB, identity)


def _copy(raw: Any) -> Any:
    """A sample of one's own, which a transform may change."""
    return raw.clone() if isinstance(raw, Tensor) else np.array(raw)
