from __future__ import annotations

import itertools
from importlib import resources
from pathlib import Path

import av
import numpy as np
import pytest

from jepa_core.errors import MissingDependency
from jepa_video import builtin
from jepa_video.decoding import open_video


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache of its own, and 16 videos of 8 pictures in each split."""
    images, ids = builtin.pictures()
    monkeypatch.setattr(builtin, "pictures", lambda: (images[:16], ids[:16]))
    monkeypatch.setattr(builtin, "TEST_PICTURES", 8)
    monkeypatch.setenv("JEPA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_no_picture_is_in_both_splits_and_every_direction_is_as_frequent():
    (train, train_direction, _), (test, test_direction, _) = builtin.plan(test=False), builtin.plan(test=True)
    assert (len(train), len(test)) == (4000, 1000)
    assert not set(train.tolist()) & set(test.tolist())
    assert np.bincount(train_direction).tolist() == [500] * 8
    assert np.bincount(test_direction).tolist() == [125] * 8


def test_the_split_is_the_same_for_ever():
    picture, direction, start = builtin.plan(test=True)
    assert (picture[:4].tolist(), direction[:6].tolist(), start[:2].tolist()) == (
        [0, 0, 1, 1],
        [5, 6, 6, 7, 4, 2],
        [[12, 12], [2, 18]],
    )


@pytest.mark.parametrize("direction", range(8))
def test_the_picture_moves_where_the_name_says(direction: int):
    name = builtin.MOTION[direction]
    frames = builtin.render(builtin.pictures()[0][0], direction, np.array([30, 1]))
    down, right = ("south" in name) - ("north" in name), ("east" in name) - ("west" in name)
    for before, after in itertools.pairwise(frames):
        assert (np.roll(before, (4 * down, 4 * right), (0, 1)) == after).all()


def test_files_are_real_and_show_what_was_rendered(few: Path):
    source = builtin.source("moving-fashion", test=True, read=open_video)
    picture, direction, start = builtin.plan(test=True)
    assert len(source) == 16
    for index in (0, 7):
        assert source.where(index).startswith(str(few))
        with source.read(index) as video:
            assert (video.num_frames, video.fps) == (builtin.FRAMES, pytest.approx(builtin.RATE))
            seen = video.read(range(builtin.FRAMES)).float().mean(1).numpy()
        rendered = builtin.render(builtin.pictures()[0][picture[index]], direction[index], start[index])
        assert np.abs(seen - rendered).mean() < 4  # of 255: the codec loses a little
    assert (source.labels["motion"].ids == direction).all()
    assert source.labels["content"].names[5] == "Sandal"


def test_every_machine_of_a_kind_writes_the_same_bytes(tmp_path: Path):
    images, _ = builtin.pictures()
    for number, (picture, direction, start) in enumerate(
        itertools.islice(zip(*builtin.plan(test=False), strict=True), 150)
    ):
        frames, path = builtin.render(images[picture], direction, start), tmp_path / f"{number}.mp4"
        written = set[bytes]()
        for _ in range(3):
            builtin.encode(path, frames)
            written.add(path.read_bytes())
        assert len(written) == 1


def test_the_small_data_set_is_the_beginning_of_the_whole_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JEPA_CACHE", str(tmp_path))
    for test, count in ((False, 32), (True, 16)):
        source = builtin.source("moving-fashion-small", test=test, read=open_video)
        folder = Path(source.where(0)).parent
        assert folder.parent.name == "moving-fashion-small-2"
        assert (len(source), len(list(folder.iterdir()))) == (count, count)
        assert (source.labels["motion"].ids == builtin.plan(test)[1][:count]).all()


def test_without_libx264_the_remedy_is_named(few: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    with pytest.raises(MissingDependency, match="pip install --force-reinstall --only-binary :all: av"):
        builtin.source("moving-fashion", test=True, read=open_video)


def test_files_are_written_once(few: Path):
    first = builtin.source("moving-fashion", test=False, read=open_video).where(0)
    written = Path(first).stat().st_mtime_ns
    assert Path(builtin.source("moving-fashion", test=False, read=open_video).where(0)).stat().st_mtime_ns == written
    assert sorted(path.name for path in Path(first).parents[1].iterdir()) == ["train"]  # and nothing half done


def test_the_licence_of_the_built_in_data_travels_with_it():
    folder = resources.files("jepa_video") / "data"
    assert "Zalando SE" in (folder / "LICENSE").read_text()
    assert {entry.name for entry in folder.iterdir()} == {"LICENSE", "fashion-mnist-2500.npz"}
