from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image
from torch import Tensor

from jepa_core.errors import UnreadableSample
from jepa_video.decoding import open_video

WriteVideo = Callable[..., str]
NumbersIn = Callable[[Tensor], list[int]]


def reason_of(path: str | Path) -> str:
    with pytest.raises(UnreadableSample) as caught:
        open_video(str(path))
    assert caught.value.where == str(path)
    return caught.value.reason


class TestBadInput:
    @pytest.fixture(autouse=True)
    def _silent(self, capfd: pytest.CaptureFixture[str]):
        yield
        assert capfd.readouterr() == ("", "")  # FFmpeg and decord write to the process's own stderr

    def test_missing(self, tmp_path: Path):
        assert reason_of(tmp_path / "no such.mp4") == "does not exist"

    def test_empty(self, tmp_path: Path):
        (tmp_path / "empty.mp4").touch()
        assert reason_of(tmp_path / "empty.mp4") == "the file is empty"

    @pytest.mark.parametrize("name", ["text.mp4", "text.txt", "text"])
    def test_text(self, name: str, tmp_path: Path):
        (tmp_path / name).write_text("frame 1\n" * 200)
        assert "no video" in reason_of(tmp_path / name)

    def test_noise(self, tmp_path: Path):
        (tmp_path / "noise.mp4").write_bytes(random.Random(0).randbytes(5000))
        assert "no video of a known format" in reason_of(tmp_path / "noise.mp4")

    @pytest.mark.parametrize("cover", [False, True])
    def test_sound_alone(self, cover: bool, tmp_path: Path):
        path = tmp_path / "sound.mp4"
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream("aac", rate=16000)
            picture: Any = container.add_stream("mjpeg", rate=1) if cover else None
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
            sound.rate = 16000
            if picture:
                picture.width = picture.height = 16
                picture.pix_fmt = "yuvj420p"
                picture.disposition = Disposition.attached_pic.value
                container.mux(picture.encode(av.VideoFrame(16, 16, "yuvj420p")))
                container.mux(picture.encode())
            container.mux(stream.encode(sound))
            container.mux(stream.encode())
        assert "has no video stream" in reason_of(path)

    def test_a_folder_without_pictures(self, tmp_path: Path):
        (tmp_path / "notes.txt").touch()
        assert "without pictures" in reason_of(tmp_path)

    @pytest.mark.parametrize("name", ["clip.txt", "no suffix", "umlaut ä, comma.mp4"])
    def test_a_video_of_any_name_is_read(
        self, name: str, write_video: WriteVideo, numbers_in: NumbersIn, tmp_path: Path
    ):
        shutil.copy(write_video("h264.mp4"), tmp_path / name)
        with open_video(str(tmp_path / name)) as opened:
            assert numbers_in(opened.read([20, 3])) == [20, 3]

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_not_permitted(self, write_video: WriteVideo, tmp_path: Path):
        locked = tmp_path / "locked.mp4"
        shutil.copy(write_video("h264.mp4"), locked)
        locked.chmod(0)
        assert reason_of(locked) == "Permission denied"


class TestPictures:
    def write(self, folder: Path, *names: str, size: tuple[int, int] = (6, 4)) -> None:
        for number, name in enumerate(names):
            Image.new("RGB", size, (number, 10, 20)).save(folder / name)

    def test_a_folder_is_a_video_in_the_natural_order_of_names(self, tmp_path: Path):
        self.write(tmp_path, "frame_2.png", "frame_10.png", "frame_1.PNG", ".hidden.png")
        (tmp_path / "notes.txt").touch()
        with open_video(str(tmp_path)) as opened:
            assert (opened.num_frames, opened.timestamps, opened.fps, opened.still) == (3, None, None, False)
            assert opened.read([0, 1, 2])[:, 0, 0, 0].tolist() == [2, 0, 1]
            assert opened.read([2, 0]).shape == (2, 3, 4, 6)

    def test_pictures_of_different_sizes_are_named(self, tmp_path: Path):
        self.write(tmp_path, "1.png", "2.png")
        self.write(tmp_path, "3.png", size=(7, 4))
        with pytest.raises(UnreadableSample, match=r"3\.png: is 7 x 4, unlike 6 x 4"):
            open_video(str(tmp_path)).read([0, 2])

    @pytest.mark.parametrize(("content", "reason"), [(b"", "the file is empty"), (b"no picture", "no picture of a")])
    def test_a_broken_picture_is_named(self, content: bytes, reason: str, tmp_path: Path):
        self.write(tmp_path, "1.png")
        (tmp_path / "2.png").write_bytes(content)
        with pytest.raises(UnreadableSample, match=f"2.png: {reason}"):
            open_video(str(tmp_path)).read([0, 1])

    def test_a_truncated_picture_is_named(self, tmp_path: Path):
        Image.effect_noise((64, 64), 50).save(tmp_path / "1.png")
        content = (tmp_path / "1.png").read_bytes()
        (tmp_path / "1.png").write_bytes(content[: len(content) // 2])
        with pytest.raises(UnreadableSample, match=r"1\.png: "):
            open_video(str(tmp_path / "1.png")).read([0])

    def test_a_single_picture_stands_still(self, tmp_path: Path):
        self.write(tmp_path, "one.png")
        with open_video(str(tmp_path / "one.png")) as opened:
            assert (opened.still, opened.num_frames) == (True, 1)
            assert opened.read([0, 0]).shape == (2, 3, 4, 6)

    def test_a_picture_with_the_name_of_a_video_stands_still(self, tmp_path: Path):
        self.write(tmp_path, "one.png")
        (tmp_path / "one.png").rename(tmp_path / "one.mp4")
        assert open_video(str(tmp_path / "one.mp4")).still

    def test_transparency_is_laid_over_white_and_orientation_followed(self, tmp_path: Path):
        Image.new("RGBA", (6, 4), (0, 0, 0, 0)).save(tmp_path / "clear.png")
        assert open_video(str(tmp_path / "clear.png")).read([0]).min() == 255
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (6, 4)).save(tmp_path / "turned.jpg", exif=exif)
        assert open_video(str(tmp_path / "turned.jpg")).read([0]).shape == (1, 3, 6, 4)
