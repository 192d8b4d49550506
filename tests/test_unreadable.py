from __future__ import annotations

import json
from pathlib import Path

import pytest

from jepa_core.errors import DataError
from jepa_core.unreadable import Unreadable, UnreadableLog

BAD = [Unreadable(number, f"folder/{number}.x", "truncated") for number in range(4)]


def test_each_sample_is_written_once_with_its_path_and_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = UnreadableLog(tmp_path / "unreadable.jsonl", sizes=[100], max_share=0.1)
    assert log.add([BAD[0], BAD[0], BAD[1]], step=3, write=True) == BAD[:2]
    assert log.add([BAD[1]], step=9, write=True) == []
    rows = [json.loads(line) for line in (tmp_path / "unreadable.jsonl").read_text().splitlines()]
    assert [row["where"] for row in rows] == ["folder/0.x", "folder/1.x"]
    assert [record.getMessage() for record in caplog.records] == [
        f"unreadable: folder/{i}.x (truncated)" for i in (0, 1)
    ]
    assert rows[0] == {"step": 3, "index": 0, "where": "folder/0.x", "reason": "truncated"}


def test_above_the_share_the_run_ends_with_the_first_path(tmp_path: Path) -> None:
    log = UnreadableLog(tmp_path / "unreadable.jsonl", sizes=[100], max_share=0.02, known=BAD[:1])
    log.add([BAD[1]], step=1, write=True)
    with pytest.raises(DataError, match=r"3 of 100 samples cannot be read, and 2\.0% are allowed.*folder/0\.x"):
        log.add([BAD[2]], step=2, write=True)
    assert "folder/2.x" in (tmp_path / "unreadable.jsonl").read_text()


def test_other_processes_know_but_do_not_write(tmp_path: Path) -> None:
    log = UnreadableLog(tmp_path / "unreadable.jsonl", sizes=[100], max_share=0.1)
    log.add(BAD[:1], step=1, write=False)
    assert len(log) == 1
    assert not (tmp_path / "unreadable.jsonl").exists()


def test_the_share_is_that_of_each_data_set_of_a_mixture(tmp_path: Path) -> None:
    log = UnreadableLog(tmp_path / "unreadable.jsonl", sizes=[2, 10_000], max_share=0.5)
    log.add([BAD[0], BAD[2], BAD[3]], step=1, write=False)
    with pytest.raises(DataError, match="2 of 2 samples of data set 1 cannot be read"):
        log.add([BAD[1]], step=2, write=False)
