"""The back ends, and which of them work on this machine."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import cast

from jepa_core.errors import MissingDependency, UnreadableSample
from jepa_video.decoding.index import FrameIndex
from jepa_video.decoding.reader import Reader, Unsuited

Opener = Callable[[str, FrameIndex], Reader]
"""From a path and its index to a reader; raises Unsuited."""

# By name: distribution, module and class of the reader. PyAV is not among them: the package needs it, every file goes
# through its index, and `auto` takes it, as the fastest and the one that conceals least.
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
    if backend in {"auto", "pyav"}:
        return None
    if reason := why_not(backend):
        raise MissingDependency(
            f"modality.decoder: {backend} is {reason}. Choose auto or pyav, or mend it: jepa doctor"
        )
    _, module, name = OPTIONAL[backend]
    return cast("Opener", getattr(import_module(module), name))


def named_reader(path: str, index: FrameIndex, make: Opener) -> Reader:
    """The reader of a back end that the configuration names.

    Raises:
        UnreadableSample: for a file of which it would give other frames than those of the index.
    """
    try:
        if index.oddity:
            raise Unsuited(f"only PyAV reads {index.oddity} right")
        return make(path, index)
    except Unsuited as error:
        raise UnreadableSample(path, f"{error}: set modality.decoder to auto or pyav") from error
