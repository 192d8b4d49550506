"""What a layout's converter takes and gives, and the choice of the layout that knows a file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from safetensors.torch import save_file
from torch import Tensor

from jepa_core.checkpoint import Tensors, Which
from jepa_core.errors import CheckpointError, PluginError, UsageError
from jepa_core.interop.classifiers import SUFFIX, classifiers_in
from jepa_core.interop.files import Foreign
from jepa_core.model import Parts
from jepa_core.plugin import WeightFormat
from jepa_core.registry import modalities

PARTS: tuple[str, ...] = ("encoder", "predictor", "target_encoder")
"""Files of a checkpoint that hold weights."""
_CONFIG_KEY, _WHICH_KEY = "jepa_core_config", "jepa_core_encoder"


@dataclass(frozen=True)
class Imported:
    """A foreign file in our own words."""

    config: dict[str, Any]
    """The part of a run's configuration that follows from the file; `modality` is always in it."""
    weights: dict[str, Tensors]
    """Tensors under our own names, by entry of PARTS; `encoder` is always there."""
    unknown: dict[str, str] = field(default_factory=dict[str, str])
    """Dotted paths that the file does not tell and the user must give, each with the reason."""
    assumed: dict[str, str] = field(default_factory=dict[str, str])
    """Dotted paths in `config` that the file does not tell, and whose values are the official ones, each with their
    source: the user is told, and may give others."""

    @property
    def missing(self) -> list[str]:
        """Which of PARTS the file does not hold."""
        return [part for part in PARTS if part not in self.weights]


@dataclass(frozen=True)
class Exportable:
    """A run's weights on their way out."""

    parts: Parts
    """The objects of the run's configuration."""
    weights: dict[str, Tensors]
    """Tensors under our own names, by entry of PARTS; a part that the run does not have is absent."""
    which: Which
    """The encoder to export, for a layout that holds one."""
    source: str
    """The checkpoint, for messages."""

    def encoder(self) -> Tensors:
        """The chosen encoder; raises CheckpointError where the run does not have it."""
        return self.need("target_encoder" if self.which == "target" else "encoder")

    def need(self, part: str) -> Tensors:
        """One of PARTS; raises CheckpointError where the run does not have it."""
        if part not in self.weights:
            have = ", ".join(self.weights)
            raise CheckpointError(f"{self.source}: holds no {part}, only {have}. Choose another format or --encoder.")
        return self.weights[part]


class Converter(Protocol):
    """What `WeightFormat.implementation` refers to: a class without arguments."""

    def recognises(self, foreign: Foreign) -> bool:
        """Whether the layout is this one; looks at names and shapes alone."""
        ...

    def read(self, foreign: Foreign) -> Imported:
        """Translate; raises CheckpointError."""
        ...

    def write(self, export: Exportable, out: Path) -> None:
        """Write a file or folder; raises CheckpointError or UsageError where the layout cannot hold the model."""
        ...


class EncoderFile:
    """The core's own layout: one encoder in one .safetensors file, its configuration in the file's metadata."""

    def recognises(self, foreign: Foreign) -> bool:
        """By the metadata."""
        return _CONFIG_KEY in foreign.config

    def read(self, foreign: Foreign) -> Imported:
        """Names are our own already."""
        weights = {name: value for name, value in foreign.content.items() if isinstance(value, Tensor)}
        return Imported(json.loads(foreign.config[_CONFIG_KEY]), {"encoder": weights})

    def write(self, export: Exportable, out: Path) -> None:
        """The chosen encoder alone."""
        config = export.parts.config.model_dump_json()
        save_file(export.encoder(), out, {_CONFIG_KEY: config, _WHICH_KEY: export.which})


ENCODER_FILE = WeightFormat("safetensors", "one encoder with its configuration in one file", EncoderFile)


def formats() -> dict[str, WeightFormat]:
    """Every known layout by name: the core's, then those of every modality that can be loaded."""
    known = {ENCODER_FILE.name: ENCODER_FILE}
    for entry in modalities.entries():
        try:
            offered = modalities.get(entry.name).formats
        except PluginError:
            continue  # a broken modality harms nobody else; `jepa plugins list` shows it
        known |= {layout.name: layout for layout in offered}
    return known


def format_named(name: str) -> WeightFormat:
    """The layout of a name; raises UsageError that lists the names."""
    known = formats()
    if name not in known:
        lines = "\n".join(f"  {layout.name}: {layout.summary}" for layout in known.values())
        raise UsageError(f"{name!r} is no known weight format. There are:\n{lines}")
    return known[name]


def recognise(foreign: Foreign) -> WeightFormat:
    """The one layout that knows a file; raises CheckpointError where none does, or several do."""
    known = formats()
    found = [layout for layout in known.values() if layout.load()().recognises(foreign)]
    if len(found) == 1:
        return found[0]
    if found:
        names = " and ".join(layout.name for layout in found)
        raise CheckpointError(f"{foreign.path}: could be {names}. Choose with --format.")
    if classifiers_in(foreign):
        raise CheckpointError(
            f"{foreign.path}: an attentive classifier, and no encoder. It goes into a file, beside the run of its "
            f"encoder: --out RUN/probes/NAME{SUFFIX}"
        )
    names = ", ".join(list(foreign.content)[:5])
    raise CheckpointError(
        f"{foreign.path}: no known layout; it begins with {names}. Known: {', '.join(known)}. "
        "A plugin that is not installed may know it."
    )
