"""What a cell's evaluation left: eval.json and the answers beside it, as far as they can be trusted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from jepa_core.checkpoint import RunFolder
from jepa_core.errors import CheckpointError
from jepa_core.evaluation import Correct, read_correct
from jepa_core.evaluation.outcome import ITEMS


class _Part(BaseModel):
    """What a study reads of eval.json, by type; it holds more."""

    model_config = ConfigDict(strict=True)


class _Heading(_Part):
    label_hash: str


class _Unreadable(_Part):
    index: int


class _Splits(_Part):
    probe_test: list[_Unreadable]


class _Result(_Part):
    heading: str
    probe: str
    representation: str
    accuracy: Annotated[float, Field(ge=0, le=1)]
    num_test: int

    @property
    def key(self) -> str:
        return f"{self.heading}/{self.probe}/{self.representation}"


class _Evaluation(_Part):
    step: int
    config_hash: str
    precision: Literal["fp32"]  # numbers of another one are not comparable, and `jepa eval --precision` writes them too
    headings: dict[str, _Heading]
    unreadable: _Splits
    results: list[_Result]
    test_hash: str | None = None


class Evaluations:
    """Reads the evaluations of cells, each once as long as its files stay as they are."""

    def __init__(self) -> None:
        """Nothing is read before it is asked for."""
        self._known: dict[Path, tuple[tuple[int, ...], dict[str, Any] | None]] = {}

    def of(self, run: RunFolder) -> dict[str, Any] | None:
        """eval.json of a run; None where there is none, or where it or the answers beside it are damaged."""
        path = run.path / "eval.json"
        try:
            files = [each.stat() for each in (path, path.with_name(ITEMS))]
        except OSError:
            return None
        written = tuple(number for file in files for number in (file.st_mtime_ns, file.st_size))
        if self._known.get(path, ((), None))[0] != written:
            self._known[path] = written, _read(path)
        return self._known[path][1]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text())
        evaluation, correct = _Evaluation.model_validate(found), read_correct(path.parent)
    except (OSError, ValueError, CheckpointError):  # ValueError: neither JSON nor text; ValidationError is one too
        return None
    return found if all(_fits(result, correct) for result in evaluation.results) else None


def _fits(result: _Result, correct: Mapping[str, Correct]) -> bool:
    """Whether the answers are those that the accuracy was counted from."""
    answers = correct.get(result.key, np.zeros(0, dtype=np.bool_))
    return answers.shape == (result.num_test,) and answers.sum() == round(result.accuracy * result.num_test)
