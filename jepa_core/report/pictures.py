"""Drawing on the pictures of a modality: masks, features as colours, and PNG bytes; NumPy only.

A picture is (height, width, 3) uint8 and shows every cell of the token grid on a regular lattice: the last axis runs to
the right, the one before it downwards, and the slices of any axes before those stand side by side.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Collection, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from jepa_core.types import TokenGrid

BLOCK_COLOURS = (
    (255, 176, 0),
    (48, 190, 255),
    (255, 84, 112),
    (60, 214, 130),
    (190, 132, 255),
    (255, 255, 255),
    (255, 122, 40),
    (0, 226, 214),
)
"""RGB of target blocks 0, 1, ...; more blocks than colours start again."""

_HIDDEN = np.array([112, 117, 128], dtype=np.float32)  # a grey that is neither black nor white data, in light and dark
_HIDDEN_SHARE = 0.78
_THICKNESS = 3
_MAX_INSETS = 4  # four outlines of 3 points fill a cell of 24
_NO_DATA_VARIANCE = 1e-12


def num_slices(grid: TokenGrid) -> int:
    """How many slices stand side by side in a picture: 1 for grids of one or two axes."""
    return math.prod(grid.shape[:-2])


def runs_upward(grid: TokenGrid, upward: Collection[str]) -> bool:
    """Whether the axis along the height of a picture is among those that are shown upwards."""
    return any(axis in upward for axis in grid.axes[-2:-1])


def split(picture: UInt8[np.ndarray, "height width 3"], grid: TokenGrid) -> list[UInt8[np.ndarray, "height slice 3"]]:
    """The slices of a picture; slice s shows the s-th run of consecutive tokens."""
    return np.array_split(picture, num_slices(grid), axis=1)


def tokens_shown(grid: TokenGrid, height: int, width: int) -> Int[np.ndarray, "height width"]:
    """Which token of a slice every point of the slice belongs to, counted from the slice's first."""
    rows, columns = (1, *grid.shape)[-2:]
    row, column = np.arange(height) * rows // height, np.arange(width) * columns // width
    return row[:, None] * columns + column


