"""The back ends, and which of them work on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import cast

from jaxtyping import UInt8
from torch import Tensor

from jepa_core.errors import MissingDependency, UnreadableSample
from jepa_video.decoding.index import FrameIndex, open_container
from jepa_video.decoding.reader import Reader, Unsuited
from jepa_video.decoding.with_pyav import PyAVReader

Opener = Callable[[str, FrameIndex], Reader]
"""From a path and its index to a reader; raises Unsuited."""

# By name, in the order in which `auto` prefers them: distribution, module and class of the reader. PyAV is not among
# them: the package needs it, and every file goes through its index.
OPTIONAL = {
    "decord": ("decord", "jepa_video.decoding.with_decord", "DecordReader"),
    "torchcodec": ("torchcodec", "jepa_video.decoding.with_torchcodec", "TorchCodecReader"),
}


@cache
def why_not(name: str) -> str | None:
    """What keeps an optional back end from being imported; None where nothing does."""
    distribution, module, _ = OPTIONAL[name]
    try:
        version(distribution)
        import_module(module)
    except PackageNotFoundError:
        return "not installed"
    except (ImportError, OSError, RuntimeError) as error:  # torchcodec without FFmpeg: RuntimeError; decord: OSError
        return f"installed, but cannot be imported: {str(error).strip().splitlines()[0]}"
    return None


def opener(backend: str) -> Opener | None:
    """The class of the reader that `modality.decoder` stands for; None for PyAV.

    Raises:
        MissingDependency: for a back end that is named and does not work.
    """
    if backend == "auto":
        backend = next((name for name in OPTIONAL if why_not(name) is None), "pyav")
    if backend == "pyav":
        return None
    if reason := why_not(backend):
        raise MissingDependency(
            f"modality.decoder: {backend} is {reason}. Choose auto or pyav, or mend it: jepa doctor"
        )
    _, module, name = OPTIONAL[backend]
    return cast("Opener", getattr(import_module(module), name))


def preferred_reader(path: str, index: FrameIndex, backend: str, make: Opener) -> Reader | None:
    """The reader of an optional back end; None where `auto` leaves the file to PyAV."""
    try:
        if index.oddity:
            raise Unsuited(f"only PyAV reads {index.oddity} right")
        reader = make(path, index)
    except Unsuited as error:
        if backend == "auto":
            return None
        raise UnreadableSample(path, f"{error}: set modality.decoder to auto or pyav") from error
    return AutomaticReader(path, index, reader) if backend == "auto" else reader


class AutomaticReader:
    """A back end, and PyAV from the first clip on that it fails to read."""

    def __init__(self, path: str, index: FrameIndex, first: Reader) -> None:
        """`first` is used as long as it reads."""
        self.path, self.index, self._reader = path, index, first

    def read(self, indices: Sequence[int]) -> UInt8[Tensor, "frames 3 height width"]:
        """The frames at strictly increasing indices; raises UnreadableSample, with PyAV's reason."""
        if isinstance(self._reader, PyAVReader):
            return self._reader.read(indices)
        try:
            return self._reader.read(indices)
        except UnreadableSample:
            self._reader.close()
            self._reader = PyAVReader(self.path, self.index, open_container(self.path))
            return self._reader.read(indices)

    def close(self) -> None:
        """Free everything."""
        self._reader.close()
