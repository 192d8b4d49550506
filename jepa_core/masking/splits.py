"""Masks that hide the same number of cells in every sample, so that equal length needs no rule.

`Split` does what such strategies have in common; `Slices` sees a grid as slices along one of its axes, for those that
hide whole slices, such as time steps, or the same places in all of them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
from jaxtyping import Bool, Int64

from jepa_core.config.fields import SplitConfig
from jepa_core.errors import ConfigError
from jepa_core.masking.budget import all_of, random_subset
from jepa_core.masking.random import SampleRandom
from jepa_core.masking.views import MaskView
from jepa_core.types import TokenBudget, TokenGrid


class Split(ABC):
    """A part of the grid is the context, the rest is one target set; both of fixed size, whole or thinned out."""

    def __init__(self, config: SplitConfig, grid: TokenGrid, num_visible: int) -> None:
        """Decide the token budget; raises ConfigError with the feasible range where there is none.

        Args:
            config: may ask for smaller budgets.
            grid: of the tokens.
            num_visible: cells that `visible` leaves in every sample, at least 1 and fewer than the grid has.
        """
        self.grid = grid
        problems, budgets = list[str](), list[int]()
        for key, cells in (("context_tokens", num_visible), ("target_tokens", grid.num_tokens - num_visible)):
            asked = getattr(config, key)
            budgets.append(cells if asked == "auto" else asked)
            if budgets[-1] > cells:
                problems.append(f"masking.{key}: {asked} are too many on a grid of {grid}. Allowed: 1 to {cells}.")
        if problems:
            raise ConfigError(problems)
        self.budgets = (TokenBudget(budgets[0], 1, budgets[1]),)

    @abstractmethod
    def visible(self, random: SampleRandom) -> Bool[np.ndarray, "batch tokens"]:
        """What is not hidden, before budgets thin it out."""

    def __call__(self, random: SampleRandom) -> tuple[MaskView, ...]:
        """One view: both sides whole, or a random subset where a budget is smaller."""
        (budget,) = self.budgets
        visible = self.visible(random)
        target = _thinned(random, ~visible, budget.target)
        return (MaskView.of(_thinned(random, visible, budget.context), target[:, None]),)

    def unlimited(self, random: SampleRandom) -> tuple[Bool[np.ndarray, "batch tokens"], ...]:
        """See `jepa_core.masking.inspect.Unlimited`."""
        return (self.visible(random),)


class Slices:
    """A grid as `count` slices along one axis, each of `places` cells."""

    def __init__(self, grid: TokenGrid, axis: str) -> None:
        """`axis` is the name of an axis of the grid."""
        self.grid, self.axis = grid, axis
        self._axis = grid.axes.index(axis)
        self.count = grid.shape[self._axis]
        """Slices."""
        self.places = grid.num_tokens // self.count
        """Cells in each."""

    def on_grid(self, cells: Bool[np.ndarray, "batch #slices #places"]) -> Bool[np.ndarray, "batch tokens"]:
        """In the grid's order; an axis of length 1 stands for all slices, or for all places."""
        others = [length for axis, length in enumerate(self.grid.shape) if axis != self._axis]
        whole = np.broadcast_to(cells, (len(cells), self.count, self.places))
        return np.moveaxis(whole.reshape(len(cells), self.count, *others), 1, 1 + self._axis).reshape(len(cells), -1)

    def of_share(self, key: str, share: float) -> int:
        """A share of the slices in whole ones: one at least, and one at least stays out.

        Raises ConfigError with the feasible range; `key` is the share's name in the section.
        """
        slices = max(1, round(share * self.count))
        if slices >= self.count:
            raise ConfigError(
                f"masking.{key}: {share:g} takes all that a grid of {self.grid} has along {self.axis}. "
                f"Allowed: {up_to((self.count - 1) / self.count)}."
            )
        return slices


def some_of(random: SampleRandom, cells: int, count: int) -> Bool[np.ndarray, "batch {cells}"]:
    """`count` of the cells, each subset equally likely."""
    members = np.zeros((len(random), cells), dtype=np.bool_)
    np.put_along_axis(members, random_subset(random, ~members, count), values=True, axis=1)
    return members


def up_to(share: float) -> str:
    """The feasible range of a share, for messages: rounded down, so that its end is allowed."""
    return f"above 0, up to {math.floor(1000 * share) / 1000:g}" if share > 0 else "none; use a larger grid"


def _thinned(
    random: SampleRandom, allowed: Bool[np.ndarray, "batch tokens"], count: int
) -> Int64[np.ndarray, "batch {count}"]:
    whole = all_of(allowed)
    return whole if whole.shape[1] == count else random_subset(random, allowed, count)
