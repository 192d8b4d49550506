"""study.yaml: a study as it was resolved, for those who run its cells and for those who read it later."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError

from jepa_core.ablation.cells import Cell, Study
from jepa_core.ablation.study import StudyConfig
from jepa_core.config.base import Frozen
from jepa_core.config.text import config_hash, dump, parse_mapping, read_text
from jepa_core.errors import ConfigError, UsageError


class CellRecord(Frozen):
    """One run of the study; its configuration is in its folder."""

    base: str
    """What it starts from."""
    arm: str
    """What was chosen."""
    seed: int
    """Of all its randomness."""
    config_hash: str
    """Of its configuration, as everywhere else."""

    @property
    def name(self) -> str:
        """As `Cell.name`."""
        return f"{self.base}/{self.arm}/seed_{self.seed}"


class AbsentRecord(Frozen):
    """An arm that a base does not have."""

    base: str
    """Which base."""
    arm: str
    """Which arm."""
    why: str
    """In words."""


class StudyRecord(Frozen):
    """Everything about a study but the configurations of its cells."""

    name: str
    """Of the study file, without its ending."""
    threads: int | None = Field(default=None, ge=1)
    """Processor threads per cell, so that all cells add in the same order, also those of another day."""
    arms: tuple[str, ...]
    """In the order of tables."""
    reference: str
    """The arm that the others are compared with."""
    study: StudyConfig
    """The study file, every default spelled out."""
    cells: tuple[CellRecord, ...]
    """By base, then seed, then arm."""
    absent: tuple[AbsentRecord, ...] = ()
    """What there is not."""

    @classmethod
    def of(cls, study: Study, threads: int | None) -> Self:
        """What is to be kept of a study."""
        return cls(
            name=study.name,
            threads=threads,
            arms=study.arms,
            reference=study.reference,
            study=study.config,
            cells=tuple(
                CellRecord(base=cell.base, arm=cell.arm, seed=cell.seed, config_hash=config_hash(cell.config))
                for cell in study.cells
            ),
            absent=tuple(AbsentRecord(base=base, arm=arm, why=why) for (base, arm), why in study.absent.items()),
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """From study.yaml; raises UsageError where there is none, ConfigError where it cannot be understood."""
        if not path.is_file():
            why = "is no study folder (it has no study.yaml)" if path.parent.exists() else "there is no such folder"
            raise UsageError(f"{path.parent}: {why}. `jepa ablate STUDY` makes one.")
        values = parse_mapping(read_text(path), str(path))
        values.pop("hash", None)
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(f"was changed, or written by another version: {error}", str(path)) from error

    def as_yaml(self) -> str:
        """With the hash of all of it first: equal hashes, equal studies, down to every cell's configuration."""
        return dump({"hash": config_hash(self), **self.model_dump(mode="json")})

    def study_of(self, cells: Sequence[Cell]) -> Study:
        """The study, given its cells."""
        return Study(
            name=self.name,
            config=self.study,
            arms=self.arms,
            reference=self.reference,
            cells=tuple(cells),
            absent={(each.base, each.arm): each.why for each in self.absent},
        )
