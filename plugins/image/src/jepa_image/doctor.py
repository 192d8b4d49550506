"""What `jepa doctor` says of images: which file formats the installed Pillow can read."""

from __future__ import annotations

from collections.abc import Iterator

from PIL import features

from jepa_core.types import Finding

WANTED = {"jpg": "JPEG", "zlib": "PNG", "jpg_2000": "JPEG 2000", "libtiff": "compressed TIFF", "webp": "WebP"}
"""Pillow's name of each optional codec, and what cannot be read without it."""


def findings() -> Iterator[Finding]:
    """One line: a codec that is absent makes files of its format unreadable samples, so it is worth knowing before."""
    absent = [format_ for codec, format_ in WANTED.items() if not features.check(codec)]
    if absent:
        remedy = "Install Pillow's own wheel, which has them: pip install --force-reinstall --only-binary :all: pillow"
        yield Finding("image formats", "warn", f"Pillow cannot read {', '.join(absent)}", remedy)
    else:
        yield Finding("image formats", "ok", f"Pillow reads {', '.join(WANTED.values())}")
