from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jepa_core.plugin import Labels
from jepa_core.sources import open_path
from jepa_video.decoding import Video, open_video
from jepa_video.sources import VIDEOS, ClipSource

WriteVideo = Callable[..., str]


class Videos:
    @property
    def labels(self) -> Mapping[str, Labels]:
        return {"label": Labels(np.array([1, 0, -1]), ("a", "b"))}

    def __len__(self) -> int:
        return 3

    def read(self, index: int) -> Video:
        return Video(self.where(index))

    def where(self, index: int) -> str:
        return f"{index}.mp4"


def test_every_part_of_every_video_is_a_sample_with_its_label():
    source = ClipSource(Videos(), 2)
    read = [source.read(index) for index in range(len(source))]
    assert [(video.path, video.part) for video in read] == [
        (f"{number}.mp4", (part, 2)) for number in range(3) for part in range(2)
    ]
    assert [source.where(index) for index in range(6)] == [video.path for video in read]
    assert source.labels["label"].ids.tolist() == [1, 1, 0, 0, -1, -1]
    assert source.labels["label"].names == ("a", "b")


def test_pickles_with_its_parts():
    assert pickle.loads(pickle.dumps(ClipSource(Videos(), 2))).read(3).part == (1, 2)


@pytest.mark.parametrize("name", ["a.MP4", "b.webm", "c.avi", "d.gif", "e.jpg"])
def test_files_of_a_folder_that_are_samples(name: str):
    assert VIDEOS.takes(name)
    assert not VIDEOS.takes("." + name)
    assert not VIDEOS.takes(name + ".txt")


def test_a_folder_holds_videos_pictures_and_folders_of_frames(write_video: WriteVideo, tmp_path: Path):
    (tmp_path / "c d").mkdir()
    for path in ("c d/1.png", "c d/2.png", "b.png"):
        Image.new("RGB", (8, 6)).save(tmp_path / path)
    (tmp_path / "a.mp4").write_bytes(Path(write_video("h264.mp4")).read_bytes())
    (tmp_path / "notes.txt").touch()
    source: Any = open_path(str(tmp_path), VIDEOS, open_video)
    read = {Path(source.where(index)).name: source.read(index) for index in range(len(source))}
    assert {name: video.num_frames for name, video in read.items()} == {"a.mp4": 24, "b.png": 1, "c d": 2}
    assert [name for name, video in read.items() if video.still] == ["b.png"]


def test_a_manifest_names_any_file(write_video: WriteVideo, tmp_path: Path):
    (tmp_path / "clip one.txt").write_bytes(Path(write_video("h264.mp4")).read_bytes())
    (tmp_path / "list.csv").write_text('path,label\n"clip one.txt",walk\n')
    source = open_path(str(tmp_path / "list.csv"), VIDEOS, open_video)
    assert source.read(0).num_frames == 24
    assert source.labels["label"].names == ("walk",)
