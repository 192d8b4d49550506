"""Weights of other programs, in and out: read a file, find who knows its layout, translate, load strictly.

A modality lists the layouts that belong to it (`Modality.formats`); the core itself owns one, `safetensors`: an encoder
in one file with its configuration. Nothing is unpickled but tensors and plain types.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from jepa_core.checkpoint import RunFolder, Tensors, Which, load_strictly, read_tensors, write_checkpoint
from jepa_core.config.text import config_hash, dump, to_yaml
from jepa_core.errors import CheckpointError, PluginError, UsageError
from jepa_core.model import Parts
from jepa_core.nn.positions import resize_table
from jepa_core.plugin import Modality, WeightFormat
from jepa_core.recipes import read_config, versions
from jepa_core.registry import modalities
from jepa_core.types import TokenGrid

PREFIXES = ("module.", "_orig_mod.", "backbone.")
"""What wrappers put before names: DistributedDataParallel, torch.compile, V-JEPA's multi-mask wrapper."""
PARTS: tuple[str, ...] = ("encoder", "predictor", "target_encoder")
"""Files of a checkpoint that hold weights."""
_CONFIG_KEY, _WHICH_KEY = "jepa_core_config", "jepa_core_encoder"


@dataclass(frozen=True)
class Foreign:
    """What was found at a path."""

    path: Path
    content: Mapping[str, Any]
    """Tensors by name, or whatever else the file maps names to, such as one mapping of tensors per network."""
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The settings beside the weights: config.json, or a safetensors file's metadata; empty where there are none."""

    def tensors(self, part: str | None = None) -> Tensors:
        """The tensors of one entry, or of the whole content, without wrappers' prefixes; empty where there are none."""
        held: Mapping[str, Any] = self.content if part is None else (self.content.get(part) or {})
        return {unwrapped(name): value for name, value in held.items() if isinstance(value, Tensor)}


@dataclass(frozen=True)
class Imported:
    """A foreign file in our own words."""

    config: dict[str, Any]
    """The part of a run's configuration that follows from the file; `modality` is always in it."""
    weights: dict[str, Tensors]
    """Tensors under our own names, by entry of PARTS; `encoder` is always there."""
    unknown: dict[str, str] = field(default_factory=dict[str, str])
    """Dotted paths that the file does not tell and the user must give, each with the reason."""

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


def unwrapped(name: str) -> str:
    """A tensor's name without the prefixes that wrappers put before it.

    >>> unwrapped("module._orig_mod.blocks.0.norm1.weight")
    'blocks.0.norm1.weight'
    """
    while name.startswith(PREFIXES):
        name = name.split(".", 1)[1]
    return name


def read_foreign(path: Path) -> Foreign:
    """Read a .safetensors file, a torch file (.pth.tar, .pt, .bin) or a folder in Hugging Face's layout.

    Raises UsageError where there is nothing at the path, CheckpointError where it cannot be read.
    """
    if not path.exists():
        raise UsageError(f"{path}: does not exist. Give a .safetensors, .pth.tar or .pt file, or a model's folder.")
    try:
        if path.is_dir():
            return _read_folder(path)
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, ValueError, SafetensorError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path}: cannot be read as weights ({reason}). Only tensors and plain types are ever loaded; "
            "save the file anew with a state_dict alone."
        ) from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, and not tensors by name.")
    return Foreign(path, cast("Mapping[str, Any]", content))


