from __future__ import annotations

import errno
import os
import re
import tempfile
from pathlib import Path

import pytest
import torch

from jepa_core import token_store
from jepa_core.errors import DataError
from jepa_core.token_store import TokenStore, mapped


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def filled(samples: int = 10) -> TokenStore:
    store = TokenStore(samples, "tokens")
    for part in torch.randn(samples, 3, 4, generator=torch.Generator().manual_seed(0)).split(4):
        store.add(part)
    return store


def test_a_file_holds_the_same_as_memory_and_leaves_nothing_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory = filled().all()
    monkeypatch.setattr(token_store, "IN_MEMORY", 100)
    made = list[int]()
    monkeypatch.setattr(token_store, "mapped", lambda size, folder: made.append(size) or mapped(size, folder))
    in_file = filled().all()
    assert made == [120]
    assert in_file.dtype == torch.float16
    assert torch.equal(in_file, in_memory)
    assert list(folder.iterdir()) == []


def test_only_rows_that_were_added_come_back() -> None:
    store = TokenStore(100, "tokens")
    store.add(torch.ones(2, 3, 4))
    assert store.all().shape == (2, 3, 4)


def test_a_disk_without_room_is_an_error_that_says_how_much_is_needed_and_what_to_do(folder: Path) -> None:
    store = TokenStore(10**9, "probe_train: the target tokens")
    with pytest.raises(DataError) as raised:
        store.add(torch.zeros(1, 1568, 1024))
    said = str(raised.value)
    assert "probe_train: the target tokens: 1,000,000,000 samples x 1,568 tokens x 1,024 features" in said
    assert re.search(rf"need 3211264\.0 GB, and {re.escape(str(folder))} has \d+\.\d GB free", said)
    assert "TMPDIR" in said
    assert "--probe linear" in said
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system reserves no room")
def test_room_is_reserved_before_anything_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_file: int, _start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, f"no room for {size}")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="no room for 200"):
        mapped(100, str(folder))
    assert list(folder.iterdir()) == []
