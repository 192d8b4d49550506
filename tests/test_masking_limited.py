"""limited: another strategy's masks, cut to budgets."""

from __future__ import annotations

import pickle
from collections.abc import Generator
from typing import Any, Literal

import numpy as np
import pytest
import torch

from jepa_core.builtin import LimitedConfig
from jepa_core.config import Section
from jepa_core.errors import ConfigError, PluginIncompatible
from jepa_core.masking import MaskView, SampleRandom
from jepa_core.masking.budget import random_partition
from jepa_core.masking.inspect import measure
from jepa_core.masking.limited import cut
from jepa_core.plugin import Masking, MaskingStrategy
from jepa_core.recipes import read_config
from jepa_core.registry import maskings, section_class
from jepa_core.types import SampleKey, TokenBudget, TokenGrid

GRID = TokenGrid((6, 6), ("rows", "columns"))
RANDOM = {"name": "random", "ratio": 0.5, "num_targets": 2}  # 18 context tokens, 2 x 9


class PairConfig(Section):
    """Two views: one of 20 and 4 x 3 tokens, one of 6 and 1 x 12."""

    name: Literal["pair"] = "pair"
    """The registered name."""


class Pair:
    def __init__(self, config: PairConfig, grid: TokenGrid) -> None:
        self.grid, self.budgets = grid, (TokenBudget(20, 4, 3), TokenBudget(6, 1, 12))

    def __call__(self, random: SampleRandom) -> tuple[MaskView, ...]:
        views = list[MaskView]()
        for budget in self.budgets:
            used = [budget.context, *[budget.target] * budget.num_targets]
            context, *targets = random_partition(random, 36, [*used, 36 - sum(used)])
            views.append(MaskView.of(context, np.stack(targets[:-1], 1)))
        return tuple(views)


class UnsteadyConfig(Section):
    """Lengths that grow with the batch."""

    name: Literal["unsteady"] = "unsteady"
    """The registered name."""


class Unsteady(Pair):
    def __call__(self, random: SampleRandom) -> tuple[MaskView, ...]:
        return tuple(MaskView(view.context[:, : len(random)], view.targets) for view in super().__call__(random))


@pytest.fixture(autouse=True)
def strategies() -> Generator[None]:
    pair, unsteady = Masking("pair", PairConfig, Pair), Masking("unsteady", UnsteadyConfig, Unsteady)
    with maskings.temporarily(pair), maskings.temporarily(unsteady):
        yield


def build(grid: TokenGrid = GRID, **values: Any) -> MaskingStrategy:
    plugin, context = maskings.get("limited"), {"section_class": section_class}
    return plugin.build(LimitedConfig.model_validate({"name": "limited", **values}, context=context), grid)


def alone(section: dict[str, Any]) -> MaskingStrategy:
    return maskings.get(section["name"]).build(section_class("masking", section["name"])(**section), GRID)


def streams(samples: int | range) -> SampleRandom:
    indices = range(samples) if isinstance(samples, int) else samples
    return SampleRandom.of(0, [SampleKey(0, index) for index in indices])


def lengths(view: MaskView) -> TokenBudget:
    return TokenBudget(view.context.shape[1], *view.targets.shape[1:])


@pytest.mark.parametrize(
    ("of", "asked", "budgets"),
    [
        (RANDOM, {}, [(18, 2, 9)]),
        (RANDOM, {"context_tokens": 7, "target_tokens": 4}, [(7, 2, 4)]),
        (RANDOM, {"target_tokens": 1}, [(18, 2, 1)]),
        ({"name": "pair"}, {"context_tokens": 5, "target_tokens": 3}, [(5, 4, 3), (5, 1, 3)]),
        ({"name": "pair"}, {"context_tokens": (17, 6), "target_tokens": (2, 8)}, [(17, 4, 2), (6, 1, 8)]),
    ],
)
def test_budgets_are_those_that_are_asked_for_and_masks_keep_them(
    of: dict[str, Any], asked: dict[str, Any], budgets: list[tuple[int, int, int]]
) -> None:
    strategy = build(of=of, **asked)
    assert strategy.budgets == tuple(TokenBudget(*each) for each in budgets)
    for view, budget in zip(strategy(streams(50)), strategy.budgets, strict=True):
        assert lengths(view) == budget
        assert (view.context.diff(dim=1) > 0).all()
        assert (view.targets.diff(dim=2) > 0).all()


def test_what_stays_is_a_part_of_what_the_strategy_draws_alone_for_the_same_sample() -> None:
    strategy = build(of={"name": "pair"}, context_tokens=4, target_tokens=(2, 5))
    for view, whole in zip(strategy(streams(40)), alone({"name": "pair"})(streams(40)), strict=True):
        for row in range(40):
            assert set(view.context[row].tolist()) < set(whole.context[row].tolist())
            for block, drawn in zip(view.targets[row].tolist(), whole.targets[row].tolist(), strict=True):
                assert set(block) < set(drawn)


