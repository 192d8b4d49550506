"""Where a modality's files are: fields that its section inherits."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from jepa_core.config.base import Frozen, Section


class Part(Frozen):
    """One data set of a mixture."""

    path: str
    """Folder or manifest."""
    weight: float = Field(default=1.0, gt=0)
    """Share of the samples that come from it, relative to the weights of the others, whatever its size."""


class FileSection(Section):
    """A section whose samples come from folders, manifests or built-in data.

    A path is a folder (of files, or of one folder per class) or a .csv or .parquet manifest with a header row and a
    column `path`, relative to the manifest; its other columns are labels.
    """

    train: str | None = None
    """Folder or manifest that is learned from, and that the probes are fitted on."""
    test: str | None = None
    """Folder or manifest that the probes are scored on; its classes are among those of `train`."""
    pretrain: str | tuple[Part, ...] | None = None
    """Folder or manifest for pretraining alone, labels unused, or several of them as a list of
    {path: PATH, weight: NUMBER}; null pretrains on `train`."""
    builtin: str | None = None
    """Data that comes with the package, with its own splits, in place of the three paths."""
    labels: tuple[str, ...] | None = None
    """Columns of a manifest that are labels; null takes every column but `path`."""
    keep_gib: float = Field(default=0.0, ge=0)
    """GiB of decoded files that each process which reads data may keep in memory, from their second reading on, so that
    they are not decoded again; 0 keeps none. For data that fits. It changes time and memory, and no sample."""

    @model_validator(mode="after")
    def _has_one_origin(self) -> Self:
        if self.builtin and (self.train or self.test or self.pretrain):
            raise PydanticCustomError("builtin", "builtin brings its own splits: remove train, test and pretrain")
        if self.pretrain == ():
            raise PydanticCustomError("pretrain", "pretrain: an empty mixture; name a data set, or remove the key")
        return self
