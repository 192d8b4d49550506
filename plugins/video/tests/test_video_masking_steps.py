"""tube, causal and frame_drop: whole places or whole time steps, on any grid with an axis named time."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch

from jepa_core.errors import ConfigError, PluginIncompatible
from jepa_core.masking import MaskView, SampleRandom
from jepa_core.masking.inspect import along_axes, measure
from jepa_core.plugin import Masking, MaskingStrategy
from jepa_core.types import SampleKey, TokenBudget, TokenGrid
from jepa_video.masking_configs import causal, frame_drop, tube

VIDEO = TokenGrid((8, 14, 14), ("time", "height", "width"))
SPECTROGRAM = TokenGrid((5, 12), ("frequency", "time"))
ALL = [tube, causal, frame_drop]


def build(plugin: Masking, grid: TokenGrid = VIDEO, **values: Any) -> MaskingStrategy:
    return plugin.build(plugin.Config(name=plugin.name, **values), grid)


def draw(strategy: MaskingStrategy, indices: range | list[int]) -> MaskView:
    (view,) = strategy(SampleRandom.of(0, [SampleKey(0, index) for index in indices]))
    return view


def is_context(view: MaskView, grid: TokenGrid) -> np.ndarray:
    """(batch, *grid)"""
    inside = np.zeros((len(view.context), grid.num_tokens), dtype=bool)
    np.put_along_axis(inside, view.context.numpy(), values=True, axis=1)
    return inside.reshape(-1, *grid.shape)


@pytest.mark.parametrize(
    ("plugin", "values", "budget"),
    [
        (tube, {}, TokenBudget(152, 1, 1416)),  # the public code keeps int(196 x .1) = 19 places
        (tube, {"ratio": 0.5}, TokenBudget(784, 1, 784)),
        (causal, {}, TokenBudget(784, 1, 784)),
        (causal, {"context_share": 0.25}, TokenBudget(392, 1, 1176)),
        (frame_drop, {}, TokenBudget(784, 1, 784)),
        (frame_drop, {"ratio": 0.75}, TokenBudget(392, 1, 1176)),
    ],
)
def test_the_two_sides_partition_the_grid_by_the_configured_share(
    plugin: Masking, values: dict[str, Any], budget: TokenBudget
) -> None:
    strategy = build(plugin, **values)
    assert strategy.budgets == (budget,)
    view = draw(strategy, range(20))
    everything = torch.cat([view.context, view.targets[:, 0]], 1).sort(1).values
    assert torch.equal(everything, torch.arange(1568).expand(20, -1))
    assert (view.context.diff(dim=1) > 0).all()
    assert (view.targets.diff(dim=2) > 0).all()


def test_a_tube_is_a_place_at_every_time_step() -> None:
    seen = is_context(draw(build(tube), range(100)), VIDEO)
    assert (seen.all(1) == seen.any(1)).all()
    bands = is_context(draw(build(tube, SPECTROGRAM, ratio=0.4), range(100)), SPECTROGRAM)
    assert (bands.all(2).sum(1) == 3).all()
    assert (bands.any(2).sum(1) == 3).all()


def test_the_context_of_causal_is_the_past() -> None:
    for grid, axis, steps in ((VIDEO, 1, 3), (SPECTROGRAM, 2, 4)):
        seen = is_context(draw(build(causal, grid, context_share=0.35), range(3)), grid)
        assert seen.take(range(steps), axis).all()
        assert not seen.take(range(steps, seen.shape[axis]), axis).any()


def test_frame_drop_hides_whole_steps_wherever_time_lies() -> None:
    for grid, others, shown in ((VIDEO, (2, 3), 4), (SPECTROGRAM, (1,), 6)):
        seen = is_context(draw(build(frame_drop, grid), range(200)), grid)
        assert (seen.all(others) == seen.any(others)).all()
        assert (seen.any(others).sum(1) == shown).all()
        assert len(np.unique(seen.any(others), axis=0)) > 50


@pytest.mark.parametrize("grid", [VIDEO, SPECTROGRAM])
@pytest.mark.parametrize("plugin", [tube, frame_drop])
def test_every_position_is_hidden_equally_often(plugin: Masking, grid: TokenGrid) -> None:
    (view,) = measure(build(plugin, grid, ratio=0.6), 6000).views
    assert abs(view.target_rate / view.target_rate.mean() - 1).max() < 0.06
    assert view.context_rate.min() > 0.3
    assert view.leaking == view.unused == 0


def test_every_subset_of_steps_is_drawn() -> None:
    seen = is_context(draw(build(frame_drop, TokenGrid((4,), ("time",))), range(3000)), TokenGrid((4,), ("time",)))
    subsets, counts = np.unique(seen, axis=0, return_counts=True)
    assert len(subsets) == 6
    assert abs(counts / 500 - 1).max() < 0.2


@pytest.mark.parametrize("plugin", ALL)
def test_budgets_thin_out_both_sides_without_preferring_a_step(plugin: Masking) -> None:
    strategy = build(plugin, context_tokens=100, target_tokens=300)
    assert strategy.budgets == (TokenBudget(100, 1, 300),)
    (view,) = measure(strategy, 4000).views
    assert view.context_tokens == (100, 100)
    assert view.target_tokens == (300, 300)
    assert view.leaking == 0
    assert view.unlimited_rate is not None
    before, after = (along_axes(rate)[0] for rate in (view.unlimited_rate, view.context_rate))
    assert abs(after[before > 0] / before[before > 0] / (after.sum() / before.sum()) - 1).max() < 0.03


@pytest.mark.parametrize(
    ("plugin", "values", "grid", "says"),
    [
        (tube, {"ratio": 0.999}, VIDEO, r"masking.ratio: 0.999 .* Allowed: above 0, up to 0.994\."),
        (tube, {}, TokenGrid((9,), ("time",)), r"masking.ratio: .* Allowed: none; use a larger grid"),
        (causal, {"context_share": 0.99}, VIDEO, r"masking.context_share: 0.99 .* Allowed: above 0, up to 0.875\."),
        (frame_drop, {"ratio": 0.95}, VIDEO, r"masking.ratio: 0.95 .* Allowed: above 0, up to 0.875\."),
        (frame_drop, {}, TokenGrid((1, 4, 4), VIDEO.axes), r"masking.ratio: .* Allowed: none; use a larger grid"),
        (causal, {"target_tokens": 785}, VIDEO, r"masking.target_tokens: 785 .* Allowed: 1 to 784\."),
        (causal, {"context_tokens": 785}, VIDEO, r"masking.context_tokens: 785 .* Allowed: 1 to 784\."),
    ],
)
def test_what_cannot_work_is_refused_with_the_feasible_range(
    plugin: Masking, values: dict[str, Any], grid: TokenGrid, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        build(plugin, grid, **values)


@pytest.mark.parametrize("plugin", ALL)
@pytest.mark.parametrize("steps", [2, 3, 7, 11])
@pytest.mark.parametrize("side", [2, 3, 4])
def test_shares_up_to_the_stated_limit_work_on_small_grids(plugin: Masking, steps: int, side: int) -> None:
    grid = TokenGrid((steps, side, side), VIDEO.axes)
    key = "context_share" if plugin is causal else "ratio"
    with pytest.raises(ConfigError) as refused:
        build(plugin, grid, **{key: 0.9999})
    limit = float(str(refused.value).rsplit(" ", 1)[1].rstrip("."))
    for share in (limit, 1e-6):
        view = draw(build(plugin, grid, **{key: share}), range(4))
        assert view.context.shape[1] + view.targets.shape[2] == grid.num_tokens
        assert min(view.context.shape[1], view.targets.shape[2]) > 0


def test_both_problems_of_the_budgets_are_reported() -> None:
    with pytest.raises(ConfigError) as refused:
        build(frame_drop, context_tokens=2000, target_tokens=2000)
    assert len(refused.value.problems) == 2


@pytest.mark.parametrize("plugin", ALL)
def test_a_mask_is_a_function_of_the_sample_and_of_nothing_else(plugin: Masking) -> None:
    strategy = build(plugin, context_tokens=100)
    again = pickle.loads(pickle.dumps(strategy))
    together = draw(strategy, range(30))
    for start in range(0, 30, 10):
        part = draw(again, range(start, start + 10))
        assert torch.equal(part.context, together.context[start : start + 10])
        assert torch.equal(part.targets, together.targets[start : start + 10])


@pytest.mark.parametrize("plugin", ALL)
def test_a_grid_without_time_is_refused(plugin: Masking) -> None:
    with pytest.raises(PluginIncompatible, match="'time'"):
        build(plugin, TokenGrid((14, 14), ("height", "width")))
