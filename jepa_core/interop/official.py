"""What the public JEPA programs (I-JEPA, V-JEPA, V-JEPA 2) have in common in their checkpoints.

They name a transformer's parts nearly as we do. The differences: the patch projection is a convolution, fixed positions
are stored there and computed here, and everything has the prefix of a wrapper.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from jepa_core.builtin import VIT_SIZES, ViTConfig
from jepa_core.checkpoint import Tensors
from jepa_core.errors import CheckpointError, UsageError
from jepa_core.interop.files import Foreign
from jepa_core.interop.layouts import PARTS, Exportable
from jepa_core.nn.positions import sincos_rows, sincos_table
from jepa_core.types import TokenGrid

logger = logging.getLogger(__name__)

EPS = 1e-6
"""Of the public programs' layer norms."""
_SAME_POSITION = 2e-3  # weights may have been stored in half precision

# Ours -> the public programs'. Blocks have the same names inside.
_NAMES = {
    "tokenizer.projection.weight": "patch_embed.proj.weight",
    "tokenizer.projection.bias": "patch_embed.proj.bias",
    "backbone.positions.table": "pos_embed",
    "backbone.norm.weight": "norm.weight",
    "backbone.norm.bias": "norm.bias",
    "embed.weight": "predictor_embed.weight",
    "embed.bias": "predictor_embed.bias",
    "transformer.positions.table": "predictor_pos_embed",
    "transformer.norm.weight": "predictor_norm.weight",
    "transformer.norm.bias": "predictor_norm.bias",
    "project.weight": "predictor_proj.weight",
    "project.bias": "predictor_proj.bias",
}
_BLOCKS = {"backbone.blocks.": "blocks.", "transformer.blocks.": "predictor_blocks."}
_POSITIONS = ("pos_embed", "predictor_pos_embed")
_MASK_TOKEN, _MASK_TOKENS = "mask_token", "mask_tokens."  # a single one; numbered ones


def inverse(names: Mapping[str, str]) -> dict[str, str]:
    """From the second naming to the first."""
    return {new: old for old, new in names.items()}


def _renamed(name: str, names: Mapping[str, str], prefixes: Mapping[str, str]) -> str:
    """A name translated as a whole, or by its prefix, or as it is (and then the strict load reports it)."""
    for old, new in prefixes.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return names.get(name, name)


def mask_tokens(tensors: Tensors) -> list[Tensor]:
    """A public predictor's mask tokens, the single one or the numbered ones in the order of their numbers."""
    if _MASK_TOKEN in tensors:
        return [tensors[_MASK_TOKEN]]
    numbered = [name for name in tensors if name.startswith(_MASK_TOKENS)]
    return [tensors[f"{_MASK_TOKENS}{number}"] for number in range(len(numbered))]


def from_official(tensors: Tensors, learned_positions: bool) -> Tensors:
    """An encoder or a predictor of a public program under our names; positions are kept where they are learned."""
    names, prefixes = inverse(_NAMES), inverse(_BLOCKS)
    ours: Tensors = {}
    for name, value in tensors.items():
        if name in _POSITIONS:
            ours |= {names[name]: value.flatten(0, 1)} if learned_positions else {}
        elif not name.startswith(_MASK_TOKEN):
            ours[_renamed(name, names, prefixes)] = value
    if "tokenizer.projection.weight" in ours:
        ours["tokenizer.projection.weight"] = ours["tokenizer.projection.weight"].flatten(1)
    if tokens := mask_tokens(tensors):
        ours["mask_tokens"] = torch.cat([token.flatten(0, -2) for token in tokens])
    return ours


