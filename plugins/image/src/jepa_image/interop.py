"""Weights of the public I-JEPA code, in and out.

It names a transformer's parts nearly as we do. The differences: its patch projection is a convolution, fixed positions
are stored there and computed here, and everything has the prefix of DistributedDataParallel.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jepa_core.builtin import VIT_SIZES, ViTConfig
from jepa_core.errors import CheckpointError, UsageError
from jepa_core.interop import Exportable, Foreign, Imported
from jepa_core.nn.positions import sincos_table
from jepa_core.types import TokenGrid
from jepa_image.config import ImageConfig

logger = logging.getLogger(__name__)

Tensors = dict[str, Tensor]

AXES = ("height", "width")
OFFICIAL_EPS = 1e-6
_SAME_POSITION = 2e-3  # weights may have been stored in half precision

# Ours -> the public code's. Blocks have the same names inside.
_ENCODER_NAMES = {
    "tokenizer.projection.weight": "patch_embed.proj.weight",
    "tokenizer.projection.bias": "patch_embed.proj.bias",
    "backbone.positions.table": "pos_embed",
    "backbone.norm.weight": "norm.weight",
    "backbone.norm.bias": "norm.bias",
}
_PREDICTOR_NAMES = {
    "embed.weight": "predictor_embed.weight",
    "embed.bias": "predictor_embed.bias",
    "mask_tokens": "mask_token",
    "transformer.positions.table": "predictor_pos_embed",
    "transformer.norm.weight": "predictor_norm.weight",
    "transformer.norm.bias": "predictor_norm.bias",
    "project.weight": "predictor_proj.weight",
    "project.bias": "predictor_proj.bias",
}
_BLOCKS = {"backbone.blocks.": "blocks.", "transformer.blocks.": "predictor_blocks."}


def _renamed(name: str, names: Mapping[str, str], prefixes: Mapping[str, str]) -> str:
    """A name translated as a whole, or by its prefix, or as it is (and then the strict load reports it)."""
    for old, new in prefixes.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return names.get(name, name)


def inverse(names: Mapping[str, str]) -> dict[str, str]:
    """From the second naming to the first."""
    return {new: old for old, new in names.items()}


def from_official(tensors: Tensors, fixed_positions: bool) -> Tensors:
    """An encoder or a predictor of the public code under our names."""
    names, prefixes = inverse(_ENCODER_NAMES | _PREDICTOR_NAMES), inverse(_BLOCKS)
    ours = {_renamed(name, names, prefixes): value for name, value in tensors.items()}
    for name in ("backbone.positions.table", "transformer.positions.table"):
        if name in ours and fixed_positions:
            del ours[name]
        elif name in ours:
            ours[name] = ours[name].flatten(0, 1)
    if "tokenizer.projection.weight" in ours:
        ours["tokenizer.projection.weight"] = ours["tokenizer.projection.weight"].flatten(1)
    if "mask_tokens" in ours:
        ours["mask_tokens"] = ours["mask_tokens"].flatten(0, 1)
    return ours


def to_official(ours: Tensors, grid: TokenGrid, config: ImageConfig) -> Tensors:
    """The inverse: fixed positions are written out, the projection becomes a convolution."""
    theirs = {_renamed(name, _ENCODER_NAMES | _PREDICTOR_NAMES, _BLOCKS): value for name, value in ours.items()}
    if "patch_embed.proj.weight" in theirs:
        shape = (-1, config.channels, *config.patch)
        theirs["patch_embed.proj.weight"] = theirs["patch_embed.proj.weight"].reshape(shape)
        positions, width = "pos_embed", len(theirs["norm.weight"])
    else:
        theirs["mask_token"] = theirs["mask_token"][None]
        positions, width = "predictor_pos_embed", len(theirs["predictor_norm.weight"])
    theirs[positions] = theirs.get(positions, sincos_table(grid, width)).view(1, grid.num_tokens, width)
    return theirs


def _grid_of(positions: Tensor) -> tuple[TokenGrid | None, bool]:
    """The grid that stored positions belong to, and whether they are the fixed ones.

    Fixed positions tell the grid, square or not; learned ones are taken for those of a square.
    """
    cells, width = positions.shape[-2:]
    shapes = [(rows, cells // rows) for rows in range(1, cells + 1) if cells % rows == 0]
    for shape in sorted(shapes, key=lambda sides: abs(sides[0] - sides[1])):
        grid = TokenGrid(shape, AXES)
        if torch.allclose(positions[0].float(), sincos_table(grid, width), atol=_SAME_POSITION):
            return grid, True
    side = math.isqrt(cells)
    return (TokenGrid((side, side), AXES) if side * side == cells else None), False


def _encoder_section(tensors: Tensors) -> tuple[dict[str, Any], bool]:
    """The encoder's configuration from the tensors' shapes, and whether its number of heads is in it."""
    hidden, width = tensors["blocks.0.mlp.fc1.weight"].shape
    depth = _depth(tensors, "blocks.")
    for size, (named_width, named_depth, _, ratio) in VIT_SIZES.items():
        if (width, depth, hidden) == (named_width, named_depth, round(named_width * ratio)):
            return {"name": "vit", "size": size}, True
    section = {"name": "vit", "size": None, "width": width, "depth": depth, "mlp_ratio": hidden / width}
    heads = {named[0]: named[2] for named in VIT_SIZES.values()}.get(width)
    return section | ({"heads": heads} if heads else {}), heads is not None


def _depth(tensors: Tensors, prefix: str) -> int:
    return 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith(prefix))


def read_encoder(tensors: Tensors, where: Path) -> tuple[dict[str, Any], dict[str, str], bool]:
    """Configuration and unknown settings of an encoder in the public code's names; whether positions are fixed."""
    try:
        _, channels, *patch = tensors["patch_embed.proj.weight"].shape
        grid, fixed = _grid_of(tensors["pos_embed"])
        encoder, heads_known = _encoder_section(tensors)
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{where}: looks like I-JEPA, but the encoder lacks {error}.") from error
    encoder["positions"] = "sincos" if fixed else "learned"
    image: dict[str, Any] = {"name": "image", "channels": channels, "patch": patch}
    unknown: dict[str, str] = {}
    if not heads_known:
        unknown["encoder.heads"] = (
            f"attention heads leave no trace in the tensors, and {encoder['width']} is no standard width"
        )
    if grid is None:
        unknown["modality.size"] = f"the learned positions of {tensors['pos_embed'].shape[-2]} patches are of no square"
    else:
        image["size"] = [cells * side for cells, side in zip(grid.shape, patch, strict=True)]
    if channels != 3:
        for statistic in ("mean", "std"):
            unknown[f"modality.{statistic}"] = f"the file does not tell how its {channels} channels were normalised"
    return {"modality": image, "encoder": encoder}, unknown, fixed


