"""What the finished cells of a study found, as plain rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from jepa_core.ablation.cells import Study
from jepa_core.collapse import Verdict


@dataclass(frozen=True)
class Measurement:
    """One probe on one representation of one cell, under one heading."""

    base: str
    arm: str
    seed: int
    heading: str
    probe: str
    representation: str
    """target, context, random (never trained), raw, or "raw, NAME"."""
    accuracy: float
    """Share of the test samples that were answered rightly, in [0, 1]."""
    correct: Bool[np.ndarray, "items"]
    """Which of the test samples: the same samples in the same order for all cells of a base."""

    @property
    def metric(self) -> str:
        """HEADING/PROBE."""
        return f"{self.heading}/{self.probe}"


@dataclass(frozen=True)
class CellFacts:
    """What a finished cell was, and what became of it."""

    base: str
    arm: str
    seed: int
    folder: Path
    config_hash: str
    steps: int
    seconds: float
    """Wall clock of pretraining."""
    flops: int
    """Of the whole run, as `jepa plan` counts."""
    context_tokens: int
    """Per sample, over all views."""
    predicted_tokens: int
    """Per sample, over all views and blocks; cells in several blocks count as often."""
    parameters: int
    """Encoder and predictor."""
    verdict: Verdict
    """Of the collapse monitor."""
    collapse: Mapping[str, float | None]
    """Its last measurement, by metric."""
    loss: float
    """The last one logged."""
    curve: tuple[tuple[int, float], ...]
    """(step, loss) of every logged step."""
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of the packages that it was trained with, as its checkpoint states them."""
    device: str = ""
    """What it was trained on, such as `1 x cpu`."""


@dataclass(frozen=True)
class StudyResults:
    """Everything that analysis and report are made from."""

    study: Study
    measurements: tuple[Measurement, ...]
    facts: tuple[CellFacts, ...]
    unfinished: Mapping[str, str]
    """Cells without a result, by name, and why: waiting, running, or what went wrong."""


def read_results(study: Study, folder: Path) -> StudyResults:
    """Read the cells' folders below `folder`; what is damaged is unfinished, with the reason."""
    raise NotImplementedError
