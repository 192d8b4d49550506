"""From a foreign file to a run folder, and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from jepa_core.checkpoint import RunFolder, Tensors, Which, load_strictly, read_tensors, write_checkpoint
from jepa_core.config.text import config_hash, dump, to_yaml
from jepa_core.errors import CheckpointError, UsageError
from jepa_core.interop.files import read_foreign
from jepa_core.interop.layouts import PARTS, Exportable, Imported, format_named, recognise
from jepa_core.model import Parts
from jepa_core.nn.positions import resize_table
from jepa_core.plugin import Modality
from jepa_core.recipes import read_config, versions
from jepa_core.types import TokenGrid


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


def key_of(override: str) -> str:
    """The dotted path of an override.

    >>> key_of("encoder.heads=3")
    'encoder.heads'
    """
    return override.split("=", 1)[0].strip()


def _require_known(imported: Imported, overrides: Sequence[str], path: Path) -> None:
    """Raise UsageError that names every setting which neither the file nor the user tells."""
    given = {key_of(override) for override in overrides}
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
    kept = [override for override in overrides if key_of(override) not in told]
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