def _predictor_section(tensors: Tensors, where: Path) -> dict[str, Any]:
    """The predictor's configuration from the tensors' shapes."""
    try:
        hidden, width = tensors["predictor_blocks.0.mlp.fc1.weight"].shape
    except KeyError as error:
        raise CheckpointError(f"{where}: looks like I-JEPA, but the predictor lacks {error}.") from error
    return {"width": width, "depth": _depth(tensors, "predictor_blocks."), "mlp_ratio": hidden / width}


def require_plain(export: Exportable, layout: str) -> tuple[ViTConfig, ImageConfig]:
    """Raise UsageError where the layout cannot hold the model."""
    encoder, image = export.parts.config.encoder, export.parts.config.modality
    problem = None
    if not isinstance(encoder, ViTConfig) or not isinstance(image, ImageConfig):
        problem = f"encoder {encoder.name} on modality {image.name}; it holds vit on image"
    elif encoder.positions not in {"sincos", "learned"}:
        problem = f"encoder.positions {encoder.positions}; it holds sincos and learned"
    elif image.patch[0] != image.patch[1]:
        problem = f"patches of {image.patch[0]} x {image.patch[1]} pixels; it holds square ones"
    if problem:
        raise UsageError(f"--to {layout}: cannot hold {problem}. `--to safetensors` holds any encoder.")
    assert isinstance(encoder, ViTConfig)
    assert isinstance(image, ImageConfig)
    return encoder, image


class OfficialIJepa:
    """`checkpoint.pth.tar` of the public I-JEPA code: encoder, predictor and target encoder."""

    def recognises(self, foreign: Foreign) -> bool:
        """Two encoders of two-dimensional patches."""
        projection = foreign.tensors("encoder").get("patch_embed.proj.weight")
        return projection is not None and projection.ndim == 4

    def read(self, foreign: Foreign) -> Imported:
        """All three networks; the predictor has the encoder's number of heads, as in the public code."""
        encoder = foreign.tensors("encoder")
        config, unknown, fixed = read_encoder(encoder, foreign.path)
        weights = {"encoder": from_official(encoder, fixed)}
        if target := foreign.tensors("target_encoder"):
            weights["target_encoder"] = from_official(target, fixed)
        if predictor := foreign.tensors("predictor"):
            config["predictor"] = _predictor_section(predictor, foreign.path)
            weights["predictor"] = from_official(predictor, fixed)
        config["objective"] = {"name": "smooth_l1"}
        return Imported(config, weights, unknown)

    def write(self, export: Exportable, out: Path) -> None:
        """One file that the public code's loader accepts; the optimizer's state is not carried over."""
        encoder, image = require_plain(export, "ijepa")
        if export.parts.config.predictor.mask_token_per_view:
            raise UsageError("--to ijepa: holds one mask token, and the predictor has one per view.")
        if encoder.norm_eps != OFFICIAL_EPS:
            logger.warning(
                "the public I-JEPA code's norms have epsilon %g, this model's %g", OFFICIAL_EPS, encoder.norm_eps
            )
        grid, content = export.parts.grid, dict[str, Any]()
        for part in ("encoder", "predictor", "target_encoder"):
            tensors = to_official(export.need(part), grid, image)
            content[part] = {f"module.{name}": value.contiguous() for name, value in tensors.items()}
        unused = {"opt": None, "scaler": None, "epoch": 0, "loss": 0.0, "batch_size": 0, "world_size": 1, "lr": 0.0}
        with out.open("wb") as file:
            torch.save(content | unused, file)
