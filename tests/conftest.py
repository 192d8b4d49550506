"""Fixtures that every test of the core may use."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from notes import WriteNotes
from toy import Toy, toy_registered


@pytest.fixture
def toy() -> Generator[Toy]:
    """The toy modality, registered for one test."""
    with toy_registered() as modality:
        yield modality


@pytest.fixture
def write_notes(tmp_path: Path) -> WriteNotes:
    """`write_notes("train", cat=3, dog=2)` makes a folder of notes per class; "." stands for the root itself."""

    def write(folder: str, **counts: int) -> Path:
        for name, count in counts.items():
            (tmp_path / folder / name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                (tmp_path / folder / name / f"{number:03}.txt").write_text(f"{name} {number}")
        return tmp_path / folder

    return write
