from __future__ import annotations

import math
import zlib

import numpy as np
import pytest

from jepa_core.report.pictures import (
    BLOCK_COLOURS,
    data_uri,
    draw_masks,
    feature_colours,
    inner_edge,
    num_slices,
    paint_cells,
    png,
    resize,
    split,
    tokens_shown,
)
from jepa_core.types import TokenGrid

PLANE = TokenGrid((4, 6), ("height", "width"))
DEEP = TokenGrid((3, 2, 4), ("depth", "height", "width"))
LINE = TokenGrid((5,), ("time",))
CELL = 10


def noise(grid: TokenGrid) -> np.ndarray:
    rows, columns = (1, *grid.shape)[-2:]
    shape = (rows * CELL, columns * CELL * num_slices(grid), 3)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def decoded(data: bytes) -> np.ndarray:
    """What a PNG reader does with the files that `png` writes: filter "Up" alone."""
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, place = {}, 8
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        assert int.from_bytes(data[place + 8 + length : place + 12 + length], "big") == zlib.crc32(kind + body)
        chunks[kind], place = body, place + 12 + length
    width, height = int.from_bytes(chunks[b"IHDR"][:4], "big"), int.from_bytes(chunks[b"IHDR"][4:8], "big")
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, 1 + 3 * width)
    assert (rows[:, 0] == 2).all()
    return rows[:, 1:].cumsum(0, dtype=np.uint8).reshape(height, width, 3)


def test_a_png_file_holds_the_picture() -> None:
    picture = noise(PLANE)
    assert (decoded(png(picture)) == picture).all()
    assert data_uri(picture).startswith("data:image/png;base64,iVBORw0KGgo")


@pytest.mark.parametrize("grid", [PLANE, DEEP, LINE], ids=str)
def test_exactly_the_context_cells_keep_their_values(grid: TokenGrid) -> None:
    picture = noise(grid)
    context = np.arange(0, grid.num_tokens, 3)
    targets = np.array([[1, 4], [2, 4]]) % grid.num_tokens
    per_slice = grid.num_tokens // num_slices(grid)
    pairs = zip(split(picture, grid), draw_masks(picture, grid, context, targets), strict=True)
    for number, (part, drawn) in enumerate(pairs):
        token = tokens_shown(grid, *part.shape[:2]) + number * per_slice
        seen = np.isin(token, context)
        assert (drawn[seen] == part[seen]).all()
        same = (drawn == part).all(-1)
        assert all(not same[token == hidden].all() for hidden in set(token.flat) - set(context.tolist()))


def test_hidden_cells_keep_little_of_their_contrast() -> None:
    picture = noise(PLANE)
    drawn = draw_masks(picture, PLANE, np.array([0]), np.empty((0, 0), int))[0]
    hidden = tokens_shown(PLANE, *picture.shape[:2]) != 0
    assert np.ptp(drawn[hidden]) < 0.3 * np.ptp(picture[hidden])


def test_a_target_block_is_outlined_in_its_colour_along_its_own_border_only() -> None:
    picture = np.zeros((4 * CELL, 6 * CELL, 3), np.uint8)
    block = [7, 8, 13, 14]  # rows 1-2, columns 1-2
    drawn = draw_masks(picture, PLANE, np.array([0]), np.array([block]), thickness=2)[0]
    outline = (drawn == BLOCK_COLOURS[0]).all(-1)
    expected = np.zeros_like(outline)
    expected[CELL : 3 * CELL, CELL : 3 * CELL] = True
    expected[CELL + 2 : 3 * CELL - 2, CELL + 2 : 3 * CELL - 2] = False
    assert (outline == expected).all()


def test_overlapping_blocks_do_not_hide_one_another() -> None:
    picture = np.zeros((4 * CELL, 6 * CELL, 3), np.uint8)
    same = [7, 8, 13, 14]
    drawn = draw_masks(picture, PLANE, np.array([0]), np.array([same, same, [0, 1, 2, 3]]), thickness=2)[0]
    first, second, apart = ((drawn == colour).all(-1) for colour in BLOCK_COLOURS[:3])
    assert first.sum() == (2 * CELL) ** 2 - (2 * CELL - 4) ** 2
    assert second.sum() == (2 * CELL - 4) ** 2 - (2 * CELL - 8) ** 2
    assert apart[0, 0]  # what overlaps nothing is outlined on its border


