"""What the checks of masking strategies are given: the strategy on a family of grids, and what it draws there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from jepa_core.masking import MaskView, SampleRandom
from jepa_core.masking.inspect import MaskStatistics, measure
from jepa_core.plugin import Masking, MaskingStrategy
from jepa_core.recipes import read_config
from jepa_core.registry import modalities
from jepa_core.testing.attempts import attempt
from jepa_core.testing.checks import Case, NotApplicable
from jepa_core.testing.grids import grids_for
from jepa_core.testing.variants import variants
from jepa_core.types import SampleKey, TokenGrid

BATCH = 64
"""Samples of the batch that most checks look at."""
_EVERY = 4
SAMPLES = 2048
"""Samples that shares are counted over."""


@dataclass(frozen=True)
class Moment:
    """A time in a run at which masks are drawn."""

    words: str
    """When, for messages; empty for the very beginning."""
    epoch: int = 0
    progress: float = 0.0
    seed: int = 0

    def streams(self, samples: Iterable[int]) -> SampleRandom:
        """The randomness of these samples then."""
        return SampleRandom.of(self.seed, [SampleKey(self.epoch, index, self.progress) for index in samples])


START = Moment("")
MOMENTS = (
    START,
    Moment(" at 50% of training", progress=0.5),
    Moment(" at 100% of training", progress=1.0),
    Moment(" in epoch 3 of seed 1", epoch=3, seed=1),
)
"""When masks are looked at: a strategy may follow `random.progress`, and other samples may bring out other faults."""


@dataclass(frozen=True)
class Served:
    """A strategy on a grid that it accepted, and what it drew for samples 0 to 63 of epoch 0."""

    grid: TokenGrid
    strategy: MaskingStrategy
    views: tuple[MaskView, ...]

    @cached_property
    def later(self) -> list[tuple[Moment, Any]]:
        """What it draws for the same samples at the other moments, or what drawing raises then."""
        return [(each, attempt(partial(self.strategy, each.streams(range(BATCH))))) for each in MOMENTS[1:]]

    @property
    def moments(self) -> list[tuple[Moment, tuple[MaskView, ...]]]:
        """The mask views of all moments at which there are any."""
        return [(START, self.views), *((when, views) for when, views in self.later if not malformed(views, BATCH))]

    @property
    def cells(self) -> list[tuple[str, Tensor]]:
        """The indices of all moments and views: (samples, cells) and (samples, blocks, cells), in words."""
        return [
            (f"view {number}, {side}{when.words}", cells)
            for when, views in self.moments
            for number, view in enumerate(views)
            for side, cells in (("context", view.context), ("targets", view.targets))
        ]

    @cached_property
    def statistics(self) -> MaskStatistics:
        """How often each cell is context and target."""
        return measure(self.strategy, SAMPLES)


@dataclass(frozen=True, kw_only=True)
class MaskingCase(Case):
    """A masking strategy and its section, on every grid that it may serve: a family of them, and a given run's."""

    plugin: Masking

    @cached_property
    def grids(self) -> list[TokenGrid]:
        """Where it is tried."""
        grids = grids_for(self.plugin)
        if self.text is None:
            return grids
        modality = read_config(text=self.text).modality
        return [modalities.get(modality.name).grid(modality), *grids]

    @cached_property
    def built(self) -> list[tuple[TokenGrid, MaskingStrategy | Exception]]:
        """The strategy on each grid, or why there is none."""
        return [(grid, attempt(partial(self.plugin.build, self.section, grid))) for grid in self.grids]

    @cached_property
    def drawn(self) -> list[tuple[TokenGrid, MaskingStrategy, Any]]:
        """The strategies on the grids that they accept, with the views of one batch, or what drawing raised."""
        return [
            (grid, strategy, attempt(partial(strategy, streams(range(BATCH)))))
            for grid, strategy in self.built
            if not isinstance(strategy, Exception)
        ]

    @property
    def varied(self) -> Iterator[tuple[str, MaskingStrategy | Exception]]:
        """The strategy with one option changed, on some of the grids that it serves, and where that was."""
        for what, section in variants(self.section):
            for served in self.served[::_EVERY]:
                yield f"{what}, on {served.grid}", attempt(partial(self.plugin.build, section, served.grid))

    @cached_property
    def _formed(self) -> list[Served]:
        return [Served(*each) for each in self.drawn if not malformed(each[2], BATCH)]

    @property
    def served(self) -> list[Served]:
        """Grids on which mask views come out; raises NotApplicable where there are none."""
        if not self._formed:
            raise NotApplicable("the strategy draws mask views on no grid: other checks say why")
        return self._formed

    @property
    def sound(self) -> list[Served]:
        """Those of them whose cells can be counted; raises NotApplicable where there are none."""
        found = [each for each in self.served if not strangers(each) and each.strategy.grid == each.grid]
        if not found:
            raise NotApplicable("cells cannot be counted: cells_exist and grid_stated say why")
        return found


def streams(samples: Iterable[int]) -> SampleRandom:
    """The randomness of these samples at the start of a run of seed 0."""
    return START.streams(samples)


def malformed(views: Any, batch: int) -> str:
    """What keeps something from being the views of a batch; empty where nothing does."""
    if isinstance(views, Exception):
        return f"{type(views).__name__}: {views}"
    if not isinstance(views, tuple) or not views or not all(isinstance(view, MaskView) for view in views):
        return f"{type(views).__name__} of {len(views) if hasattr(views, '__len__') else 'no'} entries"
    for number, view in enumerate(views):
        for side, cells, axes in (("context", view.context, 2), ("targets", view.targets, 3)):
            whole = cells.dtype == torch.int64 and cells.ndim == axes and cells.numel() > 0
            if not whole or len(cells) != batch or cells.device.type != "cpu":
                return f"view {number}: {side} of shape {tuple(cells.shape)}, {cells.dtype}, on {cells.device}"
    return ""


def lengths(views: tuple[MaskView, ...]) -> list[tuple[int, ...]]:
    """Per view: context tokens, target blocks, tokens in each."""
    return [(view.context.shape[1], *view.targets.shape[1:]) for view in views]


def equal_views(found: tuple[MaskView, ...], expected: tuple[MaskView, ...]) -> bool:
    """Whether both are the same masks."""
    return lengths(found) == lengths(expected) and all(
        torch.equal(one.context, other.context) and torch.equal(one.targets, other.targets)
        for one, other in zip(found, expected, strict=True)
    )


def strangers(served: Served) -> str:
    """Which indices are no cells of the grid; empty where all are."""
    for what, cells in served.cells:
        low, high = int(cells.min()), int(cells.max())
        if low < 0 or high >= served.grid.num_tokens:
            return f"{what}: indices from {low} to {high}"
    return ""
