"""The back ends, and which of them work on this machine."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import cast

from jepa_core.errors import MissingDependency
from jepa_video.decoding.index import FrameIndex
from jepa_video.decoding.reader import Reader

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
