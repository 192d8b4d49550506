"""time_frequency and inverse_block: blocks on a plane."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch

from jepa_audio.masking_configs import inverse_block, time_frequency
from jepa_core.errors import ConfigError, PluginIncompatible
from jepa_core.masking import MaskView, SampleRandom
from jepa_core.masking.inspect import ViewStatistics, along_axes, measure
from jepa_core.masking.layouts import ROUNDS
from jepa_core.plugin import Masking, MaskingStrategy
from jepa_core.types import SampleKey, TokenBudget, TokenGrid

TEN_SECONDS = TokenGrid((8, 64), ("frequency", "time"))
SIX_SECONDS = TokenGrid((5, 38), ("frequency", "time"))
TWO_SECONDS = TokenGrid((5, 13), ("frequency", "time"))
SQUARE = TokenGrid((14, 14), ("height", "width"))
GRIDS = [TEN_SECONDS, SIX_SECONDS, TWO_SECONDS, SQUARE]


def build(plugin: Masking, grid: TokenGrid = TEN_SECONDS, **values: Any) -> MaskingStrategy:
    return plugin.build(plugin.Config(name=plugin.name, **values), grid)


def draw(strategy: MaskingStrategy, indices: range) -> MaskView:
    (view,) = strategy(SampleRandom.of(0, [SampleKey(0, index) for index in indices]))
    return view


def on_grid(cells: torch.Tensor, grid: TokenGrid) -> np.ndarray:
    """(batch, rows, columns)"""
    inside = np.zeros((len(cells), grid.num_tokens), dtype=bool)
    np.put_along_axis(inside, cells.numpy(), values=True, axis=1)
    return inside.reshape(-1, *grid.shape)


def statistics(strategy: MaskingStrategy, samples: int = 4000) -> ViewStatistics:
    return measure(strategy, samples).views[0]


# time_frequency


@pytest.mark.parametrize("grid", GRIDS)
def test_the_context_shares_no_row_and_no_column_with_any_target_block(grid: TokenGrid) -> None:
    view = draw(build(time_frequency, grid), range(500))
    seen = on_grid(view.context, grid)
    for block in view.targets.unbind(1):
        predicted = on_grid(block, grid)
        assert not (seen & predicted.any(2, keepdims=True)).any()
        assert not (seen & predicted.any(1, keepdims=True)).any()


def test_rows_and_columns_of_a_whole_block_are_hidden_not_only_those_of_its_predicted_tokens() -> None:
    strategy = build(time_frequency, num_blocks=1, target_tokens=1, scale=(0.1, 0.1), context_scale=(1.0, 1.0))
    (seen,) = strategy.unlimited(SampleRandom.of(0, [SampleKey(0, index) for index in range(300)]))  # pyright: ignore[reportAttributeAccessIssue]
    rows, columns = (~seen.reshape(-1, *TEN_SECONDS.shape).any(axis) for axis in (2, 1))
    assert (rows.sum(1) * columns.sum(1) >= 0.1 * 512).all()


def test_a_block_whose_rows_and_columns_are_all_there_is_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"of 1 block of .* leave no context .* Allowed: scale up to 0\.1\."):
        build(time_frequency, num_blocks=1, scale=(0.25, 0.25), aspect=(1.0, 1.0))


@pytest.mark.parametrize("grid", GRIDS)
def test_blocks_have_equal_budgets_and_their_scale(grid: TokenGrid) -> None:
    strategy = build(time_frequency, grid)
    (budget,) = strategy.budgets
    assert budget.num_targets == 3
    assert budget.target == -(-5 * grid.num_tokens // 100)
    view = draw(strategy, range(100))
    assert view.context.shape == (100, budget.context)
    assert view.targets.shape == (100, 3, budget.target)
    assert (view.context.diff(dim=1) > 0).all()
    assert (view.targets.diff(dim=2) > 0).all()


def test_blocks_cover_about_the_same_share_of_both_axes_unless_an_aspect_is_given() -> None:
    def extents(**values: Any) -> tuple[float, float]:
        predicted = on_grid(draw(build(time_frequency, num_blocks=1, **values), range(500)).targets[:, 0], TEN_SECONDS)
        return predicted.any(2).sum(1).mean(), predicted.any(1).sum(1).mean()

    rows, columns = extents()
    assert rows / 8 == pytest.approx(columns / 64, rel=0.15)
    rows, columns = extents(aspect=(1.0, 1.0))
    assert rows == pytest.approx(columns, rel=0.15)


def test_the_paper_s_words_taken_literally_never_show_the_middle_bands() -> None:
    literal = statistics(build(time_frequency, aspect=(0.75, 1.5)))
    assert literal.context_rate[3:5].max() == 0
    assert literal.redrawn is not None
    assert literal.redrawn > 0.4
    assert statistics(build(time_frequency)).context_rate.min() > 0.02


@pytest.mark.parametrize("grid", GRIDS)
def test_every_cell_can_be_context_and_target_and_never_both(grid: TokenGrid) -> None:
    view = statistics(build(time_frequency, grid), 6000)
    assert view.context_rate.min() > 0
    assert view.target_rate.min() > 0
    assert view.leaking == 0


def test_the_length_rule_favours_no_row_and_no_column() -> None:
    view = statistics(build(time_frequency), 20_000)
    assert view.unlimited_rate is not None
    assert view.unlimited_rate.sum() > 1.5 * view.context_rate.sum()
    for before, after in zip(along_axes(view.unlimited_rate), along_axes(view.context_rate), strict=True):
        assert abs(after / before / (after.sum() / before.sum()) - 1).max() < 0.08


def test_redraws_are_bounded_and_told() -> None:
    strategy = build(time_frequency, context_tokens=110)
    redraws = strategy.redraws(SampleRandom.of(0, [SampleKey(0, index) for index in range(2000)]))[0]  # pyright: ignore[reportAttributeAccessIssue]
    assert 0.5 < (redraws > 0).mean() < 0.95
    assert redraws.max() <= ROUNDS + 1
    assert draw(strategy, range(2000)).context.shape == (2000, 110)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"target_tokens": 27}, r"masking.target_tokens: 27 .* smallest target block has 26 tokens. Allowed: 1 to 26"),
        ({"context_tokens": 400}, r"masking.context_tokens: 0.0% of the layouts .* Allowed: 1 to 1\d\d\."),
        ({"num_blocks": 60}, r"masking.num_blocks: .* Allowed: num_blocks 1 to \d+\."),
    ],
)
def test_what_cannot_work_is_refused_with_a_range_that_can(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as refused:
        build(time_frequency, **values)
    limit = int(str(refused.value).rpartition(" to ")[2].split(",")[0].rstrip("."))
    feasible: dict[str, Any] = dict.fromkeys(values, limit)
    assert build(time_frequency, **feasible).budgets


def test_all_problems_are_reported() -> None:
    with pytest.raises(ConfigError) as refused:
        build(time_frequency, target_tokens=99, context_tokens=500)
    assert len(refused.value.problems) == 2


# inverse_block


@pytest.mark.parametrize("grid", GRIDS)
def test_the_share_is_predicted_and_the_rest_is_context(grid: TokenGrid) -> None:
    strategy = build(inverse_block, grid)
    context = round(0.2 * grid.num_tokens)
    assert strategy.budgets == (TokenBudget(context, 1, grid.num_tokens - context),)
    view = draw(strategy, range(50))
    everything = torch.cat([view.context, view.targets[:, 0]], 1).sort(1).values
    assert torch.equal(everything, torch.arange(grid.num_tokens).expand(50, -1))


def test_the_context_is_made_of_whole_blocks_and_a_part_of_the_last() -> None:
    keys = [SampleKey(0, index) for index in range(300)]
    strategy = build(inverse_block)
    (whole,) = strategy.unlimited(SampleRandom.of(0, keys))  # pyright: ignore[reportAttributeAccessIssue]
    seen = on_grid(strategy(SampleRandom.of(0, keys))[0].context, TEN_SECONDS)
    blocks = whole.reshape(seen.shape)
    assert (seen <= blocks).all()
    assert (blocks.sum((1, 2)) - seen.sum((1, 2)) < 25).all()

    def covered_by_whole_blocks(cells: np.ndarray) -> np.ndarray:
        """Cells in 5 x 5 squares, on a ring, that lie in `cells`: erosion and dilation."""
        shifts = [(row, column) for row in range(5) for column in range(5)]
        corners = np.logical_and.reduce([np.roll(cells, (-row, -column), (1, 2)) for row, column in shifts])
        return np.logical_or.reduce([np.roll(corners, shift, (1, 2)) for shift in shifts])

    assert (covered_by_whole_blocks(blocks) == blocks).all()
    assert covered_by_whole_blocks(seen).sum() > 0.7 * seen.sum()


@pytest.mark.parametrize("grid", GRIDS)
def test_no_cell_is_seen_more_often_than_others(grid: TokenGrid) -> None:
    view = statistics(build(inverse_block, grid), 8000)
    assert max(abs(along / 0.2 - 1).max() for along in along_axes(view.context_rate)) < 0.09
    assert abs(view.context_rate / view.context_rate.mean() - 1).max() < 0.13
    assert view.leaking == view.unused == 0


def test_cells_of_the_context_have_their_neighbours_in_it() -> None:
    def neighbours(strategy: MaskingStrategy) -> float:
        seen = on_grid(draw(strategy, range(500)).context, TEN_SECONDS)
        return (seen[:, :, :-1] & seen[:, :, 1:]).sum() / seen.sum()

    assert neighbours(build(inverse_block)) > 0.7
    assert neighbours(build(inverse_block, block=(1, 1))) < 0.25


def test_a_block_has_its_rows_and_columns() -> None:
    seen = on_grid(draw(build(inverse_block, block=(2, 8), ratio=1 - 16 / 512), range(100)).context, TEN_SECONDS)
    assert (seen.any(2).sum(1) == 2).all()
    assert (seen.any(1).sum(1) == 8).all()


def test_budgets_thin_out_both_sides() -> None:
    strategy = build(inverse_block, context_tokens=50, target_tokens=100)
    assert strategy.budgets == (TokenBudget(50, 1, 100),)
    view = statistics(strategy)
    assert view.context_tokens == (50, 50)
    assert view.target_tokens == (100, 100)
    assert view.leaking == 0
    assert abs(along_axes(view.context_rate)[0] / view.context_rate.mean() - 1).max() < 0.05


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"block": (9, 5)}, r"masking.block: \[9, 5\] .* Allowed: 1 to 8 and 1 to 64\."),
        ({"ratio": 0.9999}, r"masking.ratio: 0.9999 leaves 0 of 512 .* Allowed: above 0, up to 0.998,"),
        ({"ratio": 1e-6}, r"masking.ratio: 1e-06 leaves 512 of 512 .* Allowed: above 0,"),
        ({"context_tokens": 103}, r"masking.context_tokens: 103 .* Allowed: 1 to 102\."),
    ],
)
def test_what_cannot_work_is_refused_with_the_feasible_range(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        build(inverse_block, **values)


# both


@pytest.mark.parametrize("plugin", [time_frequency, inverse_block])
def test_a_mask_is_a_function_of_the_sample_and_of_nothing_else(plugin: Masking) -> None:
    strategy = build(plugin, context_tokens=60)
    again = pickle.loads(pickle.dumps(strategy))
    together = draw(strategy, range(60))
    for start in range(0, 60, 20):
        part = draw(again, range(start, start + 20))
        assert torch.equal(part.context, together.context[start : start + 20])
        assert torch.equal(part.targets, together.targets[start : start + 20])


@pytest.mark.parametrize("plugin", [time_frequency, inverse_block])
def test_only_planes_are_served(plugin: Masking) -> None:
    with pytest.raises(PluginIncompatible, match="grids of 2 axes"):
        build(plugin, TokenGrid((4, 4, 4), ("time", "height", "width")))
