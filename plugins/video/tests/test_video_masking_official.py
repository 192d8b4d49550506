"""multiblock3d with `preset: official` or `equal_length: legacy_prefix`: what the public V-JEPA code does, measured.

The expected numbers are means over 1,500 batches of that code as it stands, 8 x 14 x 14 tokens, 24 samples per batch:
365 of context in the short-range view with a standard error of 1.6, 99 in the long-range one with 1.0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from jepa_core.errors import ConfigError
from jepa_core.masking import MaskView, SampleRandom
from jepa_core.masking.inspect import MaskStatistics, Unlimited, along_axes, measure
from jepa_core.plugin import MaskingStrategy
from jepa_core.types import SampleKey, TokenGrid
from jepa_video.masking_configs import MultiBlock3dConfig, MultiBlockView, multiblock3d

AXES = ("time", "height", "width")


def build(*shape: int, **values: Any) -> MaskingStrategy:
    options: dict[str, Any] = {"preset": "official", **values}
    return multiblock3d.build(MultiBlock3dConfig(**options), TokenGrid(shape, AXES))


def streams(count: int, epoch: int = 0) -> SampleRandom:
    return SampleRandom.of(0, [SampleKey(epoch, index) for index in range(count)])


def visible(strategy: MaskingStrategy, count: int, epoch: int = 0) -> list[np.ndarray]:
    assert isinstance(strategy, Unlimited)
    return [view.reshape(count, *strategy.grid.shape) for view in strategy.unlimited(streams(count, epoch))]


@pytest.fixture(scope="module")
def published() -> MaskStatistics:
    return measure(build(8, 14, 14), 24 * 400, batch_size=24)


def test_lengths_are_those_of_the_public_code(published: MaskStatistics) -> None:
    for view, (before, context, target) in zip(published.views, [(586, 365, 747), (293, 99, 1103)], strict=True):
        assert view.unlimited_rate is not None
        assert float(view.unlimited_rate.sum()) == pytest.approx(before, rel=0.03)
        assert float(view.context_rate.sum()) == pytest.approx(context, rel=0.03)
        assert float(view.target_rate.sum()) == pytest.approx(target, rel=0.02)
        assert view.budget.context == pytest.approx(context, rel=0.08)
        assert view.context_tokens[0] < 0.7 * context
        assert view.context_tokens[1] > 1.3 * context
    assert [view.unused for view in published.views] == pytest.approx([0.29, 0.24], abs=0.015)


def test_late_steps_are_lost_as_in_the_public_code(published: MaskStatistics) -> None:
    expected = {
        "context": ([1, 1, 0.99, 0.89, 0.62, 0.31, 0.13, 0.05], [1, 0.79, 0.45, 0.23, 0.10, 0.06, 0.04, 0.04]),
        "target": ([1, 1, 1, 1, 0.97, 0.73, 0.31, 0.08], [1, 1, 1, 1, 1, 0.99, 0.71, 0.22]),
    }
    for number, view in enumerate(published.views):
        assert view.unlimited_rate is not None
        seen = along_axes(view.context_rate)[0] / along_axes(view.unlimited_rate)[0]
        predicted = along_axes(view.target_rate)[0] / (1 - along_axes(view.unlimited_rate)[0])
        np.testing.assert_allclose(seen, expected["context"][number], atol=0.03)
        np.testing.assert_allclose(predicted, expected["target"][number], atol=0.03)


@pytest.mark.parametrize(("batch", "context"), [(64, (311, 81)), (256, (273, 74))])
def test_larger_batches_have_shorter_contexts(batch: int, context: tuple[int, int]) -> None:
    statistics = measure(build(8, 14, 14), batch * 40, batch_size=batch)
    for view, expected in zip(statistics.views, context, strict=True):
        assert float(view.context_rate.sum()) == pytest.approx(expected, rel=0.12)


def test_a_batch_has_one_size_of_blocks_and_views_share_its_aspect_ratio() -> None:
    views = tuple(MultiBlockView(num_blocks=1, spatial_scale=(scale, scale)) for scale in (0.3, 0.5))
    strategy, heights = build(4, 20, 20, views=views), list[list[int]]()
    for epoch in range(60):
        extents = list[int]()
        for seen in visible(strategy, 6, epoch):
            height, width = ((~seen).any((1, other)).sum(1) for other in (3, 2))
            assert len(set(height.tolist())) == len(set(width.tolist())) == 1
            extents.append(int(height[0]))
        heights.append(extents)
    small, large = np.array(heights).T
    assert len(set(small.tolist())) > 3
    assert np.corrcoef(small, large)[0, 1] > 0.95


def test_options_of_the_public_code_complete_or_swap_the_sets() -> None:
    plain = build(8, 14, 14)(streams(24))
    full = build(8, 14, 14, full_complement=True)(streams(24))
    swapped = build(8, 14, 14, inverse=True)(streams(24))
    for view, complete, inverse in zip(plain, full, swapped, strict=True):
        assert torch.equal(view.context, complete.context)
        everything = torch.cat([complete.context, complete.targets[:, 0]], 1).sort(1).values
        assert torch.equal(everything, torch.arange(1568).expand(24, -1))
        assert torch.equal(inverse.context, view.targets[:, 0])
        assert torch.equal(inverse.targets[:, 0], view.context)


def test_an_empty_context_is_drawn_again() -> None:
    strategy = build(2, 14, 14, views=(MultiBlockView(num_blocks=3, spatial_scale=(0.7, 0.7)),))
    (seen,) = visible(strategy, 3000)
    assert seen.any((1, 2, 3)).all()


def test_a_search_that_would_not_end_ends_with_one_cell_or_more() -> None:
    # 40 blocks of 7 x 7 on 8 x 8: nearly always all four corners are covered, and with them everything.
    view = MultiBlockView(num_blocks=40, spatial_scale=(0.77, 0.77), aspect=(1.0, 1.0))
    (seen,) = visible(build(2, 8, 8, views=(view,)), 200)
    assert seen.any((1, 2, 3)).all()


@pytest.mark.parametrize(
    ("view", "shape", "says"),
    [
        ({"num_blocks": 2, "spatial_scale": (0.5, 1.0), "aspect": (1.0, 1.0)}, (8, 14, 14), "may cover all"),
        ({"num_blocks": 8, "spatial_scale": (0.15, 0.15)}, (2, 2, 2), r"may have no cell\. Allowed: from 0\.25"),
    ],
)
def test_blocks_with_which_the_public_code_would_fail_are_refused(
    view: dict[str, Any], shape: tuple[int, ...], says: str
) -> None:
    with pytest.raises(ConfigError, match=rf"masking\.views\.0.*{says}"):
        build(*shape, views=(MultiBlockView(**view),))


def test_the_prefix_rule_alone_brings_the_bias_to_the_papers_sampler() -> None:
    statistics = measure(build(8, 14, 14, preset="paper", equal_length="legacy_prefix"), 24 * 40, batch_size=24)
    for view in statistics.views:
        assert view.unlimited_rate is not None
        survives = along_axes(view.context_rate)[0] / along_axes(view.unlimited_rate)[0]
        assert survives[0] > 0.9
        assert survives[7] < 0.1
        assert view.context_tokens[0] < view.context_tokens[1]


def test_a_batch_of_one_is_not_cut() -> None:
    view: MaskView
    for view in build(8, 14, 14)(streams(1)):
        assert view.context.shape[1] + view.targets.shape[2] == 1568