def test_without_limits_the_masks_are_those_of_the_strategy_alone() -> None:
    (view,), (whole,) = build(of=RANDOM)(streams(30)), alone(RANDOM)(streams(30))
    assert torch.equal(view.context, whole.context)
    assert torch.equal(view.targets, whole.targets)


def test_every_cell_stays_as_often_as_any_other() -> None:
    (view,) = measure(build(of=RANDOM, context_tokens=6, target_tokens=3), 6000).views
    assert abs(view.context_rate / (6 / 36) - 1).max() < 0.1
    assert abs(view.target_rate / (6 / 36) - 1).max() < 0.1
    assert view.leaking == 0


def test_a_cut_of_a_cut_is_a_free_choice_too() -> None:
    inner = {"name": "limited", "of": RANDOM, "context_tokens": 9}
    (once,), (twice,) = alone_limited(inner)(streams(8000)), build(of=inner, context_tokens=3)(streams(8000))
    chosen = (once.context[:, :, None] == twice.context[:, None]).any(2)  # (samples, 9): which of the nine stay
    assert chosen.sum(1).eq(3).all()
    assert (chosen.float().mean(0) - 1 / 3).abs().max() < 0.02
    first, last = once.context[:, 0] < 2, chosen[:, 0]  # what the first cut chose says nothing of the second
    assert abs(float(last[first].float().mean()) - 1 / 3) < 0.03


def alone_limited(section: dict[str, Any]) -> MaskingStrategy:
    return build(**{key: value for key, value in section.items() if key != "name"})


def test_a_mask_is_a_function_of_the_sample_and_not_of_its_batch() -> None:
    strategy = build(of={"name": "pair"}, context_tokens=4, target_tokens=2)
    again = pickle.loads(pickle.dumps(strategy))
    together = strategy(streams(12))
    for start in range(0, 12, 3):
        for part, whole in zip(again(streams(range(start, start + 3))), together, strict=True):
            assert torch.equal(part.context, whole.context[start : start + 3])
            assert torch.equal(part.targets, whole.targets[start : start + 3])


def test_a_cut_leaves_whole_blocks_out_where_the_budget_has_fewer() -> None:
    view = alone({"name": "pair"})(streams(200))[0]
    short = cut(view, TokenBudget(20, 2, 3), streams(200), place=0)
    assert torch.equal(short.context, view.context)
    same = (short.targets[:, :, None] == view.targets[:, None]).all(3)
    assert same.any(2).all()
    assert same.any(1).float().mean(0).tolist() == pytest.approx([0.5] * 4, abs=0.12)


@pytest.mark.parametrize(
    ("of", "asked", "told"),
    [
        (RANDOM, {"context_tokens": 19}, r"masking\.context_tokens: 19 is more than .* Allowed: 1 to 18\."),
        (
            {"name": "pair"},
            {"target_tokens": 4},
            r"masking\.target_tokens: 4 .* Allowed: 1 to 3 for all views, or .* each: \[1 to 3, 1 to 12\]\.",
        ),
        ({"name": "pair"}, {"context_tokens": (20, 7)}, r"\[20, 7\] is more .*\[1 to 20, 1 to 6\]"),
        ({"name": "pair"}, {"context_tokens": (1, 2, 3)}, r"3 numbers, and masking\.of has 2 mask views"),
        ({"name": "random", "ratio": 0.999}, {}, r"^masking\.of\.ratio: 0\.999 leaves no context"),
        ({"name": "unsteady"}, {"context_tokens": 1}, r"^masking\.of: .* other lengths in every batch"),
    ],
)
def test_what_cannot_be_met_is_an_error_with_the_range_that_can(
    of: dict[str, Any], asked: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        build(of=of, **asked)


def test_both_budgets_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        build(of=RANDOM, context_tokens=19, target_tokens=10)
    assert [problem.split(":")[0] for problem in refused.value.problems] == [
        "masking.context_tokens",
        "masking.target_tokens",
    ]


@pytest.mark.usefixtures("toy")
def test_a_strategy_that_cannot_serve_the_grid_is_told_with_its_place() -> None:
    with pytest.raises(PluginIncompatible, match=r"^masking\.of\.name: 'toy_rows' needs the axis 'rows'"):
        build(TokenGrid((6, 6), ("height", "width")), of={"name": "toy_rows"})


@pytest.mark.usefixtures("toy")
def test_a_configuration_reads_it_with_the_options_of_what_it_cuts() -> None:
    limited = "masking={name: limited, of: {name: toy_rows, rows: 3}, context_tokens: 10, target_tokens: 2}"
    config = read_config(text="modality: {name: toy}", overrides=[limited, "masking.of.rows=4"])
    assert maskings.get("limited").build(config.masking, GRID).budgets == (TokenBudget(10, 4, 2),)
    with pytest.raises(ConfigError, match=r"masking\.of\.row: unknown key.*Did you mean 'rows'"):
        read_config(text="modality: {name: toy}", overrides=[limited, "masking.of.row=4"])
    with pytest.raises(ConfigError, match=r"masking\.context_tokens"):
        read_config(text="modality: {name: toy}", overrides=[limited, "masking.context_tokens=0"])
