"""Masks of I-JEPA on any grid of two axes: multi-block, block and quadrants."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int64

from jepa_core.errors import ConfigError
from jepa_core.masking import MaskView, SampleRandom
from jepa_core.masking.blocks import Blocks, BlockSampler, BlockSize, Shape
from jepa_core.masking.budget import legacy_prefix, prefix_budgets, random_subset
from jepa_core.masking.layouts import MIN_SHARE, Layouts, last_that
from jepa_core.plugin import MaskingStrategy
from jepa_core.types import TokenBudget, TokenGrid
from jepa_image.masking_configs import BlockConfig, MultiBlockConfig, QuadrantConfig
from jepa_image.masking_official import BATCH, OfficialMultiBlock


def multiblock(config: MultiBlockConfig, grid: TokenGrid) -> MaskingStrategy:
    """`multiblock`: the strategy of the preset; raises ConfigError where it cannot serve the grid."""
    return OfficialMultiBlock(config, grid) if config.preset == "official" else MultiBlock(config, grid)


def block(config: BlockConfig, grid: TokenGrid) -> MaskingStrategy:
    """`block`: multi-block with one target and the whole grid as the context block."""
    values = config.model_dump(exclude={"name"})
    return MultiBlock(MultiBlockConfig(num_targets=1, context_scale=(1.0, 1.0), **values), grid)


class Sampler:
    """What is drawn: target blocks and, last, the context block; and what of it the context encoder may see."""

    def __init__(self, config: MultiBlockConfig, shape: Shape) -> None:
        """On a grid of this shape."""
        self.config, self.shape = config, shape
        target = BlockSize(config.target_scale, config.target_aspect)
        context = BlockSize(config.context_scale, config.context_aspect)
        self._num_apart = config.num_targets if config.disjoint_targets else 0
        self._blocks = BlockSampler([*[target] * config.num_targets, context], shape)
        self.least, self.largest = self._blocks.least[0], self._blocks.largest[0]
        """Cells of a target block, at least; and extents that it does not exceed."""

    def propose(self, random: SampleRandom) -> Blocks:
        """A layout per sample: `num_targets` target blocks, then the context block."""
        return self._blocks.draw(random, self._num_apart)

    def visible(self, blocks: Blocks) -> Bool[np.ndarray, "batch tokens"]:
        """The context block without the target blocks, whole: their answers must not be visible (section 3).

        Nothing where targets overlap that must be disjoint.
        """
        cells = blocks.cells(self.shape)
        targets, context = cells[:, :-1], cells[:, -1]
        if self.config.disjoint_targets:
            context = context & (targets.sum(1).max(1, keepdims=True) == 1)
        return context if self.config.allow_overlap else context & ~targets.any(1)


class MultiBlock:
    """`multiblock` and `block`: every block of every sample has its own size and place, and budgets fix the lengths."""

    def __init__(self, config: MultiBlockConfig, grid: TokenGrid) -> None:
        """Decide the token budgets; raises ConfigError with the feasible range where there are none."""
        self.config, self.grid = config, grid
        self.sampler = Sampler(config, grid.shape)
        fewest = 1 if config.min_tokens == "auto" else config.min_tokens
        target = self.sampler.least if config.target_tokens == "auto" else config.target_tokens
        asked = fewest if config.is_legacy else None if config.context_tokens == "auto" else config.context_tokens
        self.layouts = Layouts(self.sampler.propose, self.sampler.visible, asked, at_least=fewest)
        problems = [*self._target_problems(target, fewest), *self._context_problems(fewest)]
        if problems:
            raise ConfigError(problems)
        budget = TokenBudget(self.layouts.budget, config.num_targets, target)
        self.budgets = prefix_budgets(self, BATCH) if config.is_legacy else (budget,)

    def __call__(self, random: SampleRandom) -> tuple[MaskView, ...]:
        """One view: a random subset of what is visible, and of each target block, or the prefixes for parity."""
        layout = self.layouts.draw(random)
        targets = layout.blocks.only(slice(self.config.num_targets))
        if self.config.is_legacy:
            return (MaskView.of(legacy_prefix(layout.visible), legacy_prefix(targets.cells(self.grid.shape))),)
        (budget,) = self.budgets
        context = random_subset(random, layout.visible, budget.context)
        predicted = targets.subset(random, self.grid.shape, budget.target, self.sampler.largest)
        return (MaskView.of(context, predicted),)

    def unlimited(self, random: SampleRandom) -> tuple[Bool[np.ndarray, "batch tokens"], ...]:
        """See `jepa_core.masking.inspect.Unlimited`."""
        return (self.layouts.draw(random, limited=False).visible,)

    def redraws(self, random: SampleRandom) -> tuple[Int64[np.ndarray, "batch"], ...]:
        """See `jepa_core.masking.inspect.Redrawing`."""
        return (self.layouts.draw(random).redraws,)

    def _target_problems(self, target: int, fewest: int) -> list[str]:
        least = self.sampler.least
        have = f"on a grid of {self.grid} the smallest target block has {least} tokens"
        if target > least:
            return [
                f"masking.target_tokens: {target} are too many, {have}. "
                f"Allowed: {fewest} to {least}, or more with a higher low end of masking.target_scale."
            ]
        if target < fewest:
            return [
                f"masking.min_tokens: {fewest} are too many, {have}; {target} are predicted. Allowed: 1 to {target}."
            ]
        return []

    def _context_problems(self, fewest: int) -> list[str]:
        layouts, config = self.layouts, self.config
        if layouts.share >= MIN_SHARE and layouts.budget >= fewest:
            return []
        if layouts.largest:
            key = "context_tokens" if config.min_tokens == "auto" or config.context_tokens != "auto" else "min_tokens"
            least = fewest if key == "context_tokens" else 1
            return [
                f"masking.{key}: {layouts.share:.1%} of the layouts on a grid of {self.grid} leave "
                f"{layouts.budget} context tokens, and {MIN_SHARE:.0%} must. Allowed: {least} to {layouts.largest}."
            ]
        key = "num_targets" if config.num_targets > 1 else "target_scale"
        low, high = config.target_scale
        kind = f"{'disjoint ' * config.disjoint_targets}target block{'s' * (config.num_targets > 1)}"
        return [
            f"masking.{key}: {config.num_targets} {kind} of scale {low:g} to {high:g} and a context do not fit on a "
            f"grid of {self.grid}. Allowed: {self._ways_out()}."
        ]

    def _ways_out(self) -> str:
        """Which single changes would do, found by bisection (every trial is a few thousand layouts)."""
        low, high = self.config.target_scale

        def works(update: dict[str, object]) -> bool:
            sampler = Sampler(self.config.model_copy(update=update), self.grid.shape)
            return Layouts(sampler.propose, sampler.visible).share >= MIN_SHARE

        targets = last_that(lambda count: works({"num_targets": count}), self.config.num_targets)
        percent = last_that(lambda end: works({"target_scale": (min(low, end / 100), end / 100)}), round(high * 100))
        ways = [f"num_targets 1 to {targets}"] if targets else []
        ways += [f"target_scale up to {percent / 100:g}"] if percent else []
        return " or ".join(ways) or "a larger grid"


class Quadrant:
    """`quadrant`: the grid is cut in four; one quadrant, any of them, is the context and the others are the targets.

    An odd axis is cut before or after its middle, in half of the samples each, and a random subset brings all quadrants
    to the size of the smallest: so every token can be context and target.
    """

    def __init__(self, config: QuadrantConfig, grid: TokenGrid) -> None:
        """Raises ConfigError on a grid of one row or column."""
        rows, columns = grid.shape
        if min(rows, columns) < 2:
            raise ConfigError(f"masking.name: quadrant needs a grid of at least 2 x 2 cells, and this one is {grid}.")
        self.grid = grid
        self._largest = (-(-rows // 2), -(-columns // 2))
        tokens = (rows // 2) * (columns // 2)
        self.budgets = (TokenBudget(tokens, 3, tokens),)

    def __call__(self, random: SampleRandom) -> tuple[MaskView, ...]:
        """One view: the context quadrant, then the others clockwise."""
        size = np.array(self.grid.shape)
        cut = (size + random.integers(np.broadcast_to(size % 2 + 1, (len(random), 2)))) // 2
        number = random.integers(np.full((len(random), 1), 4)) + np.arange(4)
        second = np.array([[0, 0], [0, 1], [1, 1], [1, 0]])[number % 4]  # clockwise from the top left
        corner = second * cut[:, None]
        extent = np.where(second, size - cut[:, None], cut[:, None])
        cells = Blocks(corner, extent).subset(random, self.grid.shape, self.budgets[0].target, self._largest)
        return (MaskView.of(cells[:, 0], cells[:, 1:]),)