def to_official(
    ours: Tensors, encoder: ViTConfig, grid: TokenGrid, kernel: Sequence[int], numbered: bool = False
) -> Tensors:
    """The inverse: fixed positions are written out, the projection becomes a convolution.

    Args:
        ours: an encoder's or a predictor's tensors.
        encoder: tells which positions it has; the predictor's are of the same kind.
        grid: of the positions.
        kernel: (channels, *patch), the convolution's shape behind its outputs.
        numbered: mask tokens are a list there, and not one.
    """
    theirs = {_renamed(name, _NAMES, _BLOCKS): value for name, value in ours.items()}
    is_encoder = "patch_embed.proj.weight" in theirs
    if is_encoder:
        theirs["patch_embed.proj.weight"] = theirs["patch_embed.proj.weight"].reshape(-1, *kernel)
    else:
        tokens = theirs.pop("mask_tokens")[:, None, None]
        listed = {f"{_MASK_TOKENS}{number}": token for number, token in enumerate(tokens)}
        theirs |= listed if numbered else {_MASK_TOKEN: tokens[0]}
    positions, norm = ("pos_embed", "norm") if is_encoder else ("predictor_pos_embed", "predictor_norm")
    if encoder.positions in ("sincos", "sincos_half_first"):
        width, half_first = len(theirs[f"{norm}.weight"]), encoder.positions == "sincos_half_first"
        theirs[positions] = sincos_table(grid, width, half_first)
    if positions in theirs:
        theirs[positions] = theirs[positions].view(1, grid.num_tokens, -1)
    return theirs


