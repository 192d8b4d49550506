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
    """Draws layouts; one without room for the budget is redrawn, at most `ROUNDS` times, then replaced by a stored one.

    Stored are those of 4,096 layouts of a fixed seed that have room, and a sample's own stream decides which one it
    takes: so that sample, too, follows the distribution of layouts with room. The budget is a function of the
    configuration alone.
    """

    def __init__(
        self,
        propose: Callable[[SampleRandom], Blocks],
        visible: Callable[[Blocks], Bool[np.ndarray, "batch tokens"]],
        budget: int | None = None,
        at_least: int = 1,
    ) -> None:
        """Decide the budget and fill the store; whoever constructs it refuses a `share` below `MIN_SHARE`.

        Args:
            propose: draws blocks for every sample, from its stream alone.
            visible: cells that blocks leave for the context; none for blocks that must not be.
            budget: tokens; None for the most that 95 % of the layouts that may be have room for.
            at_least: tokens that an automatic budget must not fall below, at least 1.
        """
        self._propose, self._visible = propose, visible
        drawn = propose(SampleRandom.of(_SEED, [SampleKey(0, index) for index in range(_CALIBRATION)]))
        chunks = [drawn.rows(slice(start, start + _CHUNK)) for start in range(0, _CALIBRATION, _CHUNK)]
        room = np.concatenate([visible(chunk).sum(1) for chunk in chunks])
        possible = room[room > 0]
        automatic = largest_budget(possible) if len(possible) else 0
        self.budget = budget or max(automatic, at_least)
        self.largest = largest_budget(room, MIN_SHARE)
        """The largest budget that can be had; 0 where none can."""
        self._stored = drawn.rows(room >= self.budget)

    @property
    def share(self) -> float:
        """Share of the layouts that have room for the budget."""
        return len(self._stored) / _CALIBRATION

    def draw(self, random: SampleRandom, budget: int | None = None) -> Layout:
        """A layout with room for every sample.

        `budget` may be smaller than the one that was decided; with 1 every layout that may be will do.
        """
        budget = budget or self.budget
        blocks = self._propose(random.fork(0))
        visible = self._visible(blocks)
        lacking = visible.sum(1) < budget
        redraws = np.zeros(len(random), dtype=np.int64)
        for number in range(1, ROUNDS + 2):
            if not lacking.any():
                break
            streams = random.rows(lacking).fork(number)
            again = self._propose(streams) if number <= ROUNDS else self._take_stored(streams)
            blocks = blocks.replaced(lacking, again)
            visible[lacking] = self._visible(again)
            redraws += lacking
            lacking = visible.sum(1) < budget
        return Layout(blocks, visible, redraws)

    def _take_stored(self, random: SampleRandom) -> Blocks:
        return self._stored.rows(random.integers(np.full(len(random), len(self._stored))))
