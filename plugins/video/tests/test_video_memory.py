from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jepa_core.crops import Normalise
from jepa_core.errors import UnreadableSample
from jepa_video.clips import ClipFrames
from jepa_video.decoding import backends, open_video
from jepa_video.transforms import Finish, TrainingTransform

WriteVideo = Callable[..., str]

BACKENDS = ["pyav", *(name for name in backends.OPTIONAL if not backends.why_not(name))]
TRAINING = TrainingTransform(
    ClipFrames(8, stride=2), (56, 56), (0.3, 1.0), (0.75, 1.35), 0.5, "bilinear", Finish(3, Normalise((0.0,), (1.0,)))
)
CLIP_BYTES = 8 * 3 * 120 * 160
"""Decoded; what leaks is a share of it."""

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="measures memory as Linux tells it")


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def grown(work: Callable[[], None], times: int) -> int:
    """Bytes that repeating some work adds, after the first repetitions have filled every pool."""
    for _ in range(30):
        work()
    before = resident_bytes()
    for _ in range(times):
        work()
    return resident_bytes() - before


@pytest.mark.parametrize("backend", BACKENDS)
def test_clips_leave_no_memory_behind(backend: str, write_video: WriteVideo):
    path, generator = write_video("memory.mp4", size=(120, 160)), torch.Generator().manual_seed(0)

    def read() -> None:
        TRAINING(open_video(path, backend), generator)

    # 150 leaked clips would be 69 MB, and 150 leaked decoders, which hold frames too, about as much.
    assert grown(read, 150) < 20 * CLIP_BYTES


@pytest.mark.parametrize("backend", BACKENDS)
def test_failures_leave_no_memory_behind(backend: str, write_video: WriteVideo, tmp_path: Path):
    content = Path(write_video("memory.mkv", size=(120, 160))).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(content[: len(content) * 6 // 10])
    too_long = replace(TRAINING, clip=ClipFrames(100, short="skip"))

    def fail() -> None:
        with pytest.raises(UnreadableSample):
            open_video(str(tmp_path / "cut.mkv"), backend)
        with pytest.raises(UnreadableSample):
            too_long(open_video(write_video("memory.mkv", size=(120, 160)), backend), torch.Generator())

    assert grown(fail, 70) < 20 * CLIP_BYTES
