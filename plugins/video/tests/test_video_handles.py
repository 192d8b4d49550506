from __future__ import annotations

import gc
import os
import pickle
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from jepa_core.errors import MissingDependency, UnreadableSample
from jepa_video.decoding import Video, backends, open_video, video
from jepa_video.decoding.index import FrameIndex
from jepa_video.decoding.with_pyav import PyAVReader

WriteVideo = Callable[..., str]
NumbersIn = Callable[[Tensor], list[int]]

GROUPS_OF_8 = {"g": "8"}
OPTIONAL = [
    pytest.param(
        name, marks=pytest.mark.skipif(bool(backends.why_not(name)), reason=f"{name}: {backends.why_not(name)}")
    )
    for name in backends.OPTIONAL
]


class Clips(Dataset[Tensor]):
    def __init__(self, opened: Video) -> None:
        self.opened = opened

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Tensor:
        return self.opened.read([index, 20])


class TestHandles:
    @pytest.mark.parametrize("backend", ["pyav", *OPTIONAL])
    def test_none_crosses_a_fork(self, backend: str, write_video: WriteVideo, numbers_in: NumbersIn):
        opened = open_video(write_video("groups.mp4", options=GROUPS_OF_8), backend)
        opened.read([23])
        loader = DataLoader(Clips(opened), batch_size=None, num_workers=2, multiprocessing_context="fork")
        assert [numbers_in(frames) for frames in loader] == [[index, 20] for index in range(4)]
        assert numbers_in(opened.read([2])) == [2]

    def test_another_process_opens_its_own_and_leaves_the_inherited_one_alone(
        self, write_video: WriteVideo, monkeypatch: pytest.MonkeyPatch
    ):
        opened = open_video(write_video("h264.mp4"), "pyav")
        inherited = opened.open()
        monkeypatch.setattr(os, "getpid", lambda: -1)
        assert opened.open() is not inherited
        assert video._INHERITED[-1] is inherited
        inherited.reader.read([0])

    def test_pickles_as_a_path(self, write_video: WriteVideo, numbers_in: NumbersIn):
        opened = open_video(write_video("h264.mp4"), "pyav")
        opened.part = (1, 3)
        copy = pickle.loads(pickle.dumps(opened))
        assert (copy.path, copy.backend, copy.part) == (opened.path, "pyav", (1, 3))
        assert numbers_in(copy.read([7])) == [7]
        assert len(pickle.dumps(opened)) < 300

    def test_opens_again_after_it_was_closed(self, write_video: WriteVideo, numbers_in: NumbersIn):
        opened = open_video(write_video("h264.mp4"))
        for _ in range(2):
            opened.close()
            assert numbers_in(opened.read([5])) == [5]

    @pytest.mark.parametrize("backend", ["pyav", *OPTIONAL])
    def test_close_frees_the_file(self, backend: str, write_video: WriteVideo):
        path = write_video("closed.mp4")
        opened = open_video(path, backend)
        opened.read([3])
        assert count_open(path) >= 1
        opened.close()
        assert count_open(path) == 0

    @pytest.mark.parametrize("backend", ["pyav", *OPTIONAL])
    def test_close_leaves_nothing_to_the_garbage_collector(self, backend: str, write_video: WriteVideo):
        opened = open_video(write_video("h264.mp4"), backend)
        opened.read([3])
        reader = weakref.ref(opened.open().reader)
        gc.disable()
        try:
            opened.close()
            assert reader() is None  # a decoder keeps megabytes, and the collector counts objects
        finally:
            gc.enable()

    def test_a_file_that_cannot_be_read_stays_not_open(self, write_video: WriteVideo, tmp_path: Path):
        content, cut = Path(write_video("cut.mkv")).read_bytes(), tmp_path / "cut.mkv"
        cut.write_bytes(content[: len(content) * 6 // 10])
        with pytest.raises(UnreadableSample):
            open_video(str(cut))
        assert count_open(str(cut)) == 0


def count_open(path: str) -> int:
    links = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
    return sum(os.path.exists(link) and os.path.realpath(link) == os.path.realpath(path) for link in links)


class Failing:
    def __init__(self, path: str, index: FrameIndex) -> None:
        self.path, self.closed = path, False

    def read(self, indices: Any) -> Tensor:
        raise UnreadableSample(self.path, "gives up")

    def close(self) -> None:
        self.closed = True


class TestChoice:
    def test_auto_is_pyav_whatever_else_works(self, write_video: WriteVideo, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(backends, "why_not", lambda name: None)
        with open_video(write_video("h264.mp4"), "auto") as opened:
            assert isinstance(opened.open().reader, PyAVReader)

    def test_a_named_back_end_is_not_replaced(self, write_video: WriteVideo, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(video, "opener", lambda backend: Failing)
        with open_video(write_video("h264.mp4"), "decord") as opened, pytest.raises(UnreadableSample, match="gives up"):
            opened.read([6])

    def test_a_named_back_end_that_is_absent_is_an_error(
        self, write_video: WriteVideo, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(backends, "why_not", lambda name: "not installed")
        with pytest.raises(MissingDependency, match=r"torchcodec is not installed\. Choose auto or pyav"):
            open_video(write_video("h264.mp4"), "torchcodec")

    def test_reasons_against_a_back_end(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setitem(backends.OPTIONAL, "absent", ("no-such-package", "", ""))
        monkeypatch.setitem(backends.OPTIONAL, "broken", ("av", "jepa_video.no_such_module", ""))
        assert backends.why_not("absent") == "not installed"
        assert str(backends.why_not("broken")).startswith("installed, but cannot be imported: No module named")


class TestKept:
    @pytest.mark.parametrize("name", ["h264.mp4", "still.png"])
    def test_frames_are_those_of_the_file_and_the_file_is_not_needed(
        self, name: str, write_video: WriteVideo, tmp_path: Path
    ):
        path = tmp_path / name
        if name.endswith("png"):
            Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(path)
        else:
            shutil.copy(write_video(name), path)
        opened = open_video(str(path))
        indices = [0] if opened.still else [7, 2, 2, 20]
        expected, times, still = opened.read(indices), opened.timestamps, opened.still
        assert opened.decoded_bytes == expected[0].nbytes * opened.num_frames
        make = opened.keep()
        path.unlink()
        for _ in range(2):
            with make() as kept:
                frames = kept.read(indices)
                assert torch.equal(frames, expected)
                assert frames.stride() == expected.stride()  # so that resampling rounds alike
                assert kept.still == still
                assert str(kept.timestamps) == str(times)
                frames.zero_()

    def test_each_has_a_part_of_its_own_and_travels_as_a_path(self, write_video: WriteVideo):
        make = open_video(path := write_video("h264.mp4")).keep()
        first, second = make(), make()
        first.part = (1, 2)
        assert second.part == (0, 1)
        assert len(pickle.dumps(first)) < 1000
        assert pickle.loads(pickle.dumps(first)).path == path

    def test_it_crosses_a_fork(self, write_video: WriteVideo, numbers_in: NumbersIn, tmp_path: Path):
        path = str(shutil.copy(write_video("h264.mp4"), tmp_path))
        kept = open_video(path).keep()()
        Path(path).unlink()
        loader = DataLoader(Clips(kept), batch_size=None, num_workers=2, multiprocessing_context="fork")
        assert [numbers_in(frames) for frames in loader] == [[index, 20] for index in range(4)]
