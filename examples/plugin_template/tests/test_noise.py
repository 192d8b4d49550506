from __future__ import annotations

import numpy as np
import pytest

from jepa_core.errors import ConfigError
from jepa_core.masking import SampleRandom
from jepa_core.masking.inspect import along_axes, measure
from jepa_core.types import SampleKey, TokenGrid
from jepa_series.masking import NoiseConfig, noise
from jepa_series.noise import NoiseMasking, smoothing

GRIDS = [
    TokenGrid((40,), ("time",)),
    TokenGrid((6, 10), ("channel", "time")),
    TokenGrid((14, 14), ("height", "width")),
    TokenGrid((4, 7, 7), ("time", "height", "width")),
]


def strategy(grid: TokenGrid, **options: float) -> NoiseMasking:
    built = noise.build(NoiseConfig.model_validate(options), grid)
    assert isinstance(built, NoiseMasking)
    return built


def hidden(grid: TokenGrid, samples: int = 64, **options: float) -> np.ndarray:
    """(samples, *grid), whether a cell is hidden."""
    random = SampleRandom.of(0, [SampleKey(0, index) for index in range(samples)])
    return ~strategy(grid, **options).visible(random).reshape(samples, *grid.shape)


def alike(masks: np.ndarray) -> float:
    """Share of the cells whose neighbour along the last axis has the same fate."""
    return float((masks[..., 1:] == masks[..., :-1]).mean())


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("smoothness", [0.0, 0.1, 0.25])
def test_every_sample_hides_the_same_number_of_cells(grid: TokenGrid, smoothness: float):
    counts = hidden(grid, ratio=0.6, smoothness=smoothness).reshape(64, -1).sum(1)
    assert set(counts) == {round(0.6 * grid.num_tokens)}


def test_smoothness_goes_from_single_cells_to_blobs():
    grid = GRIDS[2]
    shares = [alike(hidden(grid, smoothness=smoothness)) for smoothness in (0.0, 0.05, 0.1, 0.2)]
    assert shares[0] == pytest.approx(0.6**2 + 0.4**2, abs=0.02)  # neighbours know nothing of each other
    assert shares == sorted(shares)
    assert shares[-1] > 0.85


def test_no_cell_is_hidden_more_often_for_its_place():
    rates = measure(strategy(GRIDS[2], smoothness=0.15), samples=8000).views[0].context_rate
    for along in along_axes(rates):
        assert abs(along - 0.4).max() < 0.015
    assert abs(rates - 0.4).max() < 0.03  # five standard errors of 8,000 draws


def test_an_axis_of_one_cell_and_one_of_two_are_served():
    masks = hidden(TokenGrid((1, 2, 9), ("time", "height", "width")), samples=2000, ratio=0.5, smoothness=0.25)
    assert set(masks.reshape(2000, -1).sum(1)) == {9}
    assert masks.mean(0) == pytest.approx(0.5, abs=0.06)


def test_without_smoothness_the_filter_changes_nothing():
    assert (smoothing((6, 10), 0.0) == 1).all()


def test_budgets_thin_out_both_sides():
    (view,) = strategy(GRIDS[1], context_tokens=10, target_tokens=20)(SampleRandom.of(0, [SampleKey(0, 0)]))
    assert (view.context.shape, view.targets.shape) == ((1, 10), (1, 1, 20))


def test_a_ratio_that_leaves_no_context_says_what_is_allowed():
    with pytest.raises(ConfigError, match=r"masking.ratio: 0.9 leaves no context .* up to 0.75"):
        strategy(TokenGrid((2, 2), ("height", "width")), ratio=0.9)
