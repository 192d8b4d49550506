"""A modality-agnostic JEPA: one core, and a plugin for every kind of signal. Importing it imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jepa_core.frozen import FrozenEncoder, load

__version__ = "0.1.0"
__all__ = ["FrozenEncoder", "__version__", "load"]


def __getattr__(name: str) -> object:
    """`load` and `FrozenEncoder`, imported at first use: they need torch."""
    if name in {"FrozenEncoder", "load"}:
        from jepa_core import frozen

        return getattr(frozen, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
