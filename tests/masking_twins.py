"""Masking strategies that each break one promise: `TWINS[check]` must fail that check of the kit and no other."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

from jepa_core.config import Section
from jepa_core.errors import ConfigError
from jepa_core.masking import MaskView, SampleRandom
from jepa_core.masking.budget import random_partition, random_subset, rest_of
from jepa_core.plugin import Masking
from jepa_core.types import TokenBudget, TokenGrid

Views = tuple[MaskView, ...]


class TwinConfig(Section):
    """A share of the grid is context, the rest is predicted."""

    name: Literal["twin"] = "twin"
    """The registered name."""
    allow_overlap: bool = False
    """Says that targets may be context too."""
    share: float = Field(default=1 / 3, gt=0, lt=1)
    """Of the grid that is context."""


class Right:
    """A strategy without a fault, which the twins derive from."""

    def __init__(self, config: TwinConfig, grid: TokenGrid) -> None:
        tokens = grid.num_tokens
        self.grid, self.tokens = grid, tokens
        self.seen = self.context_of(config)
        self.budgets: tuple[TokenBudget, ...] = (TokenBudget(self.seen, 1, tokens - self.seen),)

    def context_of(self, config: TwinConfig) -> int:
        seen = math.floor(config.share * self.tokens + 1e-6)
        if self.tokens < 6 or not 1 < seen <= self.tokens // 2:
            raise ConfigError(f"masking.share: {config.share:g} does not suit the grid of {self.grid}.")
        return seen

    def __call__(self, random: SampleRandom) -> Views:
        context, target = random_partition(random, self.tokens, self.sizes(random))
        return (MaskView.of(context, target[:, None]),)

    def sizes(self, random: SampleRandom) -> list[int]:
        return [self.seen, self.tokens - self.seen]

    def of_visible(self, random: SampleRandom, visible: np.ndarray) -> Views:
        context = random_subset(random, visible, self.seen)
        return (MaskView.of(context, rest_of(context, self.tokens)[:, None]),)


class RefusesAll(Right):
    def __init__(self, config: TwinConfig, grid: TokenGrid) -> None:
        raise ConfigError(f"masking.name: twin does not like the grid of {grid}.")


class RefusesWithoutWords(Right):
    def __init__(self, config: TwinConfig, grid: TokenGrid) -> None:
        assert grid.num_tokens >= 6
        super().__init__(config, grid)


class AcceptsTooMuch(Right):
    def __call__(self, random: SampleRandom) -> Views:
        if self.tokens < 10:
            raise IndexError("no room for a block")
        return super().__call__(random)


class BelievesItsOptions(Right):
    def context_of(self, config: TwinConfig) -> int:
        return max(super().context_of(TwinConfig()), math.floor(config.share * self.tokens))

    def __call__(self, random: SampleRandom) -> Views:
        assert self.seen < 0.9 * self.tokens, "no room for a target"
        return super().__call__(random)


class ReturnsIntegersOf32Bits(Right):
    def __call__(self, random: SampleRandom) -> Views:
        return tuple(MaskView(view.context.int(), view.targets.int()) for view in super().__call__(random))


class StatesAnotherGrid(Right):
    def __init__(self, config: TwinConfig, grid: TokenGrid) -> None:
        super().__init__(config, grid)
        self.grid = TokenGrid((grid.num_tokens,), ("cell",))


class StatesAnotherBudget(Right):
    def __init__(self, config: TwinConfig, grid: TokenGrid) -> None:
        super().__init__(config, grid)
        self.budgets = (TokenBudget(self.seen + 1, 1, self.tokens - self.seen),)


class CutsSmallBatches(Right):
    def sizes(self, random: SampleRandom) -> list[int]:
        missing = len(random) < 3
        return [self.seen - missing, self.tokens - self.seen + missing]


class GrowsHarder(Right):
    def sizes(self, random: SampleRandom) -> list[int]:
        missing = random.progress > 0.9
        return [self.seen - missing, self.tokens - self.seen + missing]


class CountsFromOne(Right):
    def __call__(self, random: SampleRandom) -> Views:
        return tuple(MaskView(view.context + 1, view.targets + 1) for view in super().__call__(random))


class DoesNotSort(Right):
    def __call__(self, random: SampleRandom) -> Views:
        return tuple(MaskView(view.context, view.targets.flip(2)) for view in super().__call__(random))


class ShowsTheAnswer(Right):
    def __init__(self, config: TwinConfig, grid: TokenGrid) -> None:
        super().__init__(config, grid)
        self.budgets = (TokenBudget(self.seen, 1, self.tokens),)

    def __call__(self, random: SampleRandom) -> Views:
        everything = torch.arange(self.tokens).expand(len(random), 1, -1)
        return tuple(MaskView(view.context, everything) for view in super().__call__(random))


class SwapsNeighbours(Right):
    def __call__(self, random: SampleRandom) -> Views:
        order = torch.arange(len(random))
        order[:2] = order[:2].flip(0)
        return tuple(MaskView(view.context[order], view.targets[order]) for view in super().__call__(random))


class RemembersItsNumber(Right):
    numbers = itertools.count()

    def __init__(self, config: TwinConfig, grid: TokenGrid) -> None:
        super().__init__(config, grid)
        self.number = next(self.numbers)

    def __call__(self, random: SampleRandom) -> Views:
        return super().__call__(random.fork(self.number))


class SeedsTorch(Right):
    def __call__(self, random: SampleRandom) -> Views:
        torch.manual_seed(0)
        return super().__call__(random)


class NeverShowsCorners(Right):
    def __init__(self, config: TwinConfig, grid: TokenGrid) -> None:
        super().__init__(config, grid)
        self.budgets = (TokenBudget(self.seen, 1, self.seen),)

    def __call__(self, random: SampleRandom) -> Views:
        inner = np.ones((len(random), self.tokens), dtype=np.bool_)
        inner[:, [0, -1]] = False
        context = random_subset(random, inner, self.seen)
        hidden = np.ones_like(inner)
        np.put_along_axis(hidden, context, values=False, axis=1)
        return (MaskView.of(context, random_subset(random, hidden, self.seen)[:, None]),)


class NeverPredictsTheMiddle(Right):
    def __init__(self, config: TwinConfig, grid: TokenGrid) -> None:
        super().__init__(config, grid)
        self.budgets = (TokenBudget(self.seen, 1, self.tokens - self.seen - 2),)

    def __call__(self, random: SampleRandom) -> Views:
        (view,) = super().__call__(random)
        hidden = np.ones((len(random), self.tokens), dtype=np.bool_)
        np.put_along_axis(hidden, view.context.numpy(), values=False, axis=1)
        hidden[:, [self.tokens // 2, (self.tokens - 1) // 2]] = False
        target = random_subset(random, hidden, self.budgets[0].target)
        return (MaskView.of(view.context.numpy(), target[:, None]),)


class TakesTheFirst(Right):
    def __call__(self, random: SampleRandom) -> Views:
        visible = random.uniform(self.tokens) < 0.5
        first = (visible.cumsum(1) <= self.seen) & visible & (random.uniform(1) < 0.7)
        enough = np.where(first.sum(1, keepdims=True) == self.seen, first, True)
        return self.of_visible(random, enough)


class LoopsOverSamples(Right):
    def __call__(self, random: SampleRandom) -> Views:
        (view,) = super().__call__(random)
        context = [sorted({int(cell) for cell in cells}) for cells in view.context.numpy()]
        return (MaskView(torch.tensor(context), view.targets),)


class HoldsALambda(Right):
    def __init__(self, config: TwinConfig, grid: TokenGrid) -> None:
        super().__init__(config, grid)
        self.share = lambda: 1 / 3


# What the message of the check must name, besides.
TWINS: dict[str, tuple[type[Right], str]] = {
    "some_grid_served": (RefusesAll, "does not like the grid"),
    "refusal_says_why": (RefusesWithoutWords, "found AssertionError"),
    "accepted_grid_works": (AcceptsTooMuch, "IndexError: no room for a block"),
    "options_are_checked": (BelievesItsOptions, "with share=0.97, on"),
    "views_well_formed": (ReturnsIntegersOf32Bits, "torch.int32"),
    "grid_stated": (StatesAnotherGrid, "found 7 (cell)"),
    "budgets_met": (StatesAnotherBudget, "expected 3 context, 1 x 5 target tokens, found 2 context"),
    "lengths_independent_of_batch": (CutsSmallBatches, "found 1 context, 1 x 6 target tokens in one of 1"),
    "lengths_constant_through_training": (GrowsHarder, "at 100% of training"),
    "cells_exist": (CountsFromOne, "expected 0 to 6, found view 0, context: indices from 1 to 7"),
    "cells_ascend": (DoesNotSort, "found in view 0, targets, sample 0: [6, 3"),
    "context_without_targets": (ShowsTheAnswer, "found 64 of 64 samples in view 0"),
    "mask_belongs_to_its_sample": (SwapsNeighbours, "found others with other neighbours in view 0"),
    "same_mask_again": (RemembersItsNumber, "expected equal masks of 64 samples, found others"),
    "global_randomness_left_alone": (SeedsTorch, "that of torch moved by drawing"),
    "batch_costs_less_than_its_samples": (LoopsOverSamples, "instructions for 256 samples"),
    "strategy_pickles": (HoldsALambda, "lambda"),
    "every_cell_can_be_context": (NeverShowsCorners, "found 2 of 7 as neither in 2048: (0,), (6,)"),
    "every_cell_can_be_target": (NeverPredictsTheMiddle, "found 1 of 7 as neither in 2048: (3,)"),
    "no_end_favoured": (TakesTheFirst, "context at 0 along first"),
}

# Of a twin's other checks, those that cannot say anything because of its mistake; all others pass.
SHARES = {"every_cell_can_be_context", "every_cell_can_be_target", "no_end_favoured"}
SILENCED: dict[str, set[str]] = {
    "some_grid_served": TWINS.keys() - {"some_grid_served", "refusal_says_why"},
    "views_well_formed": TWINS.keys()
    - {"some_grid_served", "refusal_says_why", "accepted_grid_works", "views_well_formed"},
    "grid_stated": SHARES,
    "cells_exist": SHARES,
}


def twin(factory: Callable[..., Any]) -> Masking:
    return Masking("twin", TwinConfig, factory, "breaks one promise")
