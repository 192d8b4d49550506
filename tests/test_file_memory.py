from __future__ import annotations

import logging
import pickle
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from notes import NOTES
from torch import Tensor

from jepa_core.config.files import FileSection
from jepa_core.errors import ConfigError, UnreadableSample
from jepa_core.plugin import Split
from jepa_core.sources import memory, remembered, split_source

SIZE = 1000
"""Bytes of every file here, decoded."""
ROOM = 3 * SIZE / 2**30
"""GiB that three files fill."""

opened = Counter[str]()


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    opened.clear()
    monkeypatch.setattr(memory, "_memories", {})


def read(path: str) -> Tensor:
    opened[path] += 1
    return torch.full((SIZE,), len(path), dtype=torch.uint8)


class Recording:
    """A file that is opened, and decoded on demand."""

    def __init__(self, path: str, whole: bool = True) -> None:
        opened[path] += 1
        self.path, self.whole = path, whole

    @property
    def decoded_bytes(self) -> int:
        return SIZE

    def keep(self) -> Callable[[], Any]:
        if not self.whole:
            raise UnreadableSample(self.path, "its second half is damaged")
        return partial(str, self.path)


class TestRemembered:
    def test_without_room_it_is_the_reader_itself(self):
        assert remembered(read, 0.0) is read

    def test_a_file_is_decoded_once(self):
        remember = remembered(read, ROOM)
        assert torch.equal(remember("a"), remember("a"))
        assert opened == {"a": 1}

    def test_readers_made_anew_share_what_is_kept(self):
        remembered(partial(read), ROOM)("a")
        pickle.loads(pickle.dumps(remembered(partial(read), ROOM)))("a")
        assert opened == {"a": 1}

    def test_another_way_to_read_begins_anew(self):
        remembered(read, ROOM)("a")
        assert remembered(Recording, ROOM)("a") == "a"
        assert opened == {"a": 2}
        assert len(memory._memories) == 1

    def test_what_does_not_fit_is_read_every_time_and_said_once(self, caplog: pytest.LogCaptureFixture):
        remember = remembered(read, ROOM)
        with caplog.at_level(logging.WARNING):
            for path in "abcdeabcde":
                remember(path)
        assert {path for path, times in opened.items() if times == 1} == {"a", "b", "c"}
        assert [record.message.split(",")[0] for record in caplog.records] == ["modality.keep_gib: 3 files fill it"]

    def test_a_file_damaged_in_a_part_that_may_not_be_wanted_is_opened_as_ever(self, caplog: pytest.LogCaptureFixture):
        remember = remembered(partial(Recording, whole=False), ROOM)
        assert isinstance(remember("a"), Recording)
        assert isinstance(remember("a"), Recording)
        assert not caplog.records

    def test_an_unreadable_file_is_said_to_be_every_time(self):
        def refuse(path: str) -> Tensor:
            raise UnreadableSample(path, "is empty")

        remember = memory._Memory(room=SIZE)
        for _ in range(2):
            with pytest.raises(UnreadableSample, match="is empty"):
                remember.read("a", refuse)

    def test_what_cannot_be_kept_is_an_error_with_a_way_out(self):
        with pytest.raises(ConfigError, match=r"what this modality reads \(str\).*Set it to 0"):
            remembered(str, ROOM)("a")

    @pytest.mark.parametrize("split", ["pretrain", "probe_train", "probe_test"])
    def test_every_split_of_a_section_keeps_what_it_reads(self, split: Split, tmp_path: Path):
        (tmp_path / "a.txt").touch()
        section = FileSection(name="notes", train=str(tmp_path), test=str(tmp_path), keep_gib=ROOM)
        source = split_source(section, split, NOTES, read)
        for _ in range(2):
            source.read(0)
        assert opened == {str(tmp_path / "a.txt"): 1}
