"""Where an error comes from: the innermost place in a plugin's own code, or else in the code that called it."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path

_KIT = __package__ or ""
_RAISED_FOR_OTHERS = ("require",)
"""Functions that say where a promise is broken on behalf of who calls them."""


@dataclass(frozen=True)
class Origin:
    """What tells an error from others; two that are equal are one."""

    error: str
    """The type of the error, and what it said."""
    place: str
    """Of the innermost call: "package/file.py:12, function"; empty where only a check looked at what it was given."""
    is_own: bool = field(compare=False)
    """Whether that call is in the plugin."""


@dataclass(frozen=True)
class _Call:
    """A function that an error went through."""

    module: str
    path: Path
    line: int
    function: str

    @property
    def in_kit(self) -> bool:
        return self.module.startswith(_KIT)

    def __str__(self) -> str:
        """The file as its package names it; that of a notebook or a script has its name alone."""
        kept = self.module.count(".") + 1 + (self.path.stem == "__init__")
        return f"{'/'.join(self.path.parts[-kept:])}:{self.line}, {self.function}"


def origin_of(error: BaseException, packages: Set[str]) -> Origin:
    """Where it was raised.

    Args:
        error: as it was caught.
        packages: top-level packages of the plugin; of the core's own plugins, the kit itself is left out.
    """
    said = f"{type(error).__name__}: {error}"
    calls = [each for each in _calls(error) if each.function not in _RAISED_FOR_OTHERS]
    own = [each for each in calls if each.module.partition(".")[0] in packages and not each.in_kit]
    if own:
        return Origin(said, str(own[-1]), is_own=True)
    looked_at = not calls or (calls[-1].in_kit and not isinstance(error, AssertionError))
    return Origin(said, "" if looked_at else str(calls[-1]), is_own=False)


def _calls(error: BaseException) -> Iterator[_Call]:
    for scope, line in traceback.walk_tb(error.__traceback__):
        code = scope.f_code
        yield _Call(scope.f_globals.get("__name__", ""), Path(code.co_filename), line, code.co_name)
