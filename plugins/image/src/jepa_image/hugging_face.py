"""Weights of Hugging Face's IJepaModel, in and out, without transformers: translated by way of the public code's names.

It holds one encoder; query, key and value are three matrices.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from jepa_core.builtin import ViTConfig
from jepa_core.errors import CheckpointError
from jepa_core.interop import Exportable, Foreign, Imported
from jepa_image.config import ImageConfig
from jepa_image.interop import OFFICIAL_EPS, Tensors, from_official, inverse, read_encoder, require_plain, to_official

# The public code's -> Hugging Face's, inside a block; attn.qkv stands apart.
_BLOCK = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
_NAMES = {
    "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
    "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
    "pos_embed": "embeddings.position_embeddings",
    "norm.weight": "layernorm.weight",
    "norm.bias": "layernorm.bias",
}
_QKV = ("attention.attention.query", "attention.attention.key", "attention.attention.value")


class HuggingFaceIJepa:
    """A folder with `config.json` and `model.safetensors` of transformers' IJepaModel: one encoder."""

    def recognises(self, foreign: Foreign) -> bool:
        """By the configuration, or by the names where it is not there."""
        names = {name.removeprefix("ijepa.") for name in foreign.tensors()}
        known = "embeddings.patch_embeddings.projection.weight" in names and "embeddings.cls_token" not in names
        return known and foreign.config.get("model_type", "ijepa") == "ijepa"

    def read(self, foreign: Foreign) -> Imported:
        """The encoder, as context encoder: which of the two it was trained as, the file does not say."""
        theirs = {name.removeprefix("ijepa."): value for name, value in foreign.tensors().items()}
        official = _from_hugging_face(theirs, foreign.path)
        config, unknown, fixed = read_encoder(official, foreign.path)
        if "num_attention_heads" in foreign.config:
            config["encoder"]["heads"] = foreign.config["num_attention_heads"]
            unknown.pop("encoder.heads", None)
        if "image_size" in foreign.config:
            config["modality"]["size"] = foreign.config["image_size"]
            unknown.pop("modality.size", None)
        config["encoder"]["norm_eps"] = foreign.config.get("layer_norm_eps", OFFICIAL_EPS)
        return Imported(config, {"encoder": from_official(official, fixed)}, unknown)

    def write(self, export: Exportable, out: Path) -> None:
        """The chosen encoder with config.json and preprocessor_config.json."""
        encoder, image = require_plain(export, "hf-ijepa")
        tensors = _to_hugging_face(to_official(export.encoder(), export.parts.grid, image))
        out.mkdir()
        save_file(
            {name: value.contiguous() for name, value in tensors.items()}, out / "model.safetensors", {"format": "pt"}
        )
        (out / "config.json").write_text(json.dumps(_hugging_face_config(encoder, image), indent=2) + "\n")
        (out / "preprocessor_config.json").write_text(json.dumps(_hugging_face_processor(image), indent=2) + "\n")


def _from_hugging_face(tensors: Tensors, where: Path) -> Tensors:
    """Hugging Face's names to the public code's."""
    names, inside = inverse(_NAMES), inverse(_BLOCK)
    official: Tensors = {}
    for name, value in tensors.items():
        if not name.startswith("encoder.layer."):
            official[names.get(name, name)] = value
            continue
        number, _, rest = name.removeprefix("encoder.layer.").partition(".")
        stem, _, kind = rest.rpartition(".")
        if stem == _QKV[0]:
            try:
                joined = [tensors[f"encoder.layer.{number}.{part}.{kind}"] for part in _QKV]
            except KeyError as error:
                raise CheckpointError(f"{where}: lacks {error}.") from error
            official[f"blocks.{number}.attn.qkv.{kind}"] = torch.cat(joined)
        elif stem not in _QKV:
            official[f"blocks.{number}.{inside.get(stem, stem)}.{kind}"] = value
    return official


def _to_hugging_face(tensors: Tensors) -> Tensors:
    """The public code's names to Hugging Face's."""
    theirs: Tensors = {}
    for name, value in tensors.items():
        if not name.startswith("blocks."):
            theirs[_NAMES[name]] = value
            continue
        number, _, rest = name.removeprefix("blocks.").partition(".")
        stem, _, kind = rest.rpartition(".")
        if stem == "attn.qkv":
            for part, piece in zip(_QKV, value.chunk(3), strict=True):
                theirs[f"encoder.layer.{number}.{part}.{kind}"] = piece.clone()
        else:
            theirs[f"encoder.layer.{number}.{_BLOCK[stem]}.{kind}"] = value
    return theirs


def _one_or_both(sides: tuple[int, int]) -> int | list[int]:
    return sides[0] if sides[0] == sides[1] else list(sides)


def _hugging_face_config(encoder: ViTConfig, image: ImageConfig) -> dict[str, Any]:
    width, depth, heads, ratio = encoder.dimensions
    return {
        "architectures": ["IJepaModel"],
        "model_type": "ijepa",
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "intermediate_size": round(width * ratio),
        "hidden_act": "gelu",
        "qkv_bias": True,
        "layer_norm_eps": encoder.norm_eps,
        "image_size": _one_or_both(image.size),
        "patch_size": image.patch[0],
        "num_channels": image.channels,
    }


def _hugging_face_processor(image: ImageConfig) -> dict[str, Any]:
    """Preprocessing with the statistics of training; theirs scales to the size, and does not cut out the centre."""
    height, width = image.size
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": height, "width": width},
        "resample": {"bilinear": 2, "bicubic": 3}[image.interpolation],
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(image.mean) * (image.channels if len(image.mean) == 1 else 1),
        "image_std": list(image.std) * (image.channels if len(image.std) == 1 else 1),
    }
