"""Weights of the public V-JEPA and V-JEPA 2 code, in and out.

A V-JEPA file holds the table of its fixed positions, which tells the size of its clips. V-JEPA 2 has rotary positions,
which leave no trace: frames and size are taken from its recipe, and its encoder serves others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jepa_core.builtin import ViTConfig
from jepa_core.checkpoint import Tensors
from jepa_core.interop import Exportable, Foreign, Imported
from jepa_core.interop.official import (
    OfficialEncoder,
    cannot_hold,
    kernel_of,
    mask_tokens,
    networks,
    predictor_section,
    read_encoder,
    require_vit,
    save_official,
    to_official,
)
from jepa_video.config import VideoConfig

AXES = ("time", "height", "width")
PREFIX = "module.backbone."
HEADS = {1408: 22}
"""V-JEPA 2's ViT-g has 22 attention heads where I-JEPA's has 16."""
NUM_VIEWS = 2
"""Mask views, and with them mask tokens, of V-JEPA."""
_FRAMES, _SIZE, _PREDICTOR_WIDTH, _PREDICTOR_HEADS = 16, 256, 384, 12  # of V-JEPA 2: its pretraining configurations


def modality_section(found: OfficialEncoder) -> dict[str, Any]:
    """What an encoder's tensors tell about clips: tubelets, and frames and size where fixed positions tell the grid."""
    tubelet, *patch = found.patch
    video: dict[str, Any] = {"name": "video", "channels": found.channels, "tubelet": tubelet, "patch": patch}
    if found.grid:
        steps, *cells = found.grid.shape
        video |= {"frames": steps * tubelet, "size": [count * side for count, side in zip(cells, patch, strict=True)]}
    return video


def training_sections() -> dict[str, Any]:
    """Masks and loss of all V-JEPA weights."""
    return {"masking": {"name": "multiblock3d"}, "objective": {"name": "l1"}}


def require_clips(export: Exportable, layout: str, positions: tuple[str, ...]) -> tuple[ViTConfig, VideoConfig]:
    """Raise UsageError where the layout cannot hold the model."""
    encoder, video = require_vit(export, layout, "video", positions), export.parts.config.modality
    assert isinstance(video, VideoConfig)
    if video.patch[0] != video.patch[1]:
        raise cannot_hold(layout, f"patches of {video.patch[0]} x {video.patch[1]} pixels; it holds square ones")
    return encoder, video


def official(tensors: Tensors, export: Exportable, encoder: ViTConfig, video: VideoConfig) -> Tensors:
    """One network of a run under the public names."""
    kernel = (video.channels, video.tubelet, *video.patch)
    return to_official(tensors, encoder, export.parts.grid, kernel, numbered=True)


def _save(export: Exportable, out: Path, encoder: ViTConfig, video: VideoConfig) -> None:
    save_official(export, out, encoder, PREFIX, lambda tensors: official(tensors, export, encoder, video))


class OfficialVJepa:
    """`.pth.tar` checkpoint of the public V-JEPA code: encoder, predictor and target encoder."""

    def recognises(self, foreign: Foreign) -> bool:
        """An encoder of three-dimensional patches that stores positions."""
        kernel = kernel_of(foreign)
        return kernel is not None and len(kernel) == 5 and "pos_embed" in foreign.tensors("encoder")

    def read(self, foreign: Foreign) -> Imported:
        """All three networks; the predictor has the encoder's number of heads, and view i has mask token i."""
        found = read_encoder(foreign.tensors("encoder"), AXES, foreign.path, "V-JEPA")
        config = {"modality": modality_section(found), "encoder": found.section} | training_sections()
        unknown = dict(found.unknown)
        if found.grid is None:
            unknown |= dict.fromkeys(("modality.frames", "modality.size"), "learned positions do not tell the grid")
        if predictor := foreign.tensors("predictor"):
            tokens = {"mask_token_per_view": True, "mask_tokens": len(mask_tokens(predictor))}
            config["predictor"] = predictor_section(predictor, foreign.path, "V-JEPA") | tokens
        return Imported(config, networks(foreign, found.learned), unknown)

    def write(self, export: Exportable, out: Path) -> None:
        """One file that the public code's loader accepts; the optimizer's state is not carried over."""
        encoder, video = require_clips(export, "vjepa", ("sincos", "sincos_half_first", "learned"))
        heads = export.parts.config.predictor.heads
        if heads not in (None, encoder.dimensions[2]):
            raise cannot_hold("vjepa", f"predictor.heads {heads}; its predictor has as many as the encoder")
        _save(export, out, encoder, video)


class OfficialVJepa2:
    """`.pt` checkpoint of the public V-JEPA 2 code: encoder, predictor and target encoder."""

    def recognises(self, foreign: Foreign) -> bool:
        """An encoder of three-dimensional patches without stored positions.

        A file with positions that nothing uses and with more mask tokens than V-JEPA has could be either.
        """
        kernel = kernel_of(foreign)
        spare = len(mask_tokens(foreign.tensors("predictor"))) > NUM_VIEWS
        return kernel is not None and len(kernel) == 5 and (spare or "pos_embed" not in foreign.tensors("encoder"))

    def read(self, foreign: Foreign) -> Imported:
        """All three networks; stored positions are left out, as that code does with rotary ones.

        A mask token there belongs to a length of clips and not to a view, and the first to the only one of a run: it
        serves all views here, and the others are kept unused.
        """
        encoder, predictor = foreign.tensors("encoder"), foreign.tensors("predictor")
        found = read_encoder(encoder, AXES, foreign.path, "V-JEPA 2", rotary=True, heads=HEADS)
        video = modality_section(found) | {"frames": _FRAMES, "size": _SIZE}
        assumed = {
            "modality.frames": f"{_FRAMES} frames (V-JEPA 2's first phase of pretraining)",
            "modality.size": f"{_SIZE} pixels (V-JEPA 2, but for ViT-g-384)",
        }
        config = {"modality": video, "encoder": found.section} | training_sections()
        if predictor:
            section = predictor_section(predictor, foreign.path, "V-JEPA 2")
            if section["width"] == _PREDICTOR_WIDTH:
                section["heads"] = _PREDICTOR_HEADS
                assumed["predictor.heads"] = f"{_PREDICTOR_HEADS} attention heads of the predictor (V-JEPA 2)"
            tokens = {"mask_token_per_view": False, "mask_tokens": len(mask_tokens(predictor))}
            config["predictor"] = section | tokens
        return Imported(config, networks(foreign, learned_positions=False), found.unknown, assumed)

    def write(self, export: Exportable, out: Path) -> None:
        """One file that the public code's loader accepts; the optimizer's state is not carried over."""
        _save(export, out, *require_clips(export, "vjepa2", ("rope_vjepa2",)))
