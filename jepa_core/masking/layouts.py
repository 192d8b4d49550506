"""Block layouts that have room for a token budget, for every sample and without an unbounded loop (promise 4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64

from jepa_core.masking.blocks import Blocks
from jepa_core.masking.budget import largest_budget
from jepa_core.masking.random import SampleRandom
from jepa_core.types import SampleKey

ROUNDS = 16
"""How often a layout without room is redrawn before a stored one takes its place."""
MIN_SHARE = 0.1
"""Share of the layouts that must have room for a budget, or it cannot be had."""

_CALIBRATION, _CHUNK, _SEED = 4096, 256, 20_230_119


@dataclass(frozen=True)
class Layout:
    """The blocks of every sample of a batch."""

    blocks: Blocks
    """Where they are."""
    visible: Bool[np.ndarray, "batch tokens"]
    """What they leave for the context."""
    redraws: Int64[np.ndarray, "batch"]
    """How often each sample was redrawn; `ROUNDS` + 1 means that it took a stored layout."""


class Layouts:
    """Draws layouts; one without room for the budgets is redrawn, `ROUNDS` times at most, then a stored one is taken.

    Stored are those of 4,096 layouts of a fixed seed that have room, and a sample's own stream decides which one it
    takes: so that sample, too, follows the distribution of layouts with room. The budgets are a function of the
    configuration alone.
    """

    def __init__(
        self,
        propose: Callable[[SampleRandom], Blocks],
        visible: Callable[[Blocks], Bool[np.ndarray, "batch tokens"]],
        budget: int | None = None,
        at_least: int = 1,
        hidden: int | None = 0,
    ) -> None:
        """Decide the budgets and fill the store; whoever constructs it refuses a `share` below `MIN_SHARE`.

        Args:
            propose: draws blocks for every sample, from its stream alone.
            visible: cells that blocks leave for the context; none for blocks that must not be.
            budget: tokens; None for the most that 95 % of the layouts that may be have room for.
            at_least: tokens that an automatic budget must not fall below, at least 1.
            hidden: tokens that must not be visible; None for the most that 95 % of the layouts with room for `budget`
                have, at least 1.
        """
        self._propose, self._visible = propose, visible
        drawn = propose(SampleRandom.of(_SEED, [SampleKey(0, index) for index in range(_CALIBRATION)]))
        chunks = [drawn.rows(slice(start, start + _CHUNK)) for start in range(0, _CALIBRATION, _CHUNK)]
        seen, unseen = np.concatenate([_counts(visible(chunk)) for chunk in chunks], 1)
        self._fewest_hidden = 1 if hidden is None else hidden
        possible = (seen > 0) & (unseen >= self._fewest_hidden)
        self.budget = budget or max(_most(seen, possible), at_least)
        fits = possible & (seen >= self.budget)
        self.hidden = max(_most(unseen, fits), 1) if hidden is None else hidden
        self.largest = largest_budget(seen * (unseen >= min(self._fewest_hidden, 1)), MIN_SHARE)
        """The largest budget that can be had, whatever `hidden` was; 0 where none can."""
        self.largest_hidden = largest_budget(unseen * (seen >= (budget or 1)), MIN_SHARE)
        """The largest number of hidden tokens that can be had with this `budget`, likewise."""
        self._stored = drawn.rows(fits & (unseen >= self.hidden))

    @property
    def share(self) -> float:
        """Share of the layouts that have room for the budgets."""
        return len(self._stored) / _CALIBRATION

    def draw(self, random: SampleRandom, limited: bool = True) -> Layout:
        """A layout with room for every sample; unless `limited`, every layout that may be will do."""
        budget, hidden = (self.budget, self.hidden) if limited else (1, self._fewest_hidden)

        def lacks_room(visible: Bool[np.ndarray, "batch tokens"]) -> Bool[np.ndarray, "batch"]:
            seen, unseen = _counts(visible)
            return (seen < budget) | (unseen < hidden)

        blocks = self._propose(random.fork(0))
        visible = self._visible(blocks)
        lacking = lacks_room(visible)
        redraws = np.zeros(len(random), dtype=np.int64)
        for number in range(1, ROUNDS + 2):
            if not lacking.any():
                break
            streams = random.rows(lacking).fork(number)
            again = self._propose(streams) if number <= ROUNDS else self._take_stored(streams)
            blocks = blocks.replaced(lacking, again)
            visible[lacking] = self._visible(again)
            redraws += lacking
            lacking = lacks_room(visible)
        return Layout(blocks, visible, redraws)

    def _take_stored(self, random: SampleRandom) -> Blocks:
        return self._stored.rows(random.integers(np.full(len(random), len(self._stored))))


def _counts(visible: Bool[np.ndarray, "batch tokens"]) -> Int64[np.ndarray, "2 batch"]:
    """How many cells of each sample are visible, and how many are not."""
    seen = visible.sum(1)
    return np.stack([seen, visible.shape[1] - seen])


def _most(room: Int64[np.ndarray, "layouts"], allowed: Bool[np.ndarray, "layouts"]) -> int:
    """What 95 % of the allowed layouts have room for, and `MIN_SHARE` of all; 0 where too few are allowed."""
    return min(largest_budget(room[allowed]), largest_budget(room * allowed, MIN_SHARE)) if allowed.any() else 0


def last_that(check: Callable[[int], bool], end: int) -> int:
    """The largest number in [1, end) that passes a check which small numbers pass, or 0; by bisection.

    For the feasible range of an error: a check draws a few thousand layouts.
    """
    low, high = 0, end
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if check(middle) else (low, middle)
    return low
