"""The promises about multiblock3d, measured; and parity with what the public V-JEPA code does."""

from __future__ import annotations

import pickle
import re
import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jepa_core.errors import ConfigError, PluginIncompatible
from jepa_core.masking import MaskView, SampleRandom
from jepa_core.masking.inspect import MaskStatistics, Unlimited, along_axes, measure
from jepa_core.plugin import MaskingStrategy
from jepa_core.types import SampleKey, TokenBudget, TokenGrid
from jepa_video.masking import Sampler
from jepa_video.masking_configs import MultiBlock3dConfig, MultiBlockView, multiblock3d

AXES = ("time", "height", "width")
PUBLISHED = (8, 14, 14)
SHORT: dict[str, Any] = {"num_blocks": 8, "spatial_scale": (0.15, 0.15)}
LONG: dict[str, Any] = {"num_blocks": 2, "spatial_scale": (0.7, 0.7)}


def build(*shape: int, **values: Any) -> MaskingStrategy:
    return multiblock3d.build(MultiBlock3dConfig(**values), TokenGrid(shape or PUBLISHED, AXES))


def one_view(*shape: int, options: Any = None, **view: Any) -> MaskingStrategy:
    return build(*shape, views=(MultiBlockView(**{**SHORT, **view}),), **(options or {}))


def draw(strategy: MaskingStrategy, indices: range | list[int], epoch: int = 0) -> tuple[MaskView, ...]:
    return strategy(SampleRandom.of(0, [SampleKey(epoch, index) for index in indices]))


def members(cells: torch.Tensor, tokens: int = 1568) -> np.ndarray:
    inside = np.zeros((len(cells), tokens), dtype=bool)
    np.put_along_axis(inside, cells.flatten(1).numpy(), values=True, axis=1)
    return inside


def survival(statistics: MaskStatistics, number: int) -> list[np.ndarray]:
    """Per axis: context after over context before the length rule."""
    view = statistics.views[number]
    assert view.unlimited_rate is not None
    return [a / b for a, b in zip(along_axes(view.context_rate), along_axes(view.unlimited_rate), strict=True)]


@pytest.fixture(scope="module")
def paper() -> MaskStatistics:
    return measure(build(), 20_000)


# Promise 1


def test_context_survives_equally_at_every_time_step_in_both_published_views(paper: MaskStatistics) -> None:
    for number, tolerance in ((0, 0.01), (1, 0.015)):
        by_step = survival(paper, number)[0]
        assert abs(by_step / by_step.mean() - 1).max() < tolerance
        targets = along_axes(paper.views[number].target_rate)[0]
        assert abs(targets / targets.mean() - 1).max() < 0.005


def test_every_position_is_context_and_is_target_in_one_view_or_the_other(paper: MaskStatistics) -> None:
    assert paper.views[0].context_rate.min() > 0.01
    assert paper.views[0].target_rate.min() > 0.04
    assert paper.views[1].target_rate.min() > 0.15
    # Two blocks of 70 % cover the centre whatever their place: only the border can be context of that view.
    assert paper.views[1].context_rate[:, [0, -1]].min() > 0.05


def test_masks_are_symmetric_in_time_height_and_width(paper: MaskStatistics) -> None:
    for view in paper.views:
        for rate in (view.context_rate, view.target_rate):
            for along in along_axes(rate):
                np.testing.assert_allclose(along, along[::-1], rtol=0.06)


def test_the_length_rule_bends_no_row_or_column_by_more_than_a_few_percent(paper: MaskStatistics) -> None:
    short = paper.views[0]
    assert short.unevenness is not None
    assert short.unevenness < 0.04
    # A layout of the long view leaves between 14 and 64 cells of the border, of which a fixed length keeps 14.
    assert paper.views[1].unevenness_along is not None
    assert paper.views[1].unevenness_along[1] < 0.08


def test_blocks_hide_the_share_of_the_published_views(paper: MaskStatistics) -> None:
    shown = [float(view.unlimited_rate.sum()) for view in paper.views if view.unlimited_rate is not None]
    assert shown == pytest.approx([583, 292], rel=0.03)  # the public sampler's, before its cut
    assert [view.redrawn for view in paper.views] == pytest.approx([0.1, 0.1], abs=0.04)
    assert [view.stored for view in paper.views] == [0, 0]


# Promise 2


