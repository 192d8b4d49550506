"""Files that a plugin makes at first use, in the user's cache folder."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from jepa_core.errors import DataError


def cached_folder(name: str, fill: Callable[[Path], None]) -> Path:
    """A folder that `fill` has filled once: whole or absent, also when several processes come at once.

    Args:
        name: its place below `JEPA_CACHE`, or else below the user's cache folder; a version belongs into it.
        fill: is given an empty folder to write into.

    Raises:
        DataError: where it cannot be written.
    """
    folder = _root() / name
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=folder.parent))
        try:
            fill(partial)
            partial.chmod(0o755)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        if not folder.is_dir():  # another process was first
            raise DataError(
                f"{folder}: the built-in data cannot be written ({error}). "
                "Free space, or name another folder: JEPA_CACHE=PATH"
            ) from error
    return folder


def _root() -> Path:
    if given := os.environ.get("JEPA_CACHE"):
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jepa"
