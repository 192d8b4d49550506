"""`limited`: the masks of another strategy, with fewer tokens.

Two strategies can be compared at equal cost only if a sample has as many context tokens, and as many predicted ones,
under both. What stays is a random subset, drawn from streams of its own, of what the other strategy draws for the same
sample when it stands alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int64

from jepa_core.builtin import LimitedConfig
from jepa_core.errors import ConfigError
from jepa_core.masking.budget import random_subset
from jepa_core.masking.inspect import directed_axes
from jepa_core.masking.nested import build_nested
from jepa_core.masking.random import SampleRandom, seed_of
from jepa_core.masking.views import MaskView
from jepa_core.plugin import MaskingStrategy
from jepa_core.types import SampleKey, TokenBudget, TokenGrid

_CUT = 0x637574  # keeps the streams of a cut apart from those that strategies fork, which count from 0


class Limited:
    """Another strategy, cut down to budgets."""

    def __init__(self, config: LimitedConfig, grid: TokenGrid) -> None:
        """Raises ConfigError with the feasible range where a budget is more than the other strategy gives."""
        self.grid = grid
        strategies = build_nested({"of": config.of}, grid)
        require_steady(strategies)
        self._of = strategies["of"]
        self.directed = directed_axes(self._of)
        given = self._of.budgets
        context, problems = _numbers("context_tokens", config.context_tokens, [budget.context for budget in given])
        target, more = _numbers("target_tokens", config.target_tokens, [budget.target for budget in given])
        if problems or more:
            raise ConfigError([*problems, *more])
        self.budgets = tuple(
            TokenBudget(seen, budget.num_targets, asked)
            for seen, budget, asked in zip(context, given, target, strict=True)
        )

    def __call__(self, random: SampleRandom) -> tuple[MaskView, ...]:
        """As many views as the other strategy has."""
        views = zip(self._of(random), self.budgets, strict=True)
        return tuple(cut(view, budget, random, place) for place, (view, budget) in enumerate(views))


def _numbers(key: str, asked: Any, given: Sequence[int]) -> tuple[Sequence[int], list[str]]:
    """A budget for every view; and what is wrong with those that are asked for."""
    if asked == "auto":
        return given, []
    wanted = [asked] * len(given) if isinstance(asked, int) else list(asked)
    if len(wanted) != len(given):
        views = f"masking.of has {len(given)} mask views. Give one number for each, or one for all"
        return given, [f"masking.{key}: {len(wanted)} numbers, and {views}."]
    if any(number > most for number, most in zip(wanted, given, strict=True)):
        alike = f"1 to {min(given)}"
        ranges = ", ".join(f"1 to {most}" for most in given)
        each = "" if len(set(given)) == 1 else f" for all views, or one number for each: [{ranges}]"
        told = asked if isinstance(asked, int) else wanted
        return given, [f"masking.{key}: {told} is more than masking.of gives. Allowed: {alike}{each}."]
    return wanted, []


def cut(view: MaskView, budget: TokenBudget, random: SampleRandom, place: int) -> MaskView:
    """Context and targets of a view, cut to the budget: some of the blocks, and in each some of the tokens.

    Args:
        view: has at least what the budget says.
        budget: of the result.
        random: the streams that the view was drawn from, or others; they stay where they are.
        place: the view's number in the step.
    """
    context, targets = view.context.numpy(), view.targets.numpy()
    # Nested strategies may cut a view twice, but never from the same length: so the second choice is a free one too.
    lengths = (context.shape[1], *targets.shape[1:], budget.context, budget.num_targets, budget.target)
    streams = random.fork(seed_of(_CUT, place, *lengths))
    context = _some(streams, context, budget.context)
    blocks = _some(streams, np.tile(np.arange(targets.shape[1]), (len(targets), 1)), budget.num_targets)
    targets = np.take_along_axis(targets, blocks[..., None], axis=1)
    return MaskView.of(context, _some(streams, targets, budget.target))


def _some(
    random: SampleRandom, cells: Int64[np.ndarray, "batch *sets cells"], count: int
) -> Int64[np.ndarray, "batch *sets {count}"]:
    """A random subset of the last axis, in its order; all of it where that is as long."""
    if cells.shape[-1] == count:
        return cells
    return np.take_along_axis(cells, random_subset(random, np.ones(cells.shape, dtype=np.bool_), count), axis=-1)


def require_steady(strategies: Mapping[str, MaskingStrategy]) -> None:
    """Raise ConfigError where a strategy's lengths depend on the batch, so that no budget can be met.

    `strategies` are by the key of their section.
    """
    problems = [
        f"masking.{key}: its masks have other lengths in every batch, so no budget holds for them. "
        "Take its token budget: `equal_length: budget`, and a `preset` that has one."
        for key, strategy in strategies.items()
        if not is_steady(strategy)
    ]
    if problems:
        raise ConfigError(problems)


def is_steady(strategy: MaskingStrategy) -> bool:
    """Whether its masks have the lengths of its budgets in every batch, as far as a small and a large one tell."""
    return all(_lengths(strategy, batch) == tuple(strategy.budgets) for batch in (1, 8))


def _lengths(strategy: MaskingStrategy, batch: int) -> tuple[TokenBudget, ...]:
    views = strategy(SampleRandom.of(0, [SampleKey(0, index) for index in range(batch)]))
    return tuple(TokenBudget(view.context.shape[1], *view.targets.shape[1:]) for view in views)