def resize(
    picture: UInt8[np.ndarray, "height width 3"], height: int, widest: int = 2144
) -> UInt8[np.ndarray, "new_height new_width 3"]:
    """Near `height`, at most `widest` (twice the page): small ones by a whole factor, large ones by averaging areas."""
    rows, columns, _ = picture.shape
    factor = min(round(height / rows), widest // columns)
    if factor >= 1:
        return picture.repeat(factor, axis=0).repeat(factor, axis=1)
    share = min(1.0, height / rows, widest / columns)
    averaged = picture.astype(np.float32)
    for axis, size in enumerate((rows, columns)):
        averaged = _average(averaged, max(1, round(size * share)), axis)
    return averaged.round().astype(np.uint8)


def _average(values: Float[np.ndarray, "height width 3"], size: int, axis: int) -> Float[np.ndarray, "a b 3"]:
    edges = np.linspace(0, values.shape[axis], size + 1).round().astype(int)
    shape = [1, 1, 1]
    shape[axis] = size
    return np.add.reduceat(values, edges[:-1], axis=axis) / np.diff(edges).reshape(shape)


def inner_edge(region: Bool[np.ndarray, "height width"], thickness: int) -> Bool[np.ndarray, "height width"]:
    """The points of a region that are at most `thickness` from its outside, diagonals and the border included."""
    core = np.pad(region, thickness)
    for axis in (0, 1):
        core = np.logical_and.reduce([np.roll(core, shift, axis) for shift in range(-thickness, thickness + 1)])
    height, width = region.shape
    return region & ~core[thickness : thickness + height, thickness : thickness + width]


def draw_masks(
    picture: UInt8[np.ndarray, "height width 3"],
    grid: TokenGrid,
    context: Int[np.ndarray, "context"],
    targets: Int[np.ndarray, "blocks target"],
    thickness: int | None = None,
) -> list[UInt8[np.ndarray, "height slice 3"]]:
    """One mask view: context cells as they are, all others dimmed, each target block outlined in its colour.

    Args:
        picture: of the whole signal.
        grid: the token grid.
        context: tokens that the context encoder sees.
        targets: tokens to be predicted, one row per block.
        thickness: of the outline, which lies inside the block; None is 3, and less where cells are small.

    Returns:
        One picture per slice.
    """
    per_slice, drawn, insets = grid.num_tokens // num_slices(grid), [], _insets(targets)
    thickness = thickness or _fitting_thickness(picture, grid)
    for number, part in enumerate(split(picture, grid)):
        token = tokens_shown(grid, *part.shape[:2]) + number * per_slice
        dimmed = (1 - _HIDDEN_SHARE) * part + _HIDDEN_SHARE * _HIDDEN
        canvas = np.where(np.isin(token, context)[..., None], part, dimmed.round().astype(np.uint8))
        for block, cells in enumerate(targets):
            region, inset = np.isin(token, cells), thickness * insets[block]
            outline = inner_edge(region, inset + thickness) & ~inner_edge(region, inset)
            canvas[outline] = BLOCK_COLOURS[block % len(BLOCK_COLOURS)]
        drawn.append(canvas)
    return drawn


def _fitting_thickness(picture: UInt8[np.ndarray, "height width 3"], grid: TokenGrid) -> int:
    """Single cells that are outlined must still show what is in them."""
    rows, columns = (1, *grid.shape)[-2:]
    smallest = min(picture.shape[0] // rows, picture.shape[1] // (columns * num_slices(grid)))
    return max(1, min(_THICKNESS, smallest // 5))


def _insets(targets: Int[np.ndarray, "blocks target"]) -> list[int]:
    """How far inside its border each block is outlined, in outlines: blocks that overlap must not hide one another."""
    insets: list[int] = []
    for block, cells in enumerate(targets):
        taken = {insets[earlier] for earlier in range(block) if np.isin(cells, targets[earlier]).any()}
        insets.append(next((free for free in range(_MAX_INSETS) if free not in taken), 0))
    return insets


def feature_colours(
    tokens: Float[np.ndarray, "samples token dim"],
) -> tuple[UInt8[np.ndarray, "samples token 3"], float]:
    """The first three principal components of all tokens as red, green and blue.

    Returns:
        Colours, each component stretched from its 1st to its 99th percentile; and the share of the variance, in [0, 1],
        that the three explain.
    """
    flat = tokens.reshape(-1, tokens.shape[-1]).astype(np.float64)
    flat -= flat.mean(0)
    variances, directions = np.linalg.eigh(flat.T @ flat / len(flat))
    top = directions[:, ::-1][:, :3]
    top *= np.where(top.sum(0) < 0, -1, 1)  # an eigenvector's sign is arbitrary: the same features, the same colours
    projected = np.zeros((len(flat), 3))
    projected[:, : top.shape[1]] = flat @ top
    low, high = np.percentile(projected, [1, 99], axis=0)
    unit = ((projected - low) / np.maximum(high - low, _NO_DATA_VARIANCE)).clip(0, 1)
    explained = variances[::-1][:3].sum() / max(variances.sum(), _NO_DATA_VARIANCE)
    return (unit * 255).round().astype(np.uint8).reshape(*tokens.shape[:2], 3), float(explained)


def paint_cells(
    colours: UInt8[np.ndarray, "token 3"], grid: TokenGrid, shapes: Sequence[tuple[int, ...]]
) -> list[UInt8[np.ndarray, "height slice 3"]]:
    """Every cell in the colour of its token, as slices of the given (height, width, ...)."""
    per_slice = np.split(colours, num_slices(grid))
    return [part[tokens_shown(grid, *shape[:2])] for part, shape in zip(per_slice, shapes, strict=True)]


def png(picture: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """The picture as a PNG file (ISO 15948): 8 bits, RGB, every row stored as its difference to the one above."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = picture.shape
    differences = np.diff(picture.reshape(height, -1), axis=0, prepend=np.uint8(0))
    rows = np.insert(differences, 0, 2, axis=1)  # filter type 2, "Up"
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def data_uri(picture: UInt8[np.ndarray, "height width 3"]) -> str:
    """The picture inside a page, without a request."""
    return embedded("image/png", png(picture))


def embedded(mime: str, content: bytes) -> str:
    """A file inside a page."""
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"