@pytest.mark.parametrize("batch", [1, 16, 256])
def test_every_batch_has_the_budgets_lengths(batch: int) -> None:
    strategy = build()
    assert strategy.budgets == (TokenBudget(384, 1, 792), TokenBudget(112, 1, 1120))
    for view, budget in zip(draw(strategy, range(batch)), strategy.budgets, strict=True):
        assert view.context.shape == (batch, budget.context)
        assert view.targets.shape == (batch, 1, budget.target)


def test_explicit_budgets_are_met_exactly() -> None:
    (view,) = draw(one_view(context_tokens=400, target_tokens=700), range(300))
    assert view.context.shape == (300, 400)
    assert view.targets.shape == (300, 1, 700)


def test_an_automatic_target_budget_makes_room_for_a_large_context() -> None:
    wide, narrow = one_view(context_tokens=700), one_view()
    assert wide.budgets[0].target < narrow.budgets[0].target
    assert wide.budgets[0].context + wide.budgets[0].target <= 1568
    (view,) = draw(wide, range(200))
    assert view.context.shape[1] == 700


def test_indices_ascend_without_repetition() -> None:
    for view in draw(build(), range(100)):
        assert (view.context.diff(dim=1) > 0).all()
        assert (view.targets.diff(dim=2) > 0).all()
        assert view.context.min() >= 0
        assert view.targets.max() < 1568


# Promise 3


@pytest.mark.parametrize(
    "options", [{}, {"inverse": True}, {"full_complement": True}, {"equal_length": "legacy_prefix"}]
)
def test_context_and_targets_never_overlap(options: dict[str, Any]) -> None:
    assert [view.leaking for view in measure(build(**options), 500).views] == [0, 0]


def test_targets_lie_in_blocks_through_all_time_and_the_context_outside() -> None:
    for view in draw(build(), range(50)):
        context, target = (members(cells).reshape(50, *PUBLISHED) for cells in (view.context, view.targets))
        assert not (context.any(1) & target.any(1)).any()  # a place is on one side at every time step
        assert target.any(1).mean() > 0.4


def test_all_blocks_of_a_sample_have_one_size_which_other_samples_do_not_share() -> None:
    sampler = Sampler(MultiBlockView(**SHORT), PUBLISHED, inverse=False)
    blocks = sampler.propose(SampleRandom.of(0, [SampleKey(0, index) for index in range(500)]))
    assert blocks.extent.shape == (500, 8, 3)
    assert (blocks.extent == blocks.extent[:, :1]).all()
    sizes = {tuple(extent) for extent in blocks.extent[:, 0].tolist()}
    assert sizes == {(8, 5, 6), (8, 6, 5), (8, 7, 4)}
    assert len({tuple(corner) for corner in blocks.corner[0].tolist()}) > 4
    assert 28.5 < (blocks.area / 8).mean() < 30.5  # .15 x 196 = 29.4


def test_full_complement_partitions_the_grid() -> None:
    strategy = build(full_complement=True)
    for view, budget in zip(draw(strategy, range(64)), strategy.budgets, strict=True):
        assert budget.context + budget.target == 1568
        everything = torch.cat([view.context, view.targets[:, 0]], 1).sort(1).values
        assert torch.equal(everything, torch.arange(1568).expand(64, -1))


def test_inverse_sees_the_blocks_and_predicts_what_lies_outside() -> None:
    plain, inverse = build(), build(inverse=True)
    for before, after in zip(plain.budgets, inverse.budgets, strict=True):
        assert (after.context, after.target) == pytest.approx((before.target, before.context), rel=0.05)
    (view, _) = draw(inverse, range(50))
    seen = members(view.context).reshape(50, *PUBLISHED).any((0, 1))
    assert seen.all()
    centre = members(view.targets).reshape(50, *PUBLISHED)[:, :, 6:8, 6:8].mean()
    corner = members(view.targets).reshape(50, *PUBLISHED)[:, :, [0, 0, -1, -1], [0, -1, 0, -1]].mean()
    assert corner > 2 * centre


@pytest.mark.parametrize(("keep", "steps"), [(0.5, 4), (0.99, 7), (0.01, 1), (1.0, 8)])
@pytest.mark.parametrize("options", [{}, {"inverse": True}, {"preset": "official"}])
def test_the_context_stays_in_the_first_steps_and_the_later_ones_are_hidden(
    keep: float, steps: int, options: dict[str, Any]
) -> None:
    (view,) = measure(one_view(max_temporal_keep=keep, options=options), 400, batch_size=100).views
    context, target = (along_axes(rate)[0] for rate in (view.context_rate, view.target_rate))
    assert context[steps:].sum() == 0
    assert (context[: min(steps, 4)] > 0).all()
    assert (target > 0).all()


