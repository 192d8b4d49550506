"""Where an error comes from: the innermost place in a plugin's own code, or else in the code that called it."""

from __future__ import annotations

import traceback
from collections.abc import Set
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

_KIT = __package__ or ""
_RAISED_FOR_OTHERS = ("require",)
"""Functions that say where a promise is broken on behalf of who calls them."""


@dataclass(frozen=True)
class Origin:
    """What tells an error from others; two that are equal are one."""

    error: str
    """The type of the error, and what it said."""
    place: str
    """Of the innermost frame: "package/file.py:12, function"; empty where only a check looked at what it was given."""
    is_own: bool = field(compare=False)
    """Whether that frame is in the plugin."""


def origin_of(error: BaseException, packages: Set[str]) -> Origin:
    """Where it was raised.

    Args:
        error: as it was caught.
        packages: top-level packages of the plugin; of the core's own plugins, the kit itself is left out.
    """
    said = f"{type(error).__name__}: {error}"
    frames = [
        each for each in traceback.walk_tb(error.__traceback__) if each[0].f_code.co_name not in _RAISED_FOR_OTHERS
    ]
    own = [each for each in frames if _module(each[0]).partition(".")[0] in packages and not _in_kit(each[0])]
    if own:
        return Origin(said, _place(*own[-1]), is_own=True)
    if not frames or (_in_kit(frames[-1][0]) and not isinstance(error, AssertionError)):
        return Origin(said, "", is_own=False)
    return Origin(said, _place(*frames[-1]), is_own=False)


def _module(frame: FrameType) -> str:
    return frame.f_globals.get("__name__", "")


def _in_kit(frame: FrameType) -> bool:
    return _module(frame).startswith(_KIT)


def _place(frame: FrameType, line: int) -> str:
    """The file as its package names it; that of a cell or a script has its name alone."""
    path, depth = Path(frame.f_code.co_filename), _module(frame).count(".") + 1
    kept = depth + (path.stem == "__init__")
    return f"{'/'.join(path.parts[-kept:])}:{line}, {frame.f_code.co_name}"
