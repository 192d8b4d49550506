from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from jepa_core.types import Player
from jepa_video.config import VideoConfig
from jepa_video.decoding import open_video
from jepa_video.plugin import video

WriteVideo = Callable[..., str]
NumbersIn = Callable[[Tensor], list[int]]
PLENTY = 1_000_000


def section(**values: Any) -> VideoConfig:
    return VideoConfig.model_validate({"frames": 4, "stride": 2, "size": (48, 64), "patch": (8, 8)} | values)


def moving(player: Player | None) -> tuple[Tensor, list[int]]:
    """Frames (T, 3, H, W) of a player that starts again at its end, and how long each lasts in milliseconds."""
    assert player
    assert player.mime == "image/webp"
    with Image.open(io.BytesIO(player.content)) as picture:
        frames: list[np.ndarray] = []
        durations: list[int] = []
        for number in range(getattr(picture, "n_frames", 1)):
            picture.seek(number)
            frames.append(np.asarray(picture.convert("RGB")))
            durations.append(picture.info.get("duration", 0))
        assert len(frames) == 1 or picture.info["loop"] == 0  # for ever
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2), durations


@pytest.mark.parametrize(
    ("values", "numbers", "milliseconds"),
    [
        ({}, [9, 11, 13, 15], 80),
        ({"clips": 2}, [4, 6, 8, 10], 80),
        ({"stride": 1}, [10, 11, 12, 13], 40),
        ({"stride": None, "fps": 12.5}, [8, 10, 12, 14], 80),
        ({"channels": 1, "mean": (0.3,), "std": (0.5,)}, [9, 11, 13, 15], 80),
    ],
    ids=str,
)
def test_what_moves_is_the_first_clip_that_evaluation_sees_in_its_own_time(
    write_video: WriteVideo, numbers_in: NumbersIn, values: dict[str, Any], numbers: list[int], milliseconds: int
):
    frames, durations = moving(video.player(section(**values), open_video(write_video("a.mp4")), PLENTY))
    assert frames.shape[1:] == (3, 48, 64)
    assert numbers_in(frames) == numbers
    assert durations == [milliseconds] * len(numbers)


def test_large_clips_are_made_smaller_and_what_does_not_fit_smaller_still(write_video: WriteVideo):
    path, config = write_video("large.mp4", size=(160, 256)), section(size=(160, 256))
    whole = video.player(config, open_video(path), PLENTY)
    assert moving(whole)[0].shape[2:] == (80, 128)
    assert whole
    smaller = video.player(config, open_video(path), len(whole.content) - 1)
    assert smaller
    assert len(smaller.content) < len(whole.content)
    assert moving(smaller)[0].shape[2:] == (60, 96)
    assert video.player(config, open_video(path), 100) is None


def test_a_single_picture_stands_still(tmp_path: Path):
    Image.new("RGB", (64, 48), (200, 30, 30)).save(tmp_path / "still.png")
    frames, _ = moving(video.player(section(), open_video(str(tmp_path / "still.png")), PLENTY))
    assert len(frames) == 1
    assert frames.float().mean((0, 2, 3)).sub(torch.tensor([200, 30, 30])).abs().max() < 12
