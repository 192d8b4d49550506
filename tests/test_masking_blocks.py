"""Blocks on an N-dimensional grid, token budgets and layouts that have room for them."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jepa_core.masking import MaskView, SampleRandom
from jepa_core.masking.blocks import Blocks, BlockSampler, BlockSize
from jepa_core.masking.budget import (
    all_of,
    largest_budget,
    legacy_prefix,
    prefix_budgets,
    random_partition,
    random_subset,
    rest_of,
)
from jepa_core.masking.layouts import MIN_SHARE, ROUNDS, Layouts, last_that
from jepa_core.types import SampleKey, TokenBudget

TARGET = BlockSize((0.15, 0.2), (0.75, 1.5))


def streams(count: int, epoch: int = 0) -> SampleRandom:
    return SampleRandom.of(0, [SampleKey(epoch, index) for index in range(count)])


def cells_by_loop(corner: np.ndarray, extent: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    inside = np.zeros(shape, dtype=bool)
    inside[tuple(slice(start, start + length) for start, length in zip(corner, extent, strict=True))] = True
    return inside.ravel()


@pytest.mark.parametrize("shape", [(9,), (14, 14), (6, 20), (4, 7, 5), (2, 3, 4, 5)])
def test_cells_are_those_of_a_loop_over_samples_and_blocks(shape: tuple[int, ...]) -> None:
    size = BlockSize((0.2, 0.6), (0.5, 2.0), ((0.3, 1.0),) * max(0, len(shape) - 2))
    blocks = BlockSampler([size] * 3, shape).draw(streams(20))
    expected = [
        [cells_by_loop(corner, extent, shape) for corner, extent in zip(corners, extents, strict=True)]
        for corners, extents in zip(blocks.corner, blocks.extent, strict=True)
    ]
    np.testing.assert_array_equal(blocks.cells(shape), np.array(expected))
    np.testing.assert_array_equal(blocks.area, blocks.cells(shape).sum(-1))


@pytest.mark.parametrize("shape", [(14, 14), (4, 7, 5), (2, 3, 4, 5)])
def test_a_union_is_any_of_the_blocks_cells(shape: tuple[int, ...]) -> None:
    size = BlockSize((0.1, 0.4), (0.5, 2.0), ((0.3, 1.0),) * (len(shape) - 2))
    blocks = BlockSampler([size] * 3, shape).draw(streams(50))
    np.testing.assert_array_equal(blocks.union(shape), blocks.cells(shape).any(1))
    assert blocks.rows(slice(0)).union(shape).shape == (0, math.prod(shape))


def test_blocks_drawn_alike_share_their_size_within_a_sample_and_nothing_else() -> None:
    sampler = BlockSampler([BlockSize((0.1, 0.5), leading=((0.2, 1.0),))], (10, 8, 8))
    blocks = sampler.draw_alike(streams(2000), 4)
    assert blocks.extent.shape == (2000, 4, 3)
    assert (blocks.extent == blocks.extent[:, :1]).all()
    assert len(np.unique(blocks.extent[:, 0], axis=0)) > 50
    assert blocks.cells((10, 8, 8)).any((0, 1)).all()
    assert abs(np.corrcoef(blocks.corner[:, 0, 2], blocks.corner[:, 1, 2])[0, 1]) < 0.3


@pytest.mark.parametrize(("shape", "scale"), [((14, 14), 0.15), ((14, 14), 0.7), ((16, 16), 0.7), ((8, 8), 0.7)])
def test_areas_are_on_average_those_drawn_where_no_least_is_needed(shape: tuple[int, int], scale: float) -> None:
    size = BlockSize((scale, scale), (0.75, 1.5), at_least=False)
    area = BlockSampler([size], shape).draw(streams(5000)).area
    assert area.mean() == pytest.approx(scale * math.prod(shape), rel=0.04)
    assert area.min() < scale * math.prod(shape) < area.max()


def test_every_corner_position_is_equally_likely_with_both_ends() -> None:
    blocks = BlockSampler([BlockSize((9 / 64, 9 / 64))], (8, 8)).draw(streams(20_000))
    assert (blocks.extent == 3).all()
    counts = np.bincount(blocks.corner[:, 0] @ np.array([6, 1]), minlength=36)
    assert counts.size == 36
    assert abs(counts / counts.mean() - 1).max() < 0.2  # 4.5 standard deviations of a count of 556


def test_scale_and_aspect_ratio_are_independent_and_as_configured() -> None:
    blocks = BlockSampler([TARGET], (100, 100)).draw(streams(20_000))
    height, width = blocks.extent[:, 0].T
    scale, aspect = height * width / 1e4, height / width
    assert abs(np.corrcoef(scale, aspect)[0, 1]) < 0.03
    assert scale.min() >= 0.15
    assert scale.max() < 0.205
    assert abs(scale.mean() - 0.175) < 0.001
    assert 0.72 < aspect.min() < 0.78
    assert 1.45 < aspect.max() < 1.55
    assert abs(aspect.mean() - 1.125) < 0.01


@pytest.mark.parametrize("side", [8, 14])
def test_rounding_to_whole_cells_favours_no_axis(side: int) -> None:
    extent = BlockSampler([BlockSize((0.85, 1.0))], (side, side)).draw(streams(20_000)).extent[:, 0]
    height, width = (np.bincount(lengths, minlength=side + 1) / 20_000 for lengths in extent.T)
    assert abs(height - width).max() < 0.02
    assert height[-2] > 0.1


def test_blocks_of_a_sample_have_sizes_of_their_own() -> None:
    area = BlockSampler([TARGET, TARGET], (14, 14)).draw(streams(20_000)).area
    assert abs(np.corrcoef(area[:, 0], area[:, 1])[0, 1]) < 0.03


ranges = st.tuples(st.floats(0.005, 1), st.floats(0.005, 1)).map(lambda ends: (min(ends), max(ends)))
aspects = st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)).map(lambda ends: (min(ends), max(ends)))


@settings(max_examples=150, deadline=None)
@given(
    shape=st.lists(st.integers(1, 24), min_size=1, max_size=3).map(tuple),
    scale=ranges,
    aspect=aspects,
    at_least=st.booleans(),
)
def test_blocks_keep_their_bounds_on_any_grid(
    shape: tuple[int, ...], scale: tuple[float, float], aspect: tuple[float, float], at_least: bool
) -> None:
    sampler = BlockSampler([BlockSize(scale, aspect, ((0.3, 0.9),) * max(0, len(shape) - 2), at_least)], shape)
    blocks = sampler.draw(streams(200))
    assert (blocks.corner >= 0).all()
    assert (blocks.extent >= 1).all()
    assert (blocks.corner + blocks.extent <= np.array(shape)).all()
    assert (blocks.extent <= np.array(sampler.largest[0])).all()
    assert blocks.area.min() >= sampler.least[0]
    in_plane = blocks.extent[..., -2:].prod(-1)
    assert not at_least or in_plane.min() >= scale[0] * math.prod(shape[-2:]) - 1e-3


@pytest.mark.parametrize(
    ("shape", "least"), [((14, 14), 30), ((16, 16), 40), ((8, 8), 12), ((6, 20), 18), ((20, 1), 3), ((1, 20), 3)]
)
def test_least_is_the_smallest_area_that_comes_out(shape: tuple[int, int], least: int) -> None:
    sampler = BlockSampler([TARGET], shape)
    assert sampler.least == [least]
    assert sampler.draw(streams(5000)).area.min() == least


def test_leading_axes_have_an_extent_of_their_own() -> None:
    size = BlockSize((0.25, 0.25), leading=((0.5, 1.0),))
    extent = BlockSampler([size], (8, 4, 4)).draw(streams(2000)).extent[:, 0]
    assert set(extent[:, 0].tolist()) == {4, 5, 6, 7, 8}
    assert (extent[:, 1:] == 2).all()


def test_blocks_that_must_be_apart_share_no_cell_and_reach_all_places() -> None:
    shape = (10, 10)
    blocks = BlockSampler([BlockSize((0.09, 0.09))] * 3 + [BlockSize((1.0, 1.0))], shape).draw(
        streams(5000), num_apart=3
    )
    cells = blocks.cells(shape)[:, :3]
    assert (cells.sum(1) <= 1).all()  # 27 of 100 cells always find a place
    assert cells.any(1).mean(0).min() > 0.02


def test_blocks_without_a_place_apart_overlap_instead_of_hanging() -> None:
    blocks = BlockSampler([BlockSize((0.5, 0.5))] * 4, (6, 6)).draw(streams(50), num_apart=4)
    assert (blocks.cells((6, 6)).sum(1).max(1) > 1).all()


def test_a_random_subset_is_ascending_allowed_and_uniform() -> None:
    allowed = np.zeros((20_000, 12), dtype=bool)
    allowed[:, [0, 3, 4, 7, 11]] = True
    chosen = random_subset(streams(20_000), allowed, 2)
    assert (np.diff(chosen, axis=1) > 0).all()
    pairs, counts = np.unique(chosen, axis=0, return_counts=True)
    assert len(pairs) == math.comb(5, 2)
    assert set(pairs.ravel().tolist()) == {0, 3, 4, 7, 11}
    assert abs(counts / 2000 - 1).max() < 0.1


@pytest.mark.parametrize("cells", [1, 2, 3, 4, 255, 256, 4608])
def test_a_subset_of_everything_is_everything(cells: int) -> None:
    chosen = random_subset(streams(3), np.ones((3, 2, cells), dtype=bool), cells)
    np.testing.assert_array_equal(chosen, np.broadcast_to(np.arange(cells), (3, 2, cells)))


def test_too_large_a_subset_is_a_bug_and_not_a_wrong_mask() -> None:
    with pytest.raises(AssertionError, match="fewer than 3"):
        random_subset(streams(1), np.array([[True, True, False]]), 3)


def test_a_partition_uses_every_cell_once() -> None:
    groups = random_partition(streams(50), 20, [5, 7, 8])
    assert [group.shape for group in groups] == [(50, 5), (50, 7), (50, 8)]
    np.testing.assert_array_equal(np.sort(np.concatenate(groups, 1), 1), np.broadcast_to(np.arange(20), (50, 20)))


def test_the_subset_of_a_block_is_uniform_over_the_block() -> None:
    extent = np.tile(np.array([[[2, 3]]]), (20_000, 1, 1))
    blocks = Blocks(np.tile(np.array([[[1, 2]]]), (20_000, 1, 1)), extent)
    chosen = blocks.subset(streams(20_000), (4, 6), 4, largest=(3, 4))
    assert (np.diff(chosen[:, 0], axis=1) > 0).all()
    cells, counts = np.unique(chosen, return_counts=True)
    assert cells.tolist() == [8, 9, 10, 14, 15, 16]
    assert abs(counts / counts.mean() - 1).max() < 0.03


def test_the_prefix_rule_takes_the_first_cells_of_the_smallest_set() -> None:
    allowed = np.array([[0, 1, 1, 0, 1, 1], [1, 0, 0, 0, 1, 1]], dtype=bool)
    assert legacy_prefix(allowed).tolist() == [[1, 2, 4], [0, 4, 5]]


def test_all_of_lists_the_allowed_cells_and_rest_of_the_others() -> None:
    allowed = np.array([[0, 1, 1, 0, 1], [1, 0, 0, 1, 1]], dtype=bool)
    assert all_of(allowed).tolist() == [[1, 2, 4], [0, 3, 4]]
    assert rest_of(all_of(allowed), 5).tolist() == [[0, 3], [1, 2]]
    with pytest.raises(AssertionError, match="different sizes"):
        all_of(np.array([[True, False], [True, True]]))


def test_prefix_budgets_are_mean_lengths_over_batches() -> None:
    def by_first_sample(random: SampleRandom) -> tuple[MaskView, ...]:
        count = 3 + int(random.integers(np.full((len(random), 1), 5))[0, 0])  # 3 to 7 tokens in the batch
        cells = np.tile(np.arange(count), (len(random), 1))
        return MaskView.of(cells, cells[:, None]), MaskView.of(cells[:, :2], np.stack([cells[:, :1]] * 3, 1))

    assert prefix_budgets(by_first_sample, batch=8) == (TokenBudget(5, 1, 5), TokenBudget(2, 3, 1))


def test_the_budget_is_the_largest_that_the_share_has_room_for() -> None:
    room = np.arange(1, 101)
    for share in (0.5, 0.9, 0.95):
        budget = largest_budget(room, share)
        assert (room >= budget).mean() >= share
        assert (room >= budget + 1).mean() <= share + 0.01


def four_corners(share: float) -> Layouts:
    """One 1 x 1 block on 2 x 2 cells; what is visible is everything, in that share of the layouts, or nothing."""
    sampler = BlockSampler([BlockSize((0.25, 0.25))], (2, 2))

    def propose(random: SampleRandom) -> Blocks:
        return Blocks(sampler.draw(random).corner, (1 + (random.uniform(1, 2) >= share)).astype(np.int64))

    def visible(blocks: Blocks) -> np.ndarray:
        return np.repeat(blocks.extent[:, :, 0] == 1, 4, axis=1)

    return Layouts(propose, visible)


@pytest.mark.parametrize("share", [0.9, 0.5, 0.2])
def test_layouts_without_room_are_redrawn_until_they_have_it(share: float) -> None:
    layouts = four_corners(share)
    assert abs(layouts.share - share) < 0.03
    layout = layouts.draw(streams(4000))
    assert (layout.visible.sum(1) == 4).all()
    np.testing.assert_array_equal(layout.visible, np.repeat(layout.blocks.extent[:, :, 0] == 1, 4, axis=1))
    assert abs((layout.redraws == 0).mean() - share) < 0.03
    assert abs((layout.redraws > ROUNDS).mean() - (1 - share) ** (ROUNDS + 1)) < 0.01
    places = np.bincount(layout.blocks.corner[:, 0] @ np.array([2, 1]), minlength=4)
    assert abs(places / 1000 - 1).max() < 0.15  # redrawn and stored ones are spread as the first ones


def test_a_redraw_of_one_sample_changes_no_other() -> None:
    layouts = four_corners(0.5)
    together = layouts.draw(streams(100))
    for index in range(0, 100, 7):
        alone = layouts.draw(SampleRandom.of(0, [SampleKey(0, index)]))
        np.testing.assert_array_equal(alone.blocks.corner[0], together.blocks.corner[index])
        assert alone.redraws[0] == together.redraws[index]


def test_drawing_ends_where_next_to_nothing_has_room() -> None:
    layouts = four_corners(0.02)
    assert 0 < layouts.share < MIN_SHARE  # a strategy refuses this; it must end all the same
    start = time.process_time()
    assert (layouts.draw(streams(500)).visible.sum(1) == 4).all()
    assert time.process_time() - start < 5


def strips(width: tuple[float, float]) -> tuple[BlockSampler, int]:
    """One block as high as the grid of 2 x 100 cells: a share of the columns."""
    return BlockSampler([BlockSize(width, (0.1, 0.1))], (2, 100)), 200


def test_both_sides_have_room_for_their_budgets() -> None:
    sampler, cells = strips((0.2, 0.8))
    layouts = Layouts(sampler.draw, lambda blocks: ~blocks.union((2, 100)), hidden=None)
    seen = layouts.draw(streams(3000)).visible.sum(1)
    assert seen.min() >= layouts.budget
    assert (cells - seen).min() >= layouts.hidden
    # 95 % of the layouts have room for the context, 95 % of those for the targets too: .95 x .95
    assert layouts.share == pytest.approx(0.9025, abs=0.02)
    first = layouts.draw(streams(3000), limited=False).visible.sum(1)
    assert (first >= layouts.budget).mean() == pytest.approx(0.95, abs=0.03)
    assert (cells - first < layouts.hidden).any()


def test_the_largest_budgets_can_be_had_together_with_the_other() -> None:
    sampler, _ = strips((0.2, 0.8))

    def layouts(budget: int | None, hidden: int | None) -> Layouts:
        return Layouts(sampler.draw, lambda blocks: ~blocks.union((2, 100)), budget, hidden=hidden)

    for budget, hidden in ((100, 199), (100, None), (None, 199), (199, None)):
        tried = layouts(budget, hidden)
        if hidden == 199:
            assert tried.share < MIN_SHARE
            assert layouts(budget, tried.largest_hidden).share >= MIN_SHARE
        if budget == 199:
            assert tried.share < MIN_SHARE
            assert layouts(tried.largest, hidden).share >= MIN_SHARE


@pytest.mark.parametrize(("limit", "end", "found"), [(5, 20, 5), (0, 20, 0), (19, 20, 19), (50, 20, 19), (3, 1, 0)])
def test_bisection_finds_the_last_number_that_passes(limit: int, end: int, found: int) -> None:
    assert last_that(lambda number: number <= limit, end) == found
