from __future__ import annotations

import itertools
from typing import Literal

import numpy as np
import pytest
import torch
from kit import failures, outcomes
from masking_twins import TWINS, Right, TwinConfig, Views, twin
from pydantic import Field

from jepa_core.builtin import RandomMaskingConfig
from jepa_core.config import Section
from jepa_core.config.tree import MaskingSection
from jepa_core.masking import MaskView, SampleRandom
from jepa_core.masking.inspect import ViewStatistics
from jepa_core.plugin import Masking
from jepa_core.testing import BoundCheck, parametrize_with_checks
from jepa_core.testing.attempts import generators_moved_by
from jepa_core.testing.grids import grids_for
from jepa_core.testing.masking_case import MaskingCase
from jepa_core.testing.rates import lopsided_axis, never
from jepa_core.testing.variants import variants
from jepa_core.testing.work import instructions
from jepa_core.types import TokenBudget, TokenGrid

ROW = TokenGrid((4,), ("time",))


@parametrize_with_checks("masking", "random", "limited")
def test_the_strategies_of_the_core_keep_every_promise(check: BoundCheck) -> None:
    check()


def test_a_strategy_that_declares_it_may_show_targets_to_the_context() -> None:
    wrong = twin(TWINS["context_without_targets"][0])
    found = outcomes(wrong, allow_overlap=True)
    assert failures(found) == {}
    assert found["context_without_targets"].state == "n/a"
    assert "allow_overlap" in found["context_without_targets"].message


class Late(Right):
    """Draws as it should at first, and something else later."""

    def __call__(self, random: SampleRandom) -> Views:
        (view,) = super().__call__(random)
        return (self.late(view),) if self.is_late(random) else (view,)

    def is_late(self, random: SampleRandom) -> bool:
        return random.progress > 0

    def late(self, view: MaskView) -> MaskView:
        return view


class CountsFromOneLate(Late):
    def late(self, view: MaskView) -> MaskView:
        return MaskView(view.context + self.tokens, view.targets)


class RepeatsLate(Late):
    def late(self, view: MaskView) -> MaskView:
        return MaskView(view.context, view.targets[..., :1].expand_as(view.targets))


class ShowsTheAnswerLate(Late):
    def late(self, view: MaskView) -> MaskView:
        return MaskView(view.targets[:, 0, : self.seen], view.targets)


class HoldsAnOpenGenerator(Right):
    def __init__(self, config: TwinConfig, grid: TokenGrid) -> None:
        super().__init__(config, grid)
        self.generator = np.random.default_rng(0)

    def __call__(self, random: SampleRandom) -> Views:
        return super().__call__(random.fork(int(self.generator.integers(2**31))))


def test_what_differs_in_every_call_is_no_fault_of_pickling() -> None:
    found = outcomes(twin(HoldsAnOpenGenerator))
    assert "same_mask_again" in failures(found)
    assert found["strategy_pickles"].state == "n/a"


