"""Weights of Hugging Face's IJepaModel, in and out: one encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jepa_core.builtin import ViTConfig
from jepa_core.interop import Exportable, Foreign, Imported
from jepa_core.interop.hugging_face import RESAMPLING, Names, one_or_both, per_channel, save_folder
from jepa_core.interop.official import EPS, from_official, read_encoder
from jepa_image.config import ImageConfig
from jepa_image.interop import AXES, PROGRAM, official, require_plain, sections

_PROJECTION = "embeddings.patch_embeddings.projection"
NAMES = Names(
    outside={
        "patch_embed.proj.weight": f"{_PROJECTION}.weight",
        "patch_embed.proj.bias": f"{_PROJECTION}.bias",
        "pos_embed": "embeddings.position_embeddings",
        "norm.weight": "layernorm.weight",
        "norm.bias": "layernorm.bias",
    },
    blocks={"blocks.": "encoder.layer."},
    inside={
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "attn.proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    },
    qkv=("attention.attention.query", "attention.attention.key", "attention.attention.value"),
)


class HuggingFaceIJepa:
    """A folder with `config.json` and `model.safetensors` of transformers' IJepaModel: one encoder."""

    def recognises(self, foreign: Foreign) -> bool:
        """By the configuration, or by the names where it is not there."""
        names = {name.removeprefix("ijepa.") for name in foreign.tensors()}
        known = f"{_PROJECTION}.weight" in names and "embeddings.cls_token" not in names
        return known and foreign.config.get("model_type", "ijepa") == "ijepa"

    def read(self, foreign: Foreign) -> Imported:
        """The encoder, as context encoder: which of the two it was trained as, the file does not say."""
        theirs = {name.removeprefix("ijepa."): value for name, value in foreign.tensors().items()}
        tensors = NAMES.from_hugging_face(theirs, foreign.path)
        found = read_encoder(tensors, AXES, foreign.path, PROGRAM)
        config, unknown = sections(found, tensors["pos_embed"].shape[-2])
        if "num_attention_heads" in foreign.config:
            config["encoder"]["heads"] = foreign.config["num_attention_heads"]
            unknown.pop("encoder.heads", None)
        if "image_size" in foreign.config:
            config["modality"]["size"] = foreign.config["image_size"]
            unknown.pop("modality.size", None)
        config["encoder"]["norm_eps"] = foreign.config.get("layer_norm_eps", EPS)
        return Imported(config, {"encoder": from_official(tensors, found.learned)}, unknown)

    def write(self, export: Exportable, out: Path) -> None:
        """The chosen encoder with config.json and preprocessor_config.json."""
        encoder, image = require_plain(export, "hf-ijepa")
        tensors = NAMES.to_hugging_face(official(export.encoder(), export, encoder, image))
        save_folder(out, tensors, config=_config(encoder, image), preprocessor_config=_processor(image))


def _config(encoder: ViTConfig, image: ImageConfig) -> dict[str, Any]:
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
        "image_size": one_or_both(image.size),
        "patch_size": image.patch[0],
        "num_channels": image.channels,
    }


def _processor(image: ImageConfig) -> dict[str, Any]:
    """Preprocessing with the statistics of training; theirs scales to the size, and does not cut out the centre."""
    height, width = image.size
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": height, "width": width},
        "resample": RESAMPLING[image.interpolation],
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": per_channel(image.mean, image.channels),
        "image_std": per_channel(image.std, image.channels),
    }
