from __future__ import annotations

from pathlib import Path

import pytest

from jepa_core.errors import DataError
from jepa_core.sources.cache import cached_folder


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("JEPA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write(folder: Path) -> None:
    (folder / "a.txt").write_text("a")


def never(folder: Path) -> None:
    raise AssertionError("filled twice")


def test_a_folder_is_filled_once(cache: Path) -> None:
    folder = cached_folder("data-1/train", write)
    assert folder == cache / "data-1" / "train"
    assert (folder / "a.txt").read_text() == "a"
    assert cached_folder("data-1/train", never) == folder
    assert [path.name for path in folder.parent.iterdir()] == ["train"]  # and nothing half done


def test_without_its_own_variable_it_lies_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JEPA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cached_folder("data-1", write) == tmp_path / "jepa" / "data-1"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cached_folder("data-1", write) == tmp_path / "home" / ".cache" / "jepa" / "data-1"


def test_a_process_that_was_second_uses_the_files_of_the_first() -> None:
    def overtaken(folder: Path) -> None:
        write(cached_folder("data", write))  # another process comes first
        write(folder)

    folder = cached_folder("data", overtaken)
    assert [path.name for path in folder.parent.iterdir()] == ["data"]


def test_what_is_half_written_when_filling_fails_is_removed(cache: Path) -> None:
    def fail(folder: Path) -> None:
        write(folder)
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        cached_folder("data", fail)
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_an_error_that_names_the_way_out(cache: Path) -> None:
    cache.write_text("a file is in the way")
    with pytest.raises(DataError, match=r"data: the built-in data cannot be written.*JEPA_CACHE=PATH"):
        cached_folder("data", write)


def test_the_folder_appears_in_one_step_or_not_at_all(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, target: Path) -> Path:
        raise OSError("no rename")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(DataError, match="no rename"):
        cached_folder("data", write)
    assert list(cache.iterdir()) == []
