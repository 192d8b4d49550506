"""What Hugging Face's JEPA models have in common: a block's query, key and value are three matrices.

Weights are translated by way of the public programs' names, without transformers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from jepa_core.checkpoint import Tensors
from jepa_core.errors import CheckpointError
from jepa_core.interop.official import inverse

RESAMPLING = {"bilinear": 2, "bicubic": 3}
"""Hugging Face's numbers of the interpolations."""


@dataclass(frozen=True)
class Names:
    """How a model of Hugging Face names what the public program names otherwise."""

    outside: Mapping[str, str]
    """Tensors outside of the blocks: the public program's whole names to Hugging Face's."""
    blocks: Mapping[str, str]
    """What blocks' names begin with, before the number."""
    inside: Mapping[str, str]
    """Parts of a block, where they differ; attn.qkv stands apart."""
    qkv: tuple[str, str, str]
    """The three parts of a block that attn.qkv is divided into."""

    def to_hugging_face(self, tensors: Tensors) -> Tensors:
        """The public program's tensors under Hugging Face's names; every name must be known."""
        theirs: Tensors = {}
        for name, value in tensors.items():
            found = _in_block(name, self.blocks)
            if found is None:
                theirs[self.outside[name]] = value
                continue
            block, stem, kind = found
            if stem == "attn.qkv":
                for part, piece in zip(self.qkv, value.chunk(3), strict=True):
                    theirs[f"{block}.{part}.{kind}"] = piece.clone()
            else:
                theirs[f"{block}.{self.inside.get(stem, stem)}.{kind}"] = value
        return theirs

    def from_hugging_face(self, tensors: Tensors, where: Path) -> Tensors:
        """The inverse; unknown names stay as they are, a missing third of attn.qkv is a CheckpointError."""
        outside, inside = inverse(self.outside), inverse(self.inside)
        official: Tensors = {}
        for name, value in tensors.items():
            found = _in_block(name, inverse(self.blocks))
            if found is None:
                official[outside.get(name, name)] = value
                continue
            block, stem, kind = found
            if stem == self.qkv[0]:
                theirs = name.removesuffix(f"{stem}.{kind}")
                try:
                    joined = [tensors[f"{theirs}{part}.{kind}"] for part in self.qkv]
                except KeyError as error:
                    raise CheckpointError(f"{where}: lacks {error}.") from error
                official[f"{block}.attn.qkv.{kind}"] = torch.cat(joined)
            elif stem not in self.qkv:
                official[f"{block}.{inside.get(stem, stem)}.{kind}"] = value
        return official


def _in_block(name: str, blocks: Mapping[str, str]) -> tuple[str, str, str] | None:
    """(the block in the other naming, the part, weight or bias) of a block's tensor; None for others.

    >>> _in_block("blocks.3.mlp.fc1.bias", {"blocks.": "encoder.layer."})
    ('encoder.layer.3', 'mlp.fc1', 'bias')
    """
    for old, new in blocks.items():
        if name.startswith(old):
            number, _, rest = name.removeprefix(old).partition(".")
            stem, _, kind = rest.rpartition(".")
            return f"{new}{number}", stem, kind
    return None


def one_or_both(sides: tuple[int, int]) -> int | list[int]:
    """A square's side as one number."""
    return sides[0] if sides[0] == sides[1] else list(sides)


def per_channel(statistic: tuple[float, ...], channels: int) -> list[float]:
    """A mean or deviation with one value for each channel."""
    return list(statistic) * (channels if len(statistic) == 1 else 1)


def save_folder(out: Path, tensors: Tensors, **settings: Mapping[str, Any]) -> None:
    """A folder with model.safetensors and one .json file for each of the settings."""
    out.mkdir()
    contiguous = {name: value.contiguous() for name, value in tensors.items()}
    save_file(contiguous, out / "model.safetensors", {"format": "pt"})
    for stem, content in settings.items():
        (out / f"{stem}.json").write_text(json.dumps(content, indent=2) + "\n")
