"""Weights of the public I-JEPA code, in and out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from jepa_core.builtin import ViTConfig
from jepa_core.checkpoint import Tensors
from jepa_core.errors import UsageError
from jepa_core.interop import Exportable, Foreign, Imported
from jepa_core.interop.official import (
    OfficialEncoder,
    cannot_hold,
    kernel_of,
    networks,
    predictor_section,
    read_encoder,
    require_vit,
    save_official,
    to_official,
)
from jepa_image.config import ImageConfig

AXES = ("height", "width")
PROGRAM = "I-JEPA"
_POSITIONS = ("sincos", "sincos_half_first", "learned")


def sections(found: OfficialEncoder, cells: int) -> tuple[dict[str, Any], dict[str, str]]:
    """The configuration that follows from an encoder, and what it does not tell.

    Fixed positions tell the grid, square or not; learned ones are taken for those of a square.

    Args:
        found: what its tensors tell.
        cells: number of its positions.
    """
    image: dict[str, Any] = {"name": "image", "channels": found.channels, "patch": list(found.patch)}
    side, unknown = math.isqrt(cells), dict(found.unknown)
    shape = found.grid.shape if found.grid else (side, side)
    if math.prod(shape) == cells:
        image["size"] = [count * length for count, length in zip(shape, found.patch, strict=True)]
    else:
        unknown["modality.size"] = f"the learned positions of {cells} patches are of no square"
    return {"modality": image, "encoder": found.section}, unknown


def require_plain(export: Exportable, layout: str) -> tuple[ViTConfig, ImageConfig]:
    """Raise UsageError where the layout cannot hold the model."""
    encoder, image = require_vit(export, layout, "image", _POSITIONS), export.parts.config.modality
    assert isinstance(image, ImageConfig)
    if image.patch[0] != image.patch[1]:
        raise cannot_hold(layout, f"patches of {image.patch[0]} x {image.patch[1]} pixels; it holds square ones")
    return encoder, image


def official(tensors: Tensors, export: Exportable, encoder: ViTConfig, image: ImageConfig) -> Tensors:
    """One network of a run under the public names."""
    return to_official(tensors, encoder, export.parts.grid, (image.channels, *image.patch))


class OfficialIJepa:
    """`checkpoint.pth.tar` of the public I-JEPA code: encoder, predictor and target encoder."""

    def recognises(self, foreign: Foreign) -> bool:
        """Two encoders of two-dimensional patches."""
        kernel = kernel_of(foreign)
        return kernel is not None and len(kernel) == 4

    def read(self, foreign: Foreign) -> Imported:
        """All three networks; the predictor has the encoder's number of heads, as in the public code."""
        encoder = foreign.tensors("encoder")
        found = read_encoder(encoder, AXES, foreign.path, PROGRAM)
        config, unknown = sections(found, encoder["pos_embed"].shape[-2])
        if predictor := foreign.tensors("predictor"):
            config["predictor"] = predictor_section(predictor, foreign.path, PROGRAM)
        config["objective"] = {"name": "smooth_l1"}
        return Imported(config, networks(foreign, found.learned), unknown)

    def write(self, export: Exportable, out: Path) -> None:
        """One file that the public code's loader accepts; the optimizer's state is not carried over."""
        encoder, image = require_plain(export, "ijepa")
        if export.parts.config.predictor.mask_token_per_view:
            raise UsageError("--to ijepa: holds one mask token, and the predictor has one per view.")
        save_official(export, out, encoder, "module.", lambda tensors: official(tensors, export, encoder, image))