def _read_safetensors(path: Path) -> Foreign:
    with safe_open(path, framework="pt") as file:
        return Foreign(path, {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {})  # noqa: SIM118


def _read_folder(path: Path) -> Foreign:
    """Every shard of model.safetensors in a folder, else its pytorch_model.bin; with config.json."""
    config_file = path / "config.json"
    config = json.loads(config_file.read_text()) if config_file.is_file() else {}
    content: dict[str, Any] = {}
    for shard in sorted(path.glob("model*.safetensors")):
        content |= _read_safetensors(shard).content
    if not content:
        content = torch.load(path / "pytorch_model.bin", map_location="cpu", weights_only=True)
    return Foreign(path, content, config)


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
    names = ", ".join(list(foreign.content)[:5])
    raise CheckpointError(
        f"{foreign.path}: no known layout; it begins with {names}. Known: {', '.join(known)}. "
        "A plugin that is not installed may know it."
    )


def import_weights(path: Path, out: Path, overrides: Sequence[str] = (), layout: str | None = None) -> Imported:
    """Make a run folder with one checkpoint, at step 0, from a foreign file.

    Args:
        path: the file or folder.
        out: the run folder; must not hold a run yet.
        overrides: "a.b=c", for what the file does not tell, or to change what it does.
        layout: name of the format; recognised when None.

    Raises:
        CheckpointError: unreadable, of no known layout, or the tensors do not fit the model.
        UsageError: something that the file does not tell is not given.
    """
    if RunFolder(out).config_path.exists():
        raise UsageError(f"{out}: holds a run already. Give another folder with --out.")
    foreign = read_foreign(path)
    chosen = format_named(layout) if layout else recognise(foreign)
    imported = chosen.load()().read(foreign)
    _require_known(imported, overrides, path)
    config = read_config(text=dump(imported.config), overrides=overrides)
    parts = Parts.of(config)
    weights = _fitted(imported, parts, _stored_grid(imported, overrides, parts.modality), path)
    state = {
        "step": 0,
        "taken": 0,
        "seconds": 0.0,
        "scaler": None,
        "config_hash": config_hash(config),
        "versions": versions(config),
        "imported": {"format": chosen.name, "file": path.name, "missing": imported.missing},
    }
    run = RunFolder(out)
    write_checkpoint(run.checkpoint(0), weights, state, to_yaml(config))
    run.open(config, resume=False)
    return imported


def _key(override: str) -> str:
    """The dotted path of "a.b=c"."""
    return override.split("=", 1)[0].strip()


def _require_known(imported: Imported, overrides: Sequence[str], path: Path) -> None:
    """Raise UsageError that names every setting which neither the file nor the user tells."""
    given = {_key(override) for override in overrides}
    lines = [f"  {reason}; give it: --set {key}=..." for key, reason in imported.unknown.items() if key not in given]
    if lines:
        raise UsageError(f"{path}: not everything about the model can be read from the file:\n" + "\n".join(lines))


def _fitted(imported: Imported, parts: Parts, stored: TokenGrid, path: Path) -> dict[str, Tensors]:
    """The tensors in fp32, positions resized where the user changed the grid, checked against the model."""
    with torch.device("meta"):
        model = parts.model()
    modules = {"encoder": model.encoder, "predictor": model.predictor, "target_encoder": model.encoder}
    fitted: dict[str, Tensors] = {}
    for part, tensors in imported.weights.items():
        fitted[part] = {name: _resized(name, value.float(), stored, parts.grid) for name, value in tensors.items()}
        load_strictly(modules[part], fitted[part], f"{path} ({part})")
    return fitted


def _stored_grid(imported: Imported, overrides: Sequence[str], modality: Modality) -> TokenGrid:
    """The grid that the weights were trained on: without overrides of what the file itself tells of the modality."""
    told = {f"modality.{key}" for key in imported.config["modality"]}
    kept = [override for override in overrides if _key(override) not in told]
    return modality.grid(read_config(text=dump(imported.config), overrides=kept).modality)


def _resized(name: str, value: Tensor, stored: TokenGrid, wanted: TokenGrid) -> Tensor:
    """Learned positions for the wanted grid; everything else, and damaged ones, as they are."""
    learned = name.endswith("positions.table") and len(value) == stored.num_tokens
    return resize_table(value, stored, wanted) if learned else value


def export_weights(run: Path, layout: str, out: Path, which: Which = "target", checkpoint: str = "latest") -> None:
    """Write weights of a run for another program.

    Args:
        run: the run folder.
        layout: name of the format.
        out: the file or folder to write; must not exist.
        which: the encoder, for a layout that holds one.
        checkpoint: `latest` or `step_N`.

    Raises:
        CheckpointError: the run does not have what the layout needs, or the disk refused.
        UsageError: unknown format, existing `out`, or a model that the layout cannot hold.
    """
    if out.exists():
        raise UsageError(f"{out}: exists already. Give another path with --out.")
    converter = format_named(layout).load()()
    folder = RunFolder.existing(run).find(checkpoint)
    present = {part: folder / f"{part}.safetensors" for part in PARTS}
    weights = {part: read_tensors(file) for part, file in present.items() if file.is_file()}
    parts = Parts.of(read_config(folder / "config.yaml"))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        converter.write(Exportable(parts, weights, which, str(folder)), out)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{out}: could not be written ({error}). Free space, or choose another --out.") from error