class ForgetsTheSeedLate(Late):
    numbers = itertools.count(4)

    def late(self, view: MaskView) -> MaskView:
        other = (next(self.numbers) // 4 + torch.arange(len(view.context))) % len(view.context)
        return MaskView(view.context[other], view.targets[other])


class SwapsNeighboursLate(Late):
    def late(self, view: MaskView) -> MaskView:
        order = torch.arange(len(view.context))
        order[:2] = order[:2].flip(0)
        return MaskView(view.context[order], view.targets[order])


class FailsLate(Late):
    def late(self, view: MaskView) -> MaskView:
        raise IndexError("past the last stage")


@pytest.mark.parametrize(
    ("wrong", "check", "cause"),
    [
        (CountsFromOneLate, "cells_exist", "view 0, context at 50% of training: indices from 7"),
        (RepeatsLate, "cells_ascend", "view 0, targets at 50% of training"),
        (ShowsTheAnswerLate, "context_without_targets", "in view 0 at 50% of training with a cell on both sides"),
        (ForgetsTheSeedLate, "same_mask_again", "found others at 50% of training"),
        (SwapsNeighboursLate, "mask_belongs_to_its_sample", "with other neighbours in view 0 at 50% of training"),
        (FailsLate, "lengths_constant_through_training", "past the last stage at 50% of training"),
    ],
)
def test_masks_are_looked_at_throughout_training(wrong: type[Right], check: str, cause: str) -> None:
    found = failures(outcomes(twin(wrong)))
    assert cause in found[check]


class FirstHalf(Right):
    """Predicts what comes later along the first axis."""

    def __call__(self, random: SampleRandom) -> Views:
        half = np.arange(self.tokens) < self.tokens * 2 // 3
        return self.of_visible(random, np.tile(half, (len(random), 1)))


class FirstHalfOnPurpose(FirstHalf):
    @property
    def directed(self) -> tuple[str, ...]:
        return self.grid.axes


def test_an_axis_with_a_direction_is_a_fault_unless_it_is_declared() -> None:
    assert list(failures(outcomes(twin(FirstHalf)))) == ["no_end_favoured"]
    assert failures(outcomes(twin(FirstHalfOnPurpose))) == {}


@pytest.mark.usefixtures("toy")
def test_the_grid_of_a_given_run_is_tried_too() -> None:
    plugin = twin(Right)
    text = "modality: {name: toy, cells: 2}\nmasking: {name: random}"
    case = MaskingCase(kind="masking", name="twin", plugin=plugin, text=text)
    assert case.grids == [TokenGrid((2, 2), ("rows", "columns")), *grids_for(plugin)]


def test_grids_have_the_axes_that_a_strategy_needs_in_several_places() -> None:
    plugin = Masking("twin", Right, Right, num_axes=(1, 2, 3), needs_axes=("time",))  # pyright: ignore[reportArgumentType]
    grids = grids_for(plugin)
    assert {grid.num_axes for grid in grids} == {1, 2, 3}
    assert {grid.axes.index("time") for grid in grids if grid.num_axes == 3} == {0, 2}
    assert max(max(grid.shape) for grid in grids) >= 16
    assert min(grid.num_tokens for grid in grids) == 1
    for grid in grids:
        plugin.check_grid(grid)


def test_grids_of_many_axes_and_needs_are_made_up() -> None:
    four = Masking("twin", Right, Right, num_axes=(2, 4), needs_axes=("a", "b", "c"))  # pyright: ignore[reportArgumentType]
    assert {grid.num_axes for grid in grids_for(four)} == {4}
    anything = {grid.axes for grid in grids_for(twin(Right)) if grid.num_axes == 3}
    assert len(anything) == 2


def view_of(context: list[float], target: list[float], unlimited: list[float] | None = None) -> ViewStatistics:
    return ViewStatistics(
        budget=TokenBudget(1, 1, 1),
        context_tokens=(1, 1),
        target_tokens=(1, 1),
        context_rate=np.array(context),
        target_rate=np.array(target),
        unlimited_rate=None if unlimited is None else np.array(unlimited),
        target_overlap=0.0,
        leaking=0.0,
        unused=0.0,
        redrawn=None,
        stored=None,
    )


class Options(TwinConfig):
    """Options of all kinds."""

    blocks: int = Field(default=4, ge=2)
    """A number."""
    side: tuple[float, float] = (0.5, 2.0)
    """A pair of numbers."""
    budget: int | Literal["auto"] = "auto"
    """A number, or a word."""
    order: Literal["rows", "columns"] | None = "rows"
    """A choice."""
    words: str = "a"
    """Something else."""


def test_one_option_is_changed_at_a_time_to_what_the_section_allows() -> None:
    changed = dict(variants(Options(name="twin")))
    assert list(changed) == [
        *("allow_overlap=True", "share=0.03", "share=0.97", "blocks=16"),
        *("side=(0.1, 0.4)", "side=(1.0, 8.0)", "order=columns", "order=None"),
    ]
    assert changed["blocks=16"] == Options(name="twin", blocks=16)


class Nesting(Section):
    """Another strategy's section, and an option of its own."""

    name: Literal["nesting"] = "nesting"
    """The registered name."""
    inner: MaskingSection = Field(default={"name": "random"})  # pyright: ignore[reportAssignmentType]  (is validated)
    """The other section."""
    share: float = 0.5
    """An option."""


def test_sections_inside_a_section_stay_as_they_are() -> None:
    case = MaskingCase(kind="masking", name="nesting", plugin=Masking("nesting", Nesting, Right))
    changed = dict(variants(case.section))
    assert list(changed) == ["share=0.03", "share=0.97"]
    assert changed["share=0.03"].inner == RandomMaskingConfig()  # pyright: ignore[reportAttributeAccessIssue]


def test_unlike_ends_are_found_beyond_chance() -> None:
    even, slope, noise = [0.25] * 4, [0.4, 0.3, 0.2, 0.1], [0.26, 0.25, 0.25, 0.24]
    assert lopsided_axis(view_of(noise, even), ROW, (), 2048) == ""
    assert "context at 0 along time in 40.0%" in lopsided_axis(view_of(slope, even), ROW, (), 2048)
    assert "targets at 0 along time" in lopsided_axis(view_of(even, slope), ROW, (), 2048)
    assert lopsided_axis(view_of(slope, slope), ROW, (), 10) == ""  # four samples against one: chance


def test_along_a_directed_axis_only_the_rule_of_equal_lengths_is_judged() -> None:
    even, slope = [0.25] * 4, [0.4, 0.3, 0.2, 0.1]
    assert lopsided_axis(view_of(slope, slope, slope), ROW, ("time",), 2048) == ""
    assert "context at" in lopsided_axis(view_of(slope, even, even), ROW, ("time",), 2048)


def test_cells_that_chance_leaves_out_are_not_missing() -> None:
    rate, seldom = np.array([[0.0, 0.01], [0.01, 0.01]]), np.full((2, 2), 0.1)
    assert never(rate, seldom, (), 20_000).tolist() == [[True, False], [False, False]]
    assert not never(rate, seldom, (), 200).any()


def test_a_cell_that_is_hardly_ever_on_one_side_only_may_be_there_always() -> None:
    rate, other = np.array([0.0, 0.0, 0.5, 0.5]), np.array([0.95, 0.5, 0.5, 0.5])
    assert never(rate, other, (), 2048).tolist() == [False, True, False, False]


def test_along_a_directed_axis_one_cell_of_a_line_will_do() -> None:
    rate, seldom = np.array([[0.0, 0.1], [0.0, 0.0]]), np.full((2, 2), 0.1)
    assert never(rate, seldom, (0,), 2048).tolist() == [[True, False], [True, False]]


def test_instructions_count_python_and_not_compiled_work() -> None:
    few, many = np.zeros(10), np.zeros(100_000)
    assert instructions(lambda: few.sum()) == instructions(lambda: many.sum())
    once, thrice = (instructions(lambda n=n: [value + 1 for value in range(n)]) for n in (100, 300))
    assert 2.5 < thrice / once < 3.5


def test_global_generators_are_put_back_and_seeding_one_is_noticed() -> None:
    before = torch.random.get_rng_state()
    assert generators_moved_by(lambda: torch.manual_seed(0)) == ["torch"]
    assert generators_moved_by(lambda: torch.manual_seed(0)) == ["torch"]
    assert generators_moved_by(lambda: np.random.rand()) == ["NumPy"]  # noqa: NPY002
    assert generators_moved_by(lambda: None) == []
    assert torch.equal(torch.random.get_rng_state(), before)
