"""time and frequency: whole steps or bands, in spans or at random, on any grid with such an axis."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch

from jepa_audio.masking_configs import frequency, time
from jepa_core.errors import ConfigError, PluginIncompatible
from jepa_core.masking import MaskView, SampleRandom
from jepa_core.masking.inspect import along_axes, measure
from jepa_core.plugin import Masking, MaskingStrategy
from jepa_core.types import SampleKey, TokenBudget, TokenGrid

SPECTROGRAM = TokenGrid((8, 30), ("frequency", "time"))
TURNED = TokenGrid((30, 8), ("time", "frequency"))
WAVEFORM = TokenGrid((50,), ("time",))
CLIP = TokenGrid((8, 4, 4), ("time", "height", "width"))
BOTH = [time, frequency]


def build(plugin: Masking, grid: TokenGrid = SPECTROGRAM, **values: Any) -> MaskingStrategy:
    return plugin.build(plugin.Config(name=plugin.name, **values), grid)


def draw(strategy: MaskingStrategy, indices: range) -> MaskView:
    (view,) = strategy(SampleRandom.of(0, [SampleKey(0, index) for index in indices]))
    return view


def hidden_slices(plugin: Masking, grid: TokenGrid, samples: int, **values: Any) -> np.ndarray:
    """(samples, slices along the plugin's axis); each is hidden as a whole or visible as a whole."""
    view = draw(build(plugin, grid, **values), range(samples))
    inside = np.zeros((samples, grid.num_tokens), dtype=bool)
    np.put_along_axis(inside, view.context.numpy(), values=True, axis=1)
    seen = inside.reshape(-1, *grid.shape)
    others = tuple(1 + number for number, axis in enumerate(grid.axes) if axis != plugin.name)
    assert (seen.all(others) == seen.any(others)).all()
    return np.logical_not(seen.any(others))


def lengths_of_spans(row: np.ndarray) -> list[int]:
    """Hidden runs on a ring, in ascending order."""
    start = np.flatnonzero(~row)[0]
    edges = np.flatnonzero(np.diff(np.pad(np.roll(row, -start), 1).astype(int)))
    return sorted((edges[1::2] - edges[::2]).tolist())


@pytest.mark.parametrize(
    ("plugin", "grid", "hidden"),
    [(time, SPECTROGRAM, 18), (time, TURNED, 18), (time, WAVEFORM, 30), (time, CLIP, 5), (frequency, SPECTROGRAM, 5)],
)
@pytest.mark.parametrize("span", [1, 4, 100])
def test_the_share_is_hidden_in_whole_slices_and_the_rest_is_context(
    plugin: Masking, grid: TokenGrid, hidden: int, span: int
) -> None:
    assert (hidden_slices(plugin, grid, 50, span=span).sum(1) == hidden).all()
    view = draw(build(plugin, grid, span=span), range(50))
    everything = torch.cat([view.context, view.targets[:, 0]], 1).sort(1).values
    assert torch.equal(everything, torch.arange(grid.num_tokens).expand(50, -1))
    assert (view.context.diff(dim=1) > 0).all()
    assert (view.targets.diff(dim=2) > 0).all()


def test_spans_have_the_configured_length_but_for_one_remainder_and_those_that_touch() -> None:
    rows = hidden_slices(time, SPECTROGRAM, 400, ratio=0.4, span=5)  # 12 steps: 5, 5 and 2
    found = [lengths_of_spans(row) for row in rows]
    assert {sum(lengths) for lengths in found} == {12}
    apart = [lengths for lengths in found if len(lengths) == 3]
    assert len(apart) > 200
    assert all(lengths == [2, 5, 5] for lengths in apart)
    assert {length for lengths in found for length in lengths} <= {2, 5, 7, 10, 12}


def test_one_span_takes_all_where_it_is_longer_than_the_share() -> None:
    rows = hidden_slices(time, SPECTROGRAM, 300, span=100)
    assert all(lengths_of_spans(row) == [18] for row in rows)
    assert len(np.unique(rows, axis=0)) == 30  # one for every step that it can begin at


def test_a_span_of_one_draws_every_subset_alike() -> None:
    rows = hidden_slices(time, TokenGrid((5,), ("time",)), 5000, ratio=0.4, span=1)
    subsets, counts = np.unique(rows, axis=0, return_counts=True)
    assert len(subsets) == 10
    assert abs(counts / 500 - 1).max() < 0.2


def test_each_span_is_as_likely_the_shorter_one() -> None:
    rows = hidden_slices(time, TokenGrid((9,), ("time",)), 6000, ratio=0.4, span=3)  # 4 steps: 3 and 1, and 5 gaps
    apart = [row for row in rows if lengths_of_spans(row) == [1, 3]]
    single = [np.roll(row, -np.flatnonzero(row & ~np.roll(row, 1) & ~np.roll(row, -1))[0]) for row in apart]
    # From the single step on, the span of three begins 2 to 5 steps later: alike often.
    after = np.bincount([np.flatnonzero(row[1:])[0] + 1 for row in single], minlength=6)[2:6]
    assert abs(after / after.mean() - 1).max() < 0.12


@pytest.mark.parametrize("plugin", BOTH)
@pytest.mark.parametrize("span", [1, 3, 4])
def test_every_cell_is_hidden_equally_often(plugin: Masking, span: int) -> None:
    (view,) = measure(build(plugin, span=span), 8000).views
    assert abs(view.target_rate / view.target_rate.mean() - 1).max() < 0.05
    assert abs(view.context_rate / view.context_rate.mean() - 1).max() < 0.07
    assert view.leaking == view.unused == 0


@pytest.mark.parametrize("plugin", BOTH)
def test_budgets_thin_out_both_sides_without_preferring_a_slice(plugin: Masking) -> None:
    strategy = build(plugin, context_tokens=40, target_tokens=70)
    assert strategy.budgets == (TokenBudget(40, 1, 70),)
    (view,) = measure(strategy, 6000).views
    assert view.context_tokens == (40, 40)
    assert view.target_tokens == (70, 70)
    assert view.leaking == 0
    for rate in (view.context_rate, view.target_rate):
        assert max(abs(along / along.mean() - 1).max() for along in along_axes(rate)) < 0.06


@pytest.mark.parametrize(
    ("plugin", "values", "grid", "says"),
    [
        (time, {"ratio": 0.99}, SPECTROGRAM, r"masking.ratio: 0.99 .* along time. Allowed: above 0, up to 0.966\."),
        (frequency, {"ratio": 0.97}, SPECTROGRAM, r"masking.ratio: 0.97 .* Allowed: above 0, up to 0.875\."),
        (time, {}, TokenGrid((8, 1), SPECTROGRAM.axes), r"masking.ratio: .* Allowed: none; use a larger grid"),
        (time, {"target_tokens": 145}, SPECTROGRAM, r"masking.target_tokens: 145 .* Allowed: 1 to 144\."),
        (time, {"context_tokens": 97}, SPECTROGRAM, r"masking.context_tokens: 97 .* Allowed: 1 to 96\."),
    ],
)
def test_what_cannot_work_is_refused_with_the_feasible_range(
    plugin: Masking, values: dict[str, Any], grid: TokenGrid, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        build(plugin, grid, **values)


@pytest.mark.parametrize("plugin", BOTH)
@pytest.mark.parametrize("length", [2, 3, 5])
def test_shares_up_to_the_stated_limit_work_on_small_grids(plugin: Masking, length: int) -> None:
    grid = TokenGrid((length, length), SPECTROGRAM.axes)
    with pytest.raises(ConfigError) as refused:
        build(plugin, grid, ratio=0.9999)
    limit = float(str(refused.value).rsplit(" ", 1)[1].rstrip("."))
    for share in (limit, 1e-6):
        view = draw(build(plugin, grid, ratio=share), range(4))
        assert view.context.shape[1] + view.targets.shape[2] == grid.num_tokens
        assert min(view.context.shape[1], view.targets.shape[2]) > 0


@pytest.mark.parametrize("plugin", BOTH)
def test_a_mask_is_a_function_of_the_sample_and_of_nothing_else(plugin: Masking) -> None:
    strategy = build(plugin, context_tokens=30)
    again = pickle.loads(pickle.dumps(strategy))
    together = draw(strategy, range(30))
    for start in range(0, 30, 10):
        part = draw(again, range(start, start + 10))
        assert torch.equal(part.context, together.context[start : start + 10])
        assert torch.equal(part.targets, together.targets[start : start + 10])


def test_a_grid_without_the_axis_is_refused() -> None:
    with pytest.raises(PluginIncompatible, match="'frequency'"):
        build(frequency, WAVEFORM)
    with pytest.raises(PluginIncompatible, match="'time'"):
        build(time, TokenGrid((14, 14), ("height", "width")))
