from __future__ import annotations

import os
import pickle
import random
import shutil
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.stream import Disposition
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from jepa_core.errors import UnreadableSample
from jepa_video.decoding import backends, open_video

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

    def test_a_title_in_latin_1_is_read(self, write_video: WriteVideo, numbers_in: NumbersIn, tmp_path: Path):
        content = Path(write_video("titled.mkv")).read_bytes()
        assert b"Lavf" in content  # what FFmpeg writes into the tag ENCODER
        path = tmp_path / "titled.mkv"
        path.write_bytes(content.replace(b"Lavf", b"Lav\xe9"))
        with open_video(str(path)) as opened:
            assert numbers_in(opened.read([20, 3])) == [20, 3]

    @pytest.mark.skipif(sys.platform != "linux", reason="names of files are UTF-8")
    def test_a_name_that_is_no_utf_8_is_read(self, write_video: WriteVideo, numbers_in: NumbersIn, tmp_path: Path):
        path = os.path.join(tmp_path, os.fsdecode(b"caf\xe9.mp4"))
        shutil.copy(write_video("h264.mp4"), path)
        with open_video(path) as opened:
            assert numbers_in(opened.read([20, 3])) == [20, 3]
        if backends.why_not("decord") is None:
            with pytest.raises(UnreadableSample, match="path that is not UTF-8: set modality"):
                open_video(path, "decord")

    @pytest.mark.parametrize("place", ["jepa_video.decoding.video.read_index", "jepa_video.decoding.video.frames_in"])
    @pytest.mark.parametrize(("error", "reason"), [(OSError(13, "no entry"), "no entry"), (OSError(), "OSError")])
    def test_what_the_system_refuses_names_the_file(
        self,
        place: str,
        error: OSError,
        reason: str,
        write_video: WriteVideo,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ):
        def refuse(*_: Any) -> None:
            raise error

        monkeypatch.setattr(place, refuse)
        assert reason_of(tmp_path if "frames" in place else write_video("h264.mp4")) == reason

    def test_a_picture_that_vanishes_while_it_is_read_is_unreadable(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        path = tmp_path / "vanishes.png"
        path.write_bytes(b"no picture")

        def vanish(_: str) -> None:
            path.unlink()
            raise UnidentifiedImageError

        monkeypatch.setattr(Image, "open", vanish)
        with open_video(str(path)) as opened, pytest.raises(UnreadableSample, match="No such file"):
            opened.read([0])

    def test_what_decord_fails_with_while_it_is_checked_is_a_reason(
        self, write_video: WriteVideo, monkeypatch: pytest.MonkeyPatch
    ):
        decord = pytest.importorskip("decord")

        def fail(*_: Any) -> None:
            raise decord.DECORDError("no times")

        monkeypatch.setattr(decord.VideoReader, "get_frame_timestamp", fail)
        with pytest.raises(UnreadableSample, match="decord: no times: set modality"):
            open_video(write_video("h264.mp4"), "decord")

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

    @pytest.mark.parametrize("error", [struct.error("short"), zlib.error("short"), OverflowError("short")])
    def test_whatever_pillow_fails_with_names_the_picture(
        self, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        def fail(_: str) -> None:
            raise error

        self.write(tmp_path, "1.png")
        monkeypatch.setattr(Image, "open", fail)
        with pytest.raises(UnreadableSample, match=r"1\.png: short"):
            open_video(str(tmp_path / "1.png")).read([0])

    def test_grey_of_16_bits_keeps_its_shades(self, tmp_path: Path):
        Image.fromarray(np.array([[0, 0x1234, 0x80FF, 0xFFFF]], np.uint16)).save(tmp_path / "deep.tif")
        frames = open_video(str(tmp_path / "deep.tif")).read([0])
        assert frames.dtype == torch.uint8
        assert frames[0, :, 0].tolist() == [[0, 0x12, 0x80, 0xFF]] * 3

    @pytest.mark.parametrize("mode", ["I", "F"])
    def test_grey_of_32_bits_is_refused(self, mode: str, tmp_path: Path):
        Image.new(mode, (4, 4), 300).save(tmp_path / "deep.tif")
        with pytest.raises(UnreadableSample, match=f"mode {mode}.* of unknown range"):
            open_video(str(tmp_path / "deep.tif")).read([0])

    def test_a_folder_of_known_rate_has_times(self, tmp_path: Path):
        self.write(tmp_path, "1.png", "2.png", "3.png")
        opened = pickle.loads(pickle.dumps(open_video(str(tmp_path), pictures_fps=8.0)))
        assert (opened.timestamps.tolist(), opened.fps) == ([0, 0.125, 0.25], 8)

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