def test_blocks_may_last_a_part_of_the_time_only() -> None:
    strategy = one_view(num_blocks=1, temporal_scale=(0.25, 0.5), spatial_scale=(0.3, 0.3))
    assert isinstance(strategy, Unlimited)
    hidden = ~strategy.unlimited(SampleRandom.of(0, [SampleKey(0, index) for index in range(500)]))[0]
    steps = hidden.reshape(500, 8, -1).any(2).sum(1)
    assert set(steps.tolist()) == {2, 3, 4}


# Promise 4


@pytest.mark.parametrize(
    ("values", "shape", "says"),
    [
        ({"context_tokens": 1200}, PUBLISHED, r"views\.0\.context_tokens: .* leave 1200 .* Allowed: 1 to \d+\."),
        ({"target_tokens": 1400}, PUBLISHED, r"views\.0\.target_tokens: .* hide 1400 .* Allowed: 1 to \d+\."),
        (
            {"context_tokens": 600, "target_tokens": 1100},
            PUBLISHED,
            r"views\.0\.target_tokens: .* beside 600 of context\. Allowed: 1 to \d+\.",
        ),
        (
            {"spatial_scale": (0.8, 0.9)},
            (4, 8, 8),
            r"views\.0: 8 blocks .* Allowed: num_blocks 1 to \d or spatial_scale up to 0\.\d+",
        ),
        (
            {"spatial_scale": (1.0, 1.0), "num_blocks": 1},
            (4, 8, 8),
            r"views\.0: 1 block of .* spatial_scale up to 0\.9",
        ),
        ({}, (1, 1, 1), r"views\.0: .* Allowed: a larger grid"),
    ],
)
def test_what_cannot_work_is_refused_with_the_feasible_range(
    values: dict[str, Any], shape: tuple[int, ...], says: str
) -> None:
    with pytest.raises(ConfigError, match=r"masking\." + says):
        one_view(*shape, **values)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("context_tokens", {}),
        ("target_tokens", {}),
        ("target_tokens", {"context_tokens": 600}),
        ("context_tokens", {"max_temporal_keep": 0.5}),
    ],
)
def test_the_stated_limits_work(key: str, values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as refused:
        one_view(**{**values, key: 1500})
    limit = int(str(refused.value).rsplit(" ", 1)[1].rstrip("."))
    (view,) = draw(one_view(**{**values, key: limit}), range(100))
    assert (view.context if key == "context_tokens" else view.targets).shape[-1] == limit
    with pytest.raises(ConfigError):
        one_view(**{**values, key: limit + 8})  # blocks through all time leave multiples of 8 tokens


def test_the_stated_ways_out_work() -> None:
    with pytest.raises(ConfigError) as refused:
        one_view(4, 8, 8, spatial_scale=(0.8, 0.9))
    found = re.search(r"num_blocks 1 to (\d+) or spatial_scale up to ([\d.]+)\.", str(refused.value))
    assert found
    blocks, scale = int(found[1]), float(found[2])
    one_view(4, 8, 8, spatial_scale=(0.8, 0.9), num_blocks=blocks)
    one_view(4, 8, 8, spatial_scale=(min(0.8, scale), scale))
    with pytest.raises(ConfigError):
        one_view(4, 8, 8, spatial_scale=(0.8, 0.9), num_blocks=blocks + 1)


def test_the_problems_of_all_views_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        build(1, 1, 1)
    assert len(refused.value.problems) == 2
    assert "masking.views.1" in refused.value.problems[1]


@pytest.mark.parametrize(
    "shape", [(2, 2, 2), (4, 4, 4), (1, 14, 14), (8, 3, 3), (8, 5, 5), (8, 8, 8), (8, 4, 12), (8, 1, 20), (32, 16, 16)]
)
def test_small_flat_narrow_and_long_grids_work(shape: tuple[int, int, int]) -> None:
    statistics = measure(build(*shape), 800)
    for view in statistics.views:
        assert view.leaking == 0
    assert np.max([view.context_rate for view in statistics.views], 0).min() > 0
    assert statistics.views[0].target_rate.min() > 0
    time_rates = along_axes(statistics.views[0].context_rate)[0]
    assert abs(time_rates / time_rates.mean() - 1).max() < 0.1


shares = st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(lambda ends: (min(ends), max(ends)))


@settings(max_examples=50, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 6), st.integers(1, 10), st.integers(1, 10)),
    view=st.fixed_dictionaries(
        {
            "num_blocks": st.integers(1, 10),
            "spatial_scale": shares,
            "temporal_scale": shares,
            "max_temporal_keep": st.floats(0.1, 1),
            "context_tokens": st.one_of(st.just("auto"), st.integers(1, 200)),
        }
    ),
    inverse=st.booleans(),
    target=st.one_of(st.just("auto"), st.just("full"), st.integers(1, 200)),
)
def test_any_grid_and_view_meets_its_budget_or_is_refused_and_never_hangs(
    shape: tuple[int, int, int], view: dict[str, Any], inverse: bool, target: Any
) -> None:
    start, full, tokens = time.process_time(), target == "full", int(np.prod(shape))
    refusal, strategy = "", None
    try:
        strategy = one_view(
            *shape,
            **view,
            target_tokens="auto" if full else target,
            options={"inverse": inverse, "full_complement": full},
        )
    except ConfigError as error:
        refusal = str(error)
    assert "Allowed:" in refusal or strategy
    if not strategy:
        return
    (drawn,), (budget,) = draw(strategy, range(30)), strategy.budgets
    assert drawn.context.shape == (30, budget.context)
    assert drawn.targets.shape == (30, 1, budget.target)
    assert view["context_tokens"] in {"auto", budget.context}
    assert target in {"auto", "full", budget.target}
    assert not (members(drawn.context, tokens) & members(drawn.targets, tokens)).any()
    assert time.process_time() - start < 5


