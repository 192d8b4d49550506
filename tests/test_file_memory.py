from __future__ import annotations

import logging
import pickle
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from notes import NOTES
from torch import Tensor

from jepa_core.config.files import FileSection
from jepa_core.errors import ConfigError, UnreadableSample
from jepa_core.plugin import Split
from jepa_core.sources import memory, remembered, split_source
from jepa_core.sources.files import Read

SIZE = 1000
"""Bytes of every file here, decoded."""
ROOM = 16 * SIZE / 2**30
"""GiB that 16 files fill, each the largest that may be kept."""

opened, closed = Counter[str](), Counter[str]()


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    opened.clear()
    closed.clear()
    monkeypatch.setattr(memory, "_memories", {})


def read(path: str) -> Tensor:
    opened[path] += 1
    return torch.full((SIZE,), len(path), dtype=torch.uint8)


def read_row(path: str) -> np.ndarray:
    opened[path] += 1
    return np.ones((100, SIZE), np.uint8)[0]


class Recording:
    """A file that is opened, and decoded on demand."""

    def __init__(self, path: str, damaged: bool = False, exact: bool = True, size: int = SIZE) -> None:
        opened[path] += 1
        closed[path] -= 1
        self.path, self.damaged, self.exact, self.size = path, damaged, exact, size

    @property
    def decoded_bytes(self) -> int:
        return self.size

    def keep(self) -> Callable[[], Any] | None:
        if self.damaged:
            raise UnreadableSample(self.path, "its second half is damaged")
        return partial(str, self.path) if self.exact else None

    def close(self) -> None:
        closed[self.path] += 1


def often(remember: Read, path: str, times: int = 4) -> list[Any]:
    return [remember(path) for _ in range(times)]


class TestRemembered:
    def test_without_room_it_is_the_reader_itself(self):
        assert remembered(read, 0.0) is read

    def test_a_file_is_decoded_until_it_is_kept_at_its_second_reading(self):
        first, *others = often(remembered(read, ROOM), "a")
        assert all(torch.equal(first, other) for other in others)
        assert opened == {"a": 2}

    def test_what_is_kept_is_opened_as_a_whole_and_closed(self):
        assert often(remembered(Recording, ROOM), "a")[1:] == ["a", "a", "a"]
        assert closed == {"a": -1}  # the first reading's is the caller's to close

    def test_a_sample_may_be_changed(self):
        remember = remembered(read, ROOM)
        for raw in often(remember, "a"):
            raw.zero_()
        assert remember("a").all()

    def test_a_view_of_something_large_keeps_and_counts_its_own_part(self):
        remember = remembered(read_row, ROOM)
        assert all(isinstance(row, np.ndarray) and row.base is None for row in often(remember, "a")[1:])
        assert opened == {"a": 2}

    def test_readers_made_anew_share_what_is_kept(self):
        often(remembered(partial(read), ROOM), "a")
        often(pickle.loads(pickle.dumps(remembered(partial(read), ROOM))), "a")
        assert opened == {"a": 2}

    @pytest.mark.parametrize("room", [0.0, ROOM])
    def test_another_way_to_read_frees_it_all(self, room: float):
        often(remembered(read, ROOM), "a")
        remembered(Recording, room)
        assert not memory._memories

    def test_what_does_not_fit_is_read_every_time_and_said_once(self, caplog: pytest.LogCaptureFixture):
        remember = remembered(read, ROOM)
        names = [f"{number:02}" for number in range(20)]
        with caplog.at_level(logging.WARNING):
            for path in names * 3:
                remember(path)
        assert {path for path, times in opened.items() if times == 2} == set(names[:16])
        assert [record.message.split(",")[0] for record in caplog.records] == ["modality.keep_gib: 16 files are kept"]

    def test_one_file_may_not_take_it_all(self, caplog: pytest.LogCaptureFixture):
        assert all(
            isinstance(raw, Recording) for raw in often(remembered(partial(Recording, size=SIZE + 1), ROOM), "a")
        )
        assert "a larger modality.keep_gib" in caplog.text
        assert closed == {"a": -4}  # one of five was the memory's

    @pytest.mark.parametrize("why", ["damaged", "exact"])
    def test_what_cannot_be_kept_is_opened_as_ever(self, why: str, caplog: pytest.LogCaptureFixture):
        remember = remembered(partial(Recording, **{why: why == "damaged"}), ROOM)
        assert all(isinstance(raw, Recording) for raw in often(remember, "a"))
        assert closed == {"a": -4}
        assert not caplog.records

    def test_an_unreadable_file_is_said_to_be_every_time(self):
        def refuse(path: str) -> Tensor:
            raise UnreadableSample(path, "is empty")

        kept = memory._Memory(room=SIZE, largest=SIZE)
        for _ in range(3):
            with pytest.raises(UnreadableSample, match="is empty"):
                kept.read("a", refuse)

    def test_what_cannot_be_kept_at_all_is_an_error_with_a_way_out(self):
        with pytest.raises(ConfigError, match=r"what this modality reads \(str\).*Set it to 0"):
            often(remembered(str, ROOM), "a")
        with pytest.raises(ConfigError, match=r"cannot be pickled.*Set it to 0"):
            remembered(lambda path: path, ROOM)

    @pytest.mark.parametrize("split", ["pretrain", "probe_train", "probe_test"])
    def test_every_split_of_a_section_keeps_what_it_reads(self, split: Split, tmp_path: Path):
        (tmp_path / "a.txt").touch()
        section = FileSection(name="notes", train=str(tmp_path), test=str(tmp_path), keep_gib=ROOM)
        source = split_source(section, split, NOTES, read)
        for _ in range(4):
            source.read(0)
        assert opened == {str(tmp_path / "a.txt"): 2}
