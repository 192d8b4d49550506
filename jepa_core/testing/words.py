"""Parts of the messages of checks."""

from __future__ import annotations

from collections.abc import Sequence


def beginning(items: Sequence[object], most: int = 8) -> str:
    """The first of many things, for a message.

    >>> beginning(range(100), most=3)
    '0, 1, 2 ...'
    """
    return ", ".join(map(str, items[:most])) + (" ..." if len(items) > most else "")
