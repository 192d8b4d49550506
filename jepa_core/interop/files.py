"""Reading a file or folder of another program: nothing is unpickled but tensors and plain types."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from jepa_core.checkpoint import Tensors
from jepa_core.errors import CheckpointError, UsageError

PREFIXES = ("module.", "_orig_mod.", "backbone.")
"""What wrappers put before names: DistributedDataParallel, torch.compile, V-JEPA's multi-mask wrapper."""


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
        mapped = zipfile.is_zipfile(path)  # an optimizer's state, often the larger part of a file, is then not read
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
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
