"""Weights of Hugging Face's VJEPA2Model, in and out: an encoder and a predictor."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from jepa_core.builtin import ViTConfig
from jepa_core.checkpoint import Tensors
from jepa_core.config.tree import PredictorConfig
from jepa_core.interop import Exportable, Foreign, Imported
from jepa_core.interop.hugging_face import RESAMPLING, Names, one_or_both, per_channel, save_folder
from jepa_core.interop.official import EPS, cannot_hold, from_official, mask_tokens
from jepa_video.config import VideoConfig
from jepa_video.interop import OfficialVJepa2, official, require_clips

logger = logging.getLogger(__name__)

_PROJECTION, _EMBED = "encoder.embeddings.patch_embeddings.proj", "predictor.embeddings.predictor_embeddings"
_MASK_TOKENS = "predictor.embeddings.mask_tokens"
_CLASSIFIER = ("pooler.", "classifier.")
NAMES = Names(
    outside={
        f"{ours}.{kind}": f"{theirs}.{kind}"
        for ours, theirs in {
            "patch_embed.proj": _PROJECTION,
            "norm": "encoder.layernorm",
            "predictor_embed": _EMBED,
            "predictor_norm": "predictor.layernorm",
            "predictor_proj": "predictor.proj",
        }.items()
        for kind in ("weight", "bias")
    },
    blocks={"blocks.": "encoder.layer.", "predictor_blocks.": "predictor.layer."},
    inside={"attn.proj": "attention.proj"},
    qkv=("attention.query", "attention.key", "attention.value"),
)
# Hugging Face's settings -> the configuration's, by section.
_SETTINGS = {
    "modality": {"frames_per_clip": "frames", "crop_size": "size"},
    "encoder": {"num_attention_heads": "heads", "layer_norm_eps": "norm_eps"},
    "predictor": {"pred_num_attention_heads": "heads"},
}


class HuggingFaceVJepa2:
    """A folder with `config.json` and `model.safetensors` of transformers' VJEPA2Model: encoder and predictor."""

    def recognises(self, foreign: Foreign) -> bool:
        """By the names."""
        return f"{_PROJECTION}.weight" in _named(foreign)

    def read(self, foreign: Foreign) -> Imported:
        """Encoder and predictor; which of the two encoders it was trained as, the file does not say."""
        if any(name.startswith(_CLASSIFIER) for name in foreign.tensors()):
            logger.warning("%s: its classifier is left out; the public code's own file can be imported", foreign.path)
        tensors = NAMES.from_hugging_face(_named(foreign), foreign.path)
        tokens = tensors.pop(_MASK_TOKENS, torch.empty(0))
        predictor = {name: value for name, value in tensors.items() if name.startswith("predictor")}
        predictor |= {f"mask_tokens.{number}": token for number, token in enumerate(tokens)}
        encoder = {name: value for name, value in tensors.items() if name not in predictor}
        content = {"encoder": encoder} | ({"predictor": predictor} if predictor else {})
        imported = OfficialVJepa2().read(Foreign(foreign.path, content))
        told = {"encoder": {"norm_eps": EPS}}
        for section, settings in _SETTINGS.items():
            for theirs, ours in settings.items():
                if theirs in foreign.config and section in imported.config:
                    told.setdefault(section, {})[ours] = foreign.config[theirs]
                    imported.unknown.pop(f"{section}.{ours}", None)
                    imported.assumed.pop(f"{section}.{ours}", None)
        config = imported.config | {section: imported.config[section] | values for section, values in told.items()}
        weights = {part: from_official(value, learned_positions=False) for part, value in content.items()}
        return Imported(config, weights, imported.unknown, imported.assumed)

    def write(self, export: Exportable, out: Path) -> None:
        """The chosen encoder and the predictor, with config.json and video_preprocessor_config.json."""
        encoder, video = require_clips(export, "hf-vjepa2", ("rope_vjepa2",))
        if video.size[0] != video.size[1]:
            raise cannot_hold("hf-vjepa2", f"clips of {video.size[0]} x {video.size[1]} pixels; it holds square ones")
        public = official(export.encoder(), export, encoder, video)
        predictor = official(export.need("predictor"), export, encoder, video)
        tokens = torch.stack(mask_tokens(predictor))
        public |= {name: value for name, value in predictor.items() if not name.startswith("mask_tokens.")}
        section = export.parts.config.predictor
        settings = _config(encoder, video) | _predictor_config(section, encoder.dimensions[2], len(tokens))
        theirs = NAMES.to_hugging_face(public) | {_MASK_TOKENS: tokens}
        save_folder(out, theirs, config=settings, video_preprocessor_config=_processor(video))


def _named(foreign: Foreign) -> Tensors:
    """Tensors under VJEPA2Model's names, also where it is a part of a classifier; what that adds is not among them."""
    named = {name.removeprefix("vjepa2."): value for name, value in foreign.tensors().items()}
    return {name: value for name, value in named.items() if not name.startswith(_CLASSIFIER)}


def _config(encoder: ViTConfig, video: VideoConfig) -> dict[str, Any]:
    width, depth, heads, ratio = encoder.dimensions
    return {
        "architectures": ["VJEPA2Model"],
        "model_type": "vjepa2",
        "patch_size": video.patch[0],
        "crop_size": video.size[0],
        "frames_per_clip": video.frames,
        "tubelet_size": video.tubelet,
        "in_chans": video.channels,
        "hidden_size": width,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "mlp_ratio": ratio,
        "hidden_act": "gelu",
        "qkv_bias": True,
        "layer_norm_eps": encoder.norm_eps,
    }


def _predictor_config(predictor: PredictorConfig, heads: int, num_tokens: int) -> dict[str, Any]:
    """`heads` are the encoder's."""
    return {
        "pred_hidden_size": predictor.width,
        "pred_num_attention_heads": predictor.heads or heads,
        "pred_num_hidden_layers": predictor.depth,
        "pred_mlp_ratio": predictor.mlp_ratio,
        "pred_num_mask_tokens": num_tokens,
        "pred_zero_init_mask_tokens": predictor.zero_init_mask_tokens,
    }


def _processor(video: VideoConfig) -> dict[str, Any]:
    """Preprocessing of an evaluation here: resize, centre crop, the statistics of training."""
    height, width = video.size
    covered = one_or_both(video.resize or video.size)
    return {
        "video_processor_type": "VJEPA2VideoProcessor",
        "do_resize": True,
        "size": {"shortest_edge": covered if isinstance(covered, int) else min(covered)},
        "resample": RESAMPLING[video.interpolation],
        "do_center_crop": True,
        "crop_size": {"height": height, "width": width},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": per_channel(video.mean, video.channels),
        "image_std": per_channel(video.std, video.channels),
    }
