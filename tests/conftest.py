"""Fixtures that every test of the core may use."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Generator
from pathlib import Path

import pytest
from notes import WriteNotes
from toy import Toy, toy_registered
from toy_train import train_toy

collect_ignore = [path.name for path in Path(__file__).parent.glob("*.py") if not path.name.startswith("test_")]
"""Modules that tests share: collected for doctests they would be imported again under another name, and pydantic
looks for the descriptions of fields in the module of their file, of which there would be two."""


@pytest.fixture
def toy() -> Generator[Toy]:
    """The toy modality, registered for one test."""
    with toy_registered() as modality:
        yield modality


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 8 steps with statistics of its own, checkpoints at 4 and 8; what a test changes it changes in a copy."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    statistics, pace = ["modality.mean=0.2", "modality.std=0.8"], ["optim.lr.value=0.01", "optim.lr.warmup=0"]
    train_toy(folder, [*statistics, *pace, "ema.momentum.value=0.5"])
    return folder


@pytest.fixture
def logging_as_before() -> Generator[None]:
    """What a command configures of logging and warnings is undone after the test."""
    handlers, level = logging.root.handlers[:], logging.root.level
    formatwarning, own = warnings.formatwarning, logging.getLogger("jepa_core").level
    yield
    logging.captureWarnings(capture=False)
    logging.root.handlers[:], warnings.formatwarning = handlers, formatwarning
    logging.root.setLevel(level)
    logging.getLogger("jepa_core").setLevel(own)


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