def test_blocks_beyond_the_palette_start_it_again() -> None:
    targets = np.arange(1, len(BLOCK_COLOURS) + 2)[:, None]
    drawn = draw_masks(noise(PLANE), PLANE, np.array([0]), targets)[0]
    last = tokens_shown(PLANE, *drawn.shape[:2]) == len(BLOCK_COLOURS) + 1
    assert (drawn[last] == BLOCK_COLOURS[0]).all(-1).any()


def test_an_edge_includes_concave_corners() -> None:
    region = np.ones((6, 6), bool)
    region[:3, :3] = False
    assert inner_edge(region, 1)[3, 3]
    assert not inner_edge(region, 1)[4, 4]


def test_slices_of_a_deep_grid_stand_side_by_side() -> None:
    assert num_slices(DEEP) == 3
    parts = split(noise(DEEP), DEEP)
    assert [part.shape for part in parts] == [(2 * CELL, 4 * CELL, 3)] * 3
    colours = np.arange(DEEP.num_tokens, dtype=np.uint8)[:, None].repeat(3, 1)
    painted = paint_cells(colours, DEEP, [part.shape for part in parts])
    assert painted[1][0, 0, 0] == 8
    assert painted[2][-1, -1, 0] == DEEP.num_tokens - 1


def test_cells_of_a_line_stand_in_one_row() -> None:
    token = tokens_shown(LINE, 30, 50)
    assert (token == np.arange(50)[None, :] // 10).all()


@pytest.mark.parametrize(
    ("shape", "expected"), [((64, 1000), (128, 2000)), ((80, 1500), (80, 1500)), ((100, 5000), (40, 2000))]
)
def test_a_strip_is_not_made_wider_than_a_page_can_show(shape: tuple[int, int], expected: tuple[int, int]) -> None:
    resized = resize(np.full((*shape, 3), 90, np.uint8), 176, widest=2000)
    assert resized.shape == (*expected, 3)
    assert (resized == 90).all()


@pytest.mark.parametrize(("cell", "thickness"), [(4, 1), (10, 2), (40, 3)])
def test_outlines_leave_room_for_what_is_in_a_cell(cell: int, thickness: int) -> None:
    picture = np.zeros((4 * cell, 6 * cell, 3), np.uint8)
    drawn = draw_masks(picture, PLANE, np.array([0]), np.array([[7]]))[0]
    outline = (drawn == BLOCK_COLOURS[0]).all(-1)
    assert outline.sum() == cell**2 - (cell - 2 * thickness) ** 2


@pytest.mark.parametrize(("side", "expected"), [(28, 168), (50, 200), (176, 176), (500, 176)])
def test_a_picture_is_resized_to_about_the_wanted_height(side: int, expected: int) -> None:
    picture = np.full((side, 2 * side, 3), 90, np.uint8)
    resized = resize(picture, 176)
    assert resized.shape == (expected, 2 * expected, 3)
    assert (resized == 90).all()


def test_enlarging_keeps_values_and_shrinking_averages_them() -> None:
    checks = (np.indices((4, 4)).sum(0) % 2 * 200).astype(np.uint8)[..., None].repeat(3, -1)
    assert (resize(checks, 8)[::2, ::2] == checks).all()
    assert (resize(checks, 2) == 100).all()


def test_cells_with_equal_features_have_equal_colours_in_every_sample() -> None:
    kinds = np.random.default_rng(0).standard_normal((5, 16))
    which = np.random.default_rng(1).integers(0, 5, (3, 24))
    colours, explained = feature_colours(kinds[which])
    assert len({tuple(colour) for colour in colours.reshape(-1, 3)}) == 5
    assert all(len(np.unique(colours[which == kind], axis=0)) == 1 for kind in range(5))
    assert 0.5 < explained <= 1


def test_feature_colours_follow_the_first_components_and_not_noise() -> None:
    along = np.linspace(-1, 1, 40)
    tokens = along[None, :, None] * np.eye(1, 8, 3)[None] * 10
    tokens = tokens + 1e-3 * np.random.default_rng(0).standard_normal((1, 40, 8))
    colours, explained = feature_colours(tokens)
    assert explained > 0.999
    assert abs(np.corrcoef(along, colours[0, :, 0])[0, 1]) > 0.99


@pytest.mark.parametrize("dim", [1, 2, 8])
def test_constant_or_narrow_features_are_drawn_as_well(dim: int) -> None:
    colours, explained = feature_colours(np.ones((2, 9, dim)))
    assert colours.shape == (2, 9, 3)
    assert math.isfinite(explained)
