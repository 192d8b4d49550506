"""The promises about masks (multiblock, block, quadrant), measured; and parity with what the public code does."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jepa_core.errors import ConfigError, PluginIncompatible
from jepa_core.masking import MaskView, SampleRandom
from jepa_core.masking.inspect import MaskStatistics, along_axes, measure
from jepa_core.plugin import MaskingStrategy
from jepa_core.types import SampleKey, TokenBudget, TokenGrid
from jepa_image.masking_configs import BlockConfig, MultiBlockConfig, QuadrantConfig, block, multiblock, quadrant

MANY = 20_000


def grid(*shape: int) -> TokenGrid:
    return TokenGrid(shape, ("height", "width")[: len(shape)])


def build(rows: int = 14, columns: int = 14, **values: Any) -> MaskingStrategy:
    return multiblock.build(MultiBlockConfig(**values), grid(rows, columns))


def draw(strategy: MaskingStrategy, indices: range | list[int], epoch: int = 0) -> MaskView:
    (view,) = strategy(SampleRandom.of(0, [SampleKey(epoch, index) for index in indices]))
    return view


def members(cells: torch.Tensor, tokens: int) -> np.ndarray:
    inside = np.zeros((len(cells), tokens), dtype=bool)
    np.put_along_axis(inside, cells.numpy(), values=True, axis=1)
    return inside


def relative_deviation(after: np.ndarray, before: np.ndarray) -> float:
    """Largest over rows and columns, of the ratio after / before from its mean."""
    ratio = after.mean() / before.mean()
    pairs = zip(along_axes(after), along_axes(before), strict=True)
    return max(float(abs(new / old / ratio - 1).max()) for new, old in pairs)


@pytest.fixture(scope="module")
def paper() -> MaskStatistics:
    return measure(build(), MANY)


# Promise 1


def test_every_position_is_context_and_is_target_in_two_percent_of_samples(paper: MaskStatistics) -> None:
    (view,) = paper.views
    assert view.context_rate.min() > 0.02
    assert view.target_rate.min() > 0.02


def test_the_length_rule_takes_the_same_share_of_every_row_and_column(paper: MaskStatistics) -> None:
    (view,) = paper.views
    assert view.unlimited_rate is not None
    assert view.unevenness is not None
    assert view.unevenness < 0.03
    assert view.unevenness == relative_deviation(view.context_rate, view.unlimited_rate)


def test_redraws_move_no_rows_or_columns_target_rate_by_more_than_the_tolerance(paper: MaskStatistics) -> None:
    # legacy_prefix redraws only for min_tokens, so its target blocks are those of the sampler before any length rule.
    before = measure(build(equal_length="legacy_prefix", target_scale=(0.17, 0.17), target_aspect=(1.0, 1.0)), MANY)
    after = measure(build(target_scale=(0.17, 0.17), target_aspect=(1.0, 1.0)), MANY)
    # One block size: its prefix is the whole block, as its random subset is.
    assert relative_deviation(after.views[0].target_rate, before.views[0].target_rate) < 0.04
    assert paper.views[0].redrawn is not None
    assert paper.views[0].redrawn < 0.06


def test_masks_are_symmetric_top_to_bottom_and_left_to_right(paper: MaskStatistics) -> None:
    for rate in (paper.views[0].context_rate, paper.views[0].target_rate):
        for along in along_axes(rate):
            np.testing.assert_allclose(along, along[::-1], rtol=0.05)


# Promise 2


@pytest.mark.parametrize("batch", [1, 16, 256])
@pytest.mark.parametrize("side", [14, 8])
def test_the_context_has_the_same_length_at_every_batch_size(batch: int, side: int) -> None:
    strategy = build(side, side)
    (budget,) = strategy.budgets
    assert budget == {14: TokenBudget(64, 4, 30), 8: TokenBudget(19, 4, 12)}[side]
    for epoch in range(3):
        view = draw(strategy, range(batch), epoch)
        assert view.context.shape == (batch, budget.context)
        assert view.targets.shape == (batch, 4, budget.target)


def test_explicit_budgets_are_met_exactly() -> None:
    view = draw(build(context_tokens=49, target_tokens=20), range(300))
    assert view.context.shape == (300, 49)
    assert view.targets.shape == (300, 4, 20)


def test_indices_ascend_without_repetition() -> None:
    view = draw(build(), range(300))
    assert (view.context.diff(dim=1) > 0).all()
    assert (view.targets.diff(dim=2) > 0).all()
    assert view.context.min() >= 0
    assert view.targets.max() < 196


def test_the_context_is_a_random_subset_of_what_is_visible() -> None:
    strategy = build(8, 8, num_targets=1, target_scale=(0.25, 0.25), target_aspect=(1.0, 1.0), context_tokens=24)
    kept = [members(draw(strategy, [index]).context, 64) for index in range(400)]
    by_order = np.zeros(2)
    for index, context in enumerate(kept):
        visible = ~members(draw(strategy, [index]).targets.flatten(1), 64)
        order = np.cumsum(visible) - 1
        half = visible.sum() // 2
        by_order += [context[visible & (order < half)[None]].sum(), context[visible & (order >= half)[None]].sum()]
    assert abs(by_order[0] / by_order.sum() - 0.5) < 0.03  # a prefix would give more than .9


# Promise 3


@pytest.mark.parametrize("values", [{}, {"disjoint_targets": True}, {"num_targets": 2, "target_scale": (0.1, 0.3)}])
def test_context_and_targets_never_overlap(values: dict[str, Any]) -> None:
    statistics = measure(build(**values), 5000)
    assert statistics.views[0].leaking == 0


def test_context_and_targets_overlap_where_the_config_says_so() -> None:
    assert measure(build(allow_overlap=True), 200).views[0].leaking == 1


def test_target_blocks_may_overlap_or_be_disjoint() -> None:
    assert measure(build(), 500).views[0].target_overlap > 0.1
    assert measure(build(disjoint_targets=True), 500).views[0].target_overlap == 0


def test_each_target_block_of_each_sample_is_a_block_of_its_own_size() -> None:
    view = draw(build(target_tokens=1), range(2000))
    assert view.targets.shape == (2000, 4, 1)
    view = draw(build(), range(500))
    heights = (view.targets // 14).amax(2) - (view.targets // 14).amin(2) + 1
    widths = (view.targets % 14).amax(2) - (view.targets % 14).amin(2) + 1
    assert 5 <= heights.max() <= 8
    assert 5 <= widths.max() <= 8
    assert (heights[:, 0] != heights[:, 1]).any()
    assert len({*zip(heights.flatten().tolist(), widths.flatten().tolist(), strict=True)}) >= 8


# Promise 4


@pytest.mark.parametrize(
    ("values", "shape", "says"),
    [
        ({"context_tokens": 150}, (14, 14), r"masking.context_tokens: .* Allowed: 1 to \d+\."),
        ({"target_tokens": 31}, (14, 14), r"masking.target_tokens: 31 .* 30 tokens. Allowed: 1 to 30"),
        ({"min_tokens": 11}, (7, 7), r"masking.min_tokens: 11 .* 8 tokens; 8 are predicted. Allowed: 1 to 8\."),
        (
            {"min_tokens": 20, "target_scale": (0.4, 0.4)},
            (8, 8),
            r"masking.min_tokens: .* 20 context .* Allowed: 1 to \d+\.",
        ),
        (
            {"target_scale": (0.9, 1.0)},
            (14, 14),
            r"masking.num_targets: .* Allowed: num_targets 1 to \d or target_scale up to 0\.\d+",
        ),
        (
            {"num_targets": 12, "disjoint_targets": True},
            (14, 14),
            r"num_targets: 12 disjoint .* Allowed: num_targets 1 to 4",
        ),
        ({}, (1, 1), r"masking.num_targets: .* Allowed: a larger grid"),
        ({"preset": "official"}, (7, 7), r"masking.min_tokens: 11 .* may have 6. Allowed: 1 to 6\."),
        ({"preset": "official"}, (2, 2), r"masking.min_tokens: .* Use a larger grid"),
    ],
)
def test_what_cannot_work_is_refused_with_the_feasible_range(
    values: dict[str, Any], shape: tuple[int, int], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        build(*shape, **values)


def test_the_stated_limits_work() -> None:
    with pytest.raises(ConfigError) as refused:
        build(context_tokens=150)
    limit = int(str(refused.value).rsplit(" ", 1)[1].rstrip("."))
    assert draw(build(context_tokens=limit), range(200)).context.shape == (200, limit)
    with pytest.raises(ConfigError):
        build(context_tokens=limit + 1)


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        build(context_tokens=150, target_tokens=50)
    assert len(refused.value.problems) == 2


@pytest.mark.parametrize(
    "shape", [(2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 7), (8, 8), (1, 20), (20, 1), (6, 20), (2, 50)]
)
def test_small_and_narrow_grids_work(shape: tuple[int, int]) -> None:
    statistics = measure(build(*shape), 2000)
    (view,) = statistics.views
    assert view.leaking == 0
    assert view.context_rate.min() > 0
    assert view.target_rate.min() > 0


shares = st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(lambda ends: (min(ends), max(ends)))


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 16), st.integers(1, 16)),
    scale=shares,
    context=shares,
    num_targets=st.integers(1, 6),
    disjoint=st.booleans(),
    tokens=st.one_of(st.just("auto"), st.integers(1, 60)),
)
def test_any_grid_and_scale_meets_its_budget_or_is_refused_and_never_hangs(
    shape: tuple[int, int],
    scale: tuple[float, float],
    context: tuple[float, float],
    num_targets: int,
    disjoint: bool,
    tokens: Any,
) -> None:
    start, refusal, strategy = time.process_time(), "", None
    try:
        strategy = build(
            *shape,
            target_scale=scale,
            context_scale=context,
            num_targets=num_targets,
            disjoint_targets=disjoint,
            context_tokens=tokens,
        )
    except ConfigError as error:
        refusal = str(error)
    assert "Allowed:" in refusal or strategy
    if strategy:
        (budget,), view = strategy.budgets, draw(strategy, range(40))
        assert view.context.shape == (40, budget.context)
        assert view.targets.shape == (40, num_targets, budget.target)
        tokens_of = grid(*shape).num_tokens
        assert not (members(view.context, tokens_of) & members(view.targets.flatten(1), tokens_of)).any()
        assert tokens in {"auto", budget.context}
        assert not disjoint or (members(view.targets.flatten(1), tokens_of).sum(1) == num_targets * budget.target).all()
    assert time.process_time() - start < 5


# Promise 5


@pytest.mark.parametrize("values", [{}, {"context_tokens": 95}, {"disjoint_targets": True}])
def test_a_mask_is_a_function_of_the_sample_and_of_nothing_else(values: dict[str, Any]) -> None:
    strategy, again = build(**values), build(**values)
    together, later = draw(strategy, range(64)), draw(strategy, range(64), epoch=1)
    assert not torch.equal(together.context, later.context)
    for batch in (1, 16):
        for start in range(0, 64, batch):
            part = draw(again, range(start, start + batch))
            assert torch.equal(part.context, together.context[start : start + batch])
            assert torch.equal(part.targets, together.targets[start : start + batch])
    shuffled = draw(strategy, [63, 5, 17])
    assert torch.equal(shuffled.targets, together.targets[[63, 5, 17]])


# Promise 6


def test_sampling_is_vectorised_over_the_batch() -> None:
    strategy = build()

    def seconds(batch: int) -> float:
        keys = [SampleKey(0, index) for index in range(batch)]
        best = float("inf")
        for _ in range(5):
            start = time.process_time()
            for _ in range(4):
                strategy(SampleRandom.of(0, keys))
            best = min(best, time.process_time() - start)
        return best

    assert seconds(64) < 16 * seconds(1)  # a loop over samples would take 64 times as long


# Parity


@pytest.fixture(scope="module")
def official() -> MaskStatistics:
    return measure(build(preset="official"), 128 * 80, batch_size=128)


def test_the_official_preset_never_uses_the_last_row_and_column(official: MaskStatistics) -> None:
    (view,) = official.views
    for rate in (view.context_rate, view.target_rate):
        assert rate[13].max() == rate[:, 13].max() == 0
        assert rate[:12, :13].min() > 0


def test_the_official_preset_reproduces_the_measured_bias(official: MaskStatistics) -> None:
    (view,) = official.views
    assert view.unlimited_rate is not None
    rows = view.context_rate.mean(1)
    assert 0.7 < rows[0] < 0.8
    assert rows[12] < 0.04
    assert view.unlimited_rate.mean(1)[12] > 0.7
    lost = 1 - view.context_rate.mean() / view.unlimited_rate.mean()
    assert 0.34 < lost < 0.42  # 38 % at batch 128
    assert view.context_tokens[0] < view.context_tokens[1]


def test_the_official_preset_has_one_block_size_per_batch_and_few_in_all() -> None:
    strategy, sizes = build(preset="official"), set[tuple[int, int]]()
    for epoch in range(200):
        targets = draw(strategy, range(8), epoch).targets
        extents = [((axis.amax(2) - axis.amin(2)) + 1) for axis in (targets // 14, targets % 14)]
        assert all(len(extent.unique()) == 1 for extent in extents)
        sizes.add((int(extents[0][0, 0]), int(extents[1][0, 0])))
    assert len(sizes) <= 9


def test_the_official_preset_relaxes_the_exclusion_after_twenty_tries_and_always_ends() -> None:
    strategy = build(preset="official", target_scale=(0.6, 0.7), min_tokens=60)
    statistics = measure(strategy, 256, batch_size=64)
    assert statistics.views[0].leaking > 0.9  # a documented fault of the public code
    assert statistics.views[0].context_tokens[0] >= 60


def test_the_prefix_rule_alone_brings_the_bias_to_the_papers_sampler() -> None:
    (view,) = measure(build(equal_length="legacy_prefix"), 128 * 20, batch_size=128).views
    rows = view.context_rate.mean(1)
    assert rows[0] > 0.5
    assert rows[13] < 0.02
    assert view.leaking == 0


@pytest.mark.parametrize(
    "values",
    [
        {"preset": "official", "equal_length": "budget"},
        {"preset": "official", "disjoint_targets": True},
        {"preset": "official", "context_tokens": 50},
        {"equal_length": "legacy_prefix", "target_tokens": 5},
        {"target_scale": (0.3, 0.2)},
        {"target_scale": (0.0, 0.2)},
    ],
)
def test_contradictory_options_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        MultiBlockConfig(**values)


def test_the_article_preset_draws_the_papers_masks() -> None:
    assert torch.equal(draw(build(preset="article"), range(9)).context, draw(build(), range(9)).context)


# block and quadrant


def test_block_predicts_one_block_from_the_rest() -> None:
    strategy = block.build(BlockConfig(), grid(14, 14))
    assert strategy.budgets == (TokenBudget(66, 1, 120),)
    statistics = measure(strategy, 3000)
    assert statistics.views[0].leaking == 0
    assert statistics.views[0].unevenness is not None
    assert statistics.views[0].unevenness < 0.05


def test_block_refuses_a_grid_that_is_too_small_with_its_own_keys() -> None:
    with pytest.raises(ConfigError, match=r"masking.target_scale: 1 target block .* Allowed: target_scale up to 0.5\."):
        block.build(BlockConfig(), grid(2, 2))


@pytest.mark.parametrize("shape", [(14, 14), (7, 7), (5, 8), (2, 3)])
def test_quadrants_have_equal_lengths_and_treat_every_position_alike(shape: tuple[int, int]) -> None:
    strategy = quadrant.build(QuadrantConfig(), grid(*shape))
    tokens = (shape[0] // 2) * (shape[1] // 2)
    assert strategy.budgets == (TokenBudget(tokens, 3, tokens),)
    (view,) = measure(strategy, 8000).views
    assert view.leaking == view.target_overlap == 0
    assert view.context_rate.min() > 0.1
    assert view.target_rate.min() > 0.3
    for along in (*along_axes(view.context_rate), *along_axes(view.target_rate)):
        np.testing.assert_allclose(along, along[::-1], rtol=0.12)
    if shape == (14, 14):
        assert view.unused == 0


def test_each_quadrant_lies_on_its_own_side_of_the_cuts() -> None:
    view = draw(quadrant.build(QuadrantConfig(), grid(7, 7)), range(200))
    for cells in (view.context, *view.targets.unbind(1)):
        assert ((cells // 7).amax(1) - (cells // 7).amin(1) <= 3).all()
        assert ((cells % 7).amax(1) - (cells % 7).amin(1) <= 3).all()


def test_quadrant_refuses_a_single_row() -> None:
    with pytest.raises(ConfigError, match="at least 2 x 2"):
        quadrant.build(QuadrantConfig(), grid(1, 20))


@pytest.mark.parametrize(
    ("plugin", "config"), [(multiblock, MultiBlockConfig()), (block, BlockConfig()), (quadrant, QuadrantConfig())]
)
def test_other_numbers_of_axes_are_refused_and_other_names_are_served(plugin: Any, config: Any) -> None:
    with pytest.raises(PluginIncompatible, match="2 axes"):
        plugin.build(config, TokenGrid((8, 14, 14), ("time", "height", "width")))
    plugin.build(config, TokenGrid((5, 38), ("frequency", "time")))