def _shapes(cells: int, axes: int) -> Iterator[tuple[int, ...]]:
    """Every shape of so many cells."""
    if axes == 1:
        yield (cells,)
        return
    for first in range(1, cells + 1):
        if cells % first == 0:
            yield from ((first, *rest) for rest in _shapes(cells // first, axes - 1))


def fixed_grid(
    table: Float[Tensor, "cells width"], axes: Sequence[str]
) -> tuple[TokenGrid, Literal["sincos", "sincos_half_first"]] | None:
    """The grid that stored positions belong to and their kind; None where they are not fixed ones."""
    cells, width = table.shape
    for shape, half_first in itertools.product(_shapes(cells, len(axes)), (False, True)):
        corner = torch.tensor([[extent - 1 for extent in shape]], dtype=torch.float64)  # no two grids share it
        if not torch.allclose(table[-1:].float(), sincos_rows(corner, width, half_first), atol=_SAME_POSITION):
            continue
        grid = TokenGrid(shape, tuple(axes))
        if torch.allclose(table.float(), sincos_table(grid, width, half_first), atol=_SAME_POSITION):
            return grid, "sincos_half_first" if half_first else "sincos"
    return None


@dataclass(frozen=True)
class OfficialEncoder:
    """What an encoder's tensors tell about it."""

    channels: int
    """Of the signal."""
    patch: tuple[int, ...]
    """Extent of a token along each axis."""
    section: dict[str, Any]
    """The `encoder` section of the configuration."""
    grid: TokenGrid | None
    """Where fixed positions tell it."""
    unknown: dict[str, str]
    """As in `Imported`."""

    @property
    def learned(self) -> bool:
        """Whether positions are learned."""
        return self.section["positions"] == "learned"


def _depth(tensors: Tensors, prefix: str) -> int:
    return 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith(prefix))


def _vit_section(tensors: Tensors, heads: Mapping[int, int]) -> dict[str, Any]:
    """The ViT's configuration from the tensors' shapes; without `heads` where the width is no standard one."""
    hidden, width = tensors["blocks.0.mlp.fc1.weight"].shape
    depth = _depth(tensors, "blocks.")
    usual = heads.get(width) or {named[0]: named[2] for named in VIT_SIZES.values()}.get(width)
    for size, (named_width, named_depth, named_heads, ratio) in VIT_SIZES.items():
        if (width, depth, hidden) == (named_width, named_depth, round(named_width * ratio)):
            return {"name": "vit", "size": size} | ({} if usual == named_heads else {"heads": usual})
    section = {"name": "vit", "size": None, "width": width, "depth": depth, "mlp_ratio": hidden / width}
    return section | ({"heads": usual} if usual else {})


def read_encoder(
    tensors: Tensors,
    axes: Sequence[str],
    where: Path,
    program: str,
    rotary: bool = False,
    heads: Mapping[int, int] | None = None,
) -> OfficialEncoder:
    """What the tensors of a public program's encoder tell; raises CheckpointError that names what they lack.

    Args:
        tensors: the encoder, under the public names.
        axes: of the token grid.
        where: the file, for messages.
        program: the public program's name, for messages.
        rotary: its positions are those of the released V-JEPA 2, whatever table is stored.
        heads: attention heads by width where they are not those of `VIT_SIZES`.
    """
    try:
        _, channels, *patch = tensors["patch_embed.proj.weight"].shape
        section = _vit_section(tensors, heads or {})
        grid, section["positions"] = None, "rope_vjepa2"
        if not rotary:
            fixed = fixed_grid(tensors["pos_embed"].flatten(0, -2), axes)
            grid, section["positions"] = fixed or (None, "learned")
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{where}: looks like {program}, but the encoder lacks {error}.") from error
    unknown: dict[str, str] = {}
    if "heads" not in section and section["size"] is None:
        unknown["encoder.heads"] = (
            f"attention heads leave no trace in the tensors, and {section['width']} is no standard width"
        )
    if channels != 3:
        for statistic in ("mean", "std"):
            unknown[f"modality.{statistic}"] = f"the file does not tell how its {channels} channels were normalised"
    return OfficialEncoder(channels, tuple(patch), section, grid, unknown)


def predictor_section(tensors: Tensors, where: Path, program: str) -> dict[str, Any]:
    """The predictor's configuration from the tensors' shapes; raises CheckpointError."""
    try:
        hidden, width = tensors["predictor_blocks.0.mlp.fc1.weight"].shape
    except KeyError as error:
        raise CheckpointError(f"{where}: looks like {program}, but the predictor lacks {error}.") from error
    return {"width": width, "depth": _depth(tensors, "predictor_blocks."), "mlp_ratio": hidden / width}


def networks(foreign: Foreign, learned_positions: bool) -> dict[str, Tensors]:
    """The networks that a public checkpoint holds, under our names, by entry of PARTS."""
    held = {part: foreign.tensors(part) for part in PARTS}
    return {part: from_official(tensors, learned_positions) for part, tensors in held.items() if tensors}


def kernel_of(foreign: Foreign) -> tuple[int, ...] | None:
    """The shape of a public checkpoint's patch projection; None where it is not such a checkpoint."""
    projection = foreign.tensors("encoder").get("patch_embed.proj.weight")
    return None if projection is None else tuple(projection.shape)


def cannot_hold(layout: str, problem: str) -> UsageError:
    """The error of a layout that cannot hold a model."""
    return UsageError(f"--to {layout}: cannot hold {problem}. `--to safetensors` holds any encoder.")


def require_vit(export: Exportable, layout: str, modality: str, positions: Sequence[str]) -> ViTConfig:
    """The encoder's configuration; raises UsageError where the layout cannot hold it."""
    encoder, section = export.parts.config.encoder, export.parts.config.modality
    if not isinstance(encoder, ViTConfig) or section.name != modality:
        raise cannot_hold(layout, f"encoder {encoder.name} on modality {section.name}; it holds vit on {modality}")
    if encoder.positions not in positions:
        raise cannot_hold(layout, f"encoder.positions {encoder.positions}; it holds {' and '.join(positions)}")
    return encoder


def save_official(
    export: Exportable, out: Path, encoder: ViTConfig, prefix: str, convert: Callable[[Tensors], Tensors]
) -> None:
    """One file that the public programs' loaders accept; the optimizer's state is not carried over.

    Args:
        export: the run; must have all three networks.
        out: the file.
        encoder: its configuration.
        prefix: what the program's wrappers put before every name.
        convert: from our tensors of one network to the program's.
    """
    if encoder.norm_eps != EPS:
        logger.warning("the public program's norms have epsilon %g, this model's %g", EPS, encoder.norm_eps)
    content: dict[str, Any] = {}
    for part in PARTS:
        tensors = convert(export.need(part))
        content[part] = {f"{prefix}{name}": value.contiguous() for name, value in tensors.items()}
    unused = {"opt": None, "scaler": None, "epoch": 0, "loss": 0.0, "batch_size": 0, "world_size": 1, "lr": 0.0}
    with out.open("wb") as file:
        torch.save(content | unused, file)