# Promise 5


@pytest.mark.parametrize("values", [{}, {"full_complement": True}, {"inverse": True}])
def test_a_mask_is_a_function_of_the_sample_and_of_nothing_else(values: dict[str, Any]) -> None:
    strategy, again = build(**values), pickle.loads(pickle.dumps(build(**values)))
    together = draw(strategy, range(48))
    for batch in (1, 16):
        for start in range(0, 48, batch):
            for part, whole in zip(draw(again, range(start, start + batch)), together, strict=True):
                assert torch.equal(part.context, whole.context[start : start + batch])
                assert torch.equal(part.targets, whole.targets[start : start + batch])
    assert torch.equal(draw(strategy, [47, 5])[1].targets, together[1].targets[[47, 5]])
    assert not torch.equal(draw(strategy, range(48), epoch=1)[0].context, together[0].context)


def test_views_have_draws_of_their_own() -> None:
    first, second = draw(build(views=(MultiBlockView(**SHORT), MultiBlockView(**SHORT))), range(20))
    assert (members(first.targets) & members(second.targets)).sum() < 0.75 * members(first.targets).sum()


# Promise 6


def test_sampling_is_vectorised_over_the_batch() -> None:
    strategy = build(4, 8, 8)

    def seconds(batch: int) -> float:
        best = float("inf")
        for _ in range(5):
            start = time.process_time()
            for _ in range(4):
                draw(strategy, range(batch))
            best = min(best, time.process_time() - start)
        return best

    assert seconds(64) < 20 * seconds(1)  # a loop over samples would take 64 times as long


# Configuration


@pytest.mark.parametrize(
    "values",
    [
        {"preset": "official", "equal_length": "budget"},
        {"preset": "official", "views": [{**SHORT, "context_tokens": 50}]},
        {"equal_length": "legacy_prefix", "views": [{**SHORT, "target_tokens": 50}]},
        {"full_complement": True, "views": [{**SHORT, "target_tokens": 50}]},
        {"views": []},
        {"views": [{**SHORT, "spatial_scale": (0.3, 0.2)}]},
        {"views": [{"num_blocks": 3}]},
    ],
)
def test_contradictory_options_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        MultiBlock3dConfig.model_validate({"name": "multiblock3d", **values}, strict=False)


def test_one_value_of_one_view_can_be_set_and_the_others_stay() -> None:
    config = MultiBlock3dConfig.model_validate({"views": {"1": {"max_temporal_keep": 0.5}}})
    assert config.views[0] == MultiBlockView(**SHORT)
    assert config.views[1] == MultiBlockView(**LONG, max_temporal_keep=0.5)


def test_other_grids_are_refused() -> None:
    with pytest.raises(PluginIncompatible, match="3 axes"):
        multiblock3d.build(MultiBlock3dConfig(), TokenGrid((5, 38), ("frequency", "time")))
    with pytest.raises(PluginIncompatible, match="'time'"):
        multiblock3d.build(MultiBlock3dConfig(), TokenGrid(PUBLISHED, ("depth", "height", "width")))
    with pytest.raises(ConfigError, match="time as the first axis"):
        multiblock3d.build(MultiBlock3dConfig(), TokenGrid(PUBLISHED, ("height", "width", "time")))
