"""Small sound files for the tests of the plugin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

WriteSound = Callable[..., str]


def sound_of(seconds: float, rate: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Tones that come and go over a little noise, below 3 kHz: (samples, channels) float32, at most .9."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    columns = [
        sum(
            0.2 * np.sin(2 * np.pi * (pitch * time + 20 * np.sin(time * speed)))
            for pitch, speed in zip(random.uniform(200, 2500, 3), random.uniform(1, 4, 3), strict=True)
        )
        for _ in range(channels)
    ]
    noise = 1e-3 * random.standard_normal((len(time), channels))
    return (np.stack(columns, axis=1) * (0.6 + 0.4 * np.sin(3 * time))[:, None] + noise).astype(np.float32)


@pytest.fixture(scope="session")
def write_sound(tmp_path_factory: pytest.TempPathFactory) -> WriteSound:
    """`write_sound("a.ogg", seconds=1.0, rate=48_000)` writes a file, once per session and set of arguments."""
    known = dict[str, str]()

    def write(
        name: str,
        seconds: float = 1.0,
        rate: int = 16_000,
        channels: int = 1,
        subtype: str | None = None,
        kind: str | None = None,
        values: np.ndarray | None = None,
        seed: int = 0,
    ) -> str:
        key = repr((name, seconds, rate, channels, subtype, kind, None if values is None else values.tobytes(), seed))
        if key not in known:
            path = tmp_path_factory.mktemp("sounds") / name
            samples = sound_of(seconds, rate, channels, seed) if values is None else values
            soundfile.write(path, samples, rate, subtype=subtype, format=kind)
            known[key] = str(path)
        return known[key]

    return write


@pytest.fixture
def cut_in_half(tmp_path: Path) -> Callable[[str], str]:
    """The first half of a file's bytes, under the same name."""

    def cut(path: str) -> str:
        content = Path(path).read_bytes()
        half = tmp_path / Path(path).name
        half.write_bytes(content[: len(content) // 2])
        return str(half)

    return cut
