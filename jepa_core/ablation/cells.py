"""From a study file to its cells: every arm on every base with every seed, each an ordinary configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jepa_core.ablation.study import StudyConfig
from jepa_core.config import RunConfig


@dataclass(frozen=True)
class Cell:
    """One run of a study."""

    base: str
    arm: str
    seed: int
    config: RunConfig
    """Resolved, with what `match` changed."""

    @property
    def name(self) -> str:
        """Its folder below the study's: "BASE/ARM/seed_N"."""
        return f"{self.base}/{self.arm}/seed_{self.seed}"


@dataclass(frozen=True)
class Study:
    """A study with everything resolved."""

    name: str
    """Of the file, without its ending."""
    config: StudyConfig
    arms: tuple[str, ...]
    """Names, in the order of tables."""
    reference: str
    cells: tuple[Cell, ...]
    """By base, then seed, then arm."""
    absent: Mapping[tuple[str, str], str]
    """(base, arm) that there is not, and why."""


def read_study(path: str | Path) -> Study:
    """A study file and all its configurations; raises ConfigError that lists every problem."""
    raise NotImplementedError
