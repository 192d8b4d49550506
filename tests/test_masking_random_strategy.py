"""The strategy `random`, and what every strategy promises."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jepa_core.builtin import RandomMaskingConfig
from jepa_core.builtin import random as random_masking
from jepa_core.errors import ConfigError
from jepa_core.masking import MaskView, SampleRandom
from jepa_core.types import SampleKey, TokenBudget, TokenGrid


def grid(*shape: int) -> TokenGrid:
    return TokenGrid(shape, tuple("abcd"[: len(shape)]))


def draw(ratio: float, num_targets: int, shape: tuple[int, ...], samples: int) -> MaskView:
    strategy = random_masking.build(RandomMaskingConfig(ratio=ratio, num_targets=num_targets), grid(*shape))
    (view,) = strategy(SampleRandom.of(0, [SampleKey(0, index) for index in range(samples)]))
    return view


@pytest.mark.parametrize(
    ("ratio", "num_targets", "shape", "budget"),
    [
        (0.6, 1, (14, 14), TokenBudget(78, 1, 118)),
        (0.6, 4, (14, 14), TokenBudget(80, 4, 29)),
        (0.8, 1, (8, 14, 14), TokenBudget(314, 1, 1254)),
        (0.5, 3, (7,), TokenBudget(4, 3, 1)),
    ],
)
def test_the_budget_follows_the_ratio_and_is_met(
    ratio: float, num_targets: int, shape: tuple[int, ...], budget: TokenBudget
) -> None:
    strategy = random_masking.build(RandomMaskingConfig(ratio=ratio, num_targets=num_targets), grid(*shape))
    assert strategy.budgets == (budget,)
    view = draw(ratio, num_targets, shape, 5)
    assert view.context.shape == (5, budget.context)
    assert view.targets.shape == (5, budget.num_targets, budget.target)
    assert view.context.dtype == view.targets.dtype == torch.int64


def test_every_token_is_context_or_in_exactly_one_group() -> None:
    view = draw(0.6, 4, (14, 14), 100)
    everything = torch.cat([view.context, view.targets.flatten(1)], 1)
    assert torch.equal(everything.sort(1).values, torch.arange(196).expand(100, -1))
    assert (view.context.diff(dim=1) > 0).all()
    assert (view.targets.diff(dim=2) > 0).all()


def test_every_position_is_hidden_equally_often() -> None:
    rate = np.bincount(draw(0.6, 1, (6, 6), 20_000).targets.flatten().numpy(), minlength=36) / 20_000
    assert abs(rate - rate.mean()).max() < 0.015  # 4.3 standard deviations


@settings(max_examples=100, deadline=None)
@given(
    ratio=st.floats(0.01, 0.99),
    num_targets=st.integers(1, 40),
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple),
)
def test_any_grid_is_served_or_refused_with_the_allowed_range(
    ratio: float, num_targets: int, shape: tuple[int, ...]
) -> None:
    refusal = ""
    try:
        strategy = random_masking.build(RandomMaskingConfig(ratio=ratio, num_targets=num_targets), grid(*shape))
    except ConfigError as error:
        refusal = str(error)
    if refusal:
        assert refusal.startswith("masking.")
        assert "Allowed:" in refusal
        return
    (budget,) = strategy.budgets  # pyright: ignore[reportPossiblyUnboundVariable] - there was no refusal
    assert budget.context >= 1
    assert budget.context + budget.num_targets * budget.target == grid(*shape).num_tokens
    strategy(SampleRandom.of(0, [SampleKey(0, 0)]))  # pyright: ignore[reportPossiblyUnboundVariable]


def test_a_ratio_at_the_stated_limit_is_allowed() -> None:
    with pytest.raises(ConfigError, match=r"up to 0\.889") as refused:
        random_masking.build(RandomMaskingConfig(ratio=0.98), grid(3, 3))
    assert "masking.ratio" in str(refused.value)
    random_masking.build(RandomMaskingConfig(ratio=0.889), grid(3, 3))


def test_a_pickled_strategy_draws_the_same_masks() -> None:
    strategy = random_masking.build(RandomMaskingConfig(), grid(4, 4))
    copy = pickle.loads(pickle.dumps(strategy))
    keys = [SampleKey(2, 5)]
    assert torch.equal(strategy(SampleRandom.of(0, keys))[0].context, copy(SampleRandom.of(0, keys))[0].context)
