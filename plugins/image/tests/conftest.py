"""Folders of small images for the tests of the plugin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WriteImages = Callable[..., Path]


@pytest.fixture
def write_images(tmp_path: Path) -> WriteImages:
    """`write_images("train", cat=3, dog=2)` makes a folder of .png files per class; "." stands for the root itself."""

    def write(folder: str, size: tuple[int, int] = (12, 10), mode: str = "RGB", **counts: int) -> Path:
        random = np.random.default_rng(0)
        root = tmp_path / folder
        for name, count in counts.items():
            (root / name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                values = random.integers(0, 256, (*size, 3), dtype=np.uint8)
                Image.fromarray(values).convert(mode).save(root / name / f"{number:03}.png")
        return root

    return write
