"""Masks made of blocks on a plane: `time_frequency` and `inverse_block`."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int64, UInt64
from numpy.lib.stride_tricks import sliding_window_view

from jepa_audio.masking_configs import InverseBlockConfig, TimeFrequencyConfig
from jepa_core.errors import ConfigError
from jepa_core.masking import MaskView, SampleRandom
from jepa_core.masking.blocks import Blocks, BlockSampler, BlockSize, Shape
from jepa_core.masking.budget import random_subset
from jepa_core.masking.layouts import MIN_SHARE, Layouts, last_that
from jepa_core.masking.splits import Split, up_to
from jepa_core.types import TokenBudget, TokenGrid


class Sampler:
    """What is drawn for `time_frequency`: target blocks and, last, the context block; and what they leave visible."""

    def __init__(self, config: TimeFrequencyConfig, shape: Shape) -> None:
        """On a grid of this shape."""
        self.shape = shape
        rows, columns = shape
        flat, tall = (0.75 * rows / columns, 1.5 * rows / columns) if config.aspect == "auto" else config.aspect
        target = BlockSize(config.scale, (flat, tall))
        self._blocks = BlockSampler([*[target] * config.num_blocks, BlockSize(config.context_scale)], shape)
        self.least, self.largest = self._blocks.least[0], self._blocks.largest[0]
        """Cells of a target block, at least; and extents that it does not exceed."""

    def propose(self, random: SampleRandom) -> Blocks:
        """A layout per sample: target blocks, then the context block."""
        return self._blocks.draw(random)

    def visible(self, blocks: Blocks) -> Bool[np.ndarray, "batch tokens"]:
        """The context block without all rows and all columns that a target block has cells in."""
        targets, context = blocks.only(slice(-1)), blocks.only(slice(-1, None))
        rows, columns = (
            Blocks(targets.corner[..., axis, None], targets.extent[..., axis, None]).union((length,))
            for axis, length in enumerate(self.shape)
        )
        outside = ~rows[:, :, None] & ~columns[:, None, :]
        return context.cells(self.shape)[:, 0] & outside.reshape(len(blocks), -1)


class TimeFrequency:
    """`time_frequency`: every block has its own size and place, and budgets fix the lengths."""

    def __init__(self, config: TimeFrequencyConfig, grid: TokenGrid) -> None:
        """Decide the token budgets; raises ConfigError with the feasible range where there are none."""
        self.config, self.grid = config, grid
        self._sampler = Sampler(config, grid.shape)
        least = self._sampler.least
        target = least if config.target_tokens == "auto" else config.target_tokens
        asked = None if config.context_tokens == "auto" else config.context_tokens
        self._layouts = Layouts(self._sampler.propose, self._sampler.visible, asked)
        problems = self._context_problems()
        if target > least:
            problems.append(
                f"masking.target_tokens: {target} are too many, on a grid of {grid} the smallest target block has "
                f"{least} tokens. Allowed: 1 to {least}, or more with a higher low end of masking.scale."
            )
        if problems:
            raise ConfigError(problems)
        self.budgets = (TokenBudget(self._layouts.budget, config.num_blocks, target),)

    def __call__(self, random: SampleRandom) -> tuple[MaskView, ...]:
        """One view: a random subset of what is visible, and of each target block."""
        (budget,) = self.budgets
        layout = self._layouts.draw(random)
        context = random_subset(random, layout.visible, budget.context)
        targets = layout.blocks.only(slice(-1))
        predicted = targets.subset(random, self.grid.shape, budget.target, self._sampler.largest)
        return (MaskView.of(context, predicted),)

    def unlimited(self, random: SampleRandom) -> tuple[Bool[np.ndarray, "batch tokens"], ...]:
        """See `jepa_core.masking.inspect.Unlimited`."""
        return (self._layouts.draw(random, limited=False).visible,)

    def redraws(self, random: SampleRandom) -> tuple[Int64[np.ndarray, "batch"], ...]:
        """See `jepa_core.masking.inspect.Redrawing`."""
        return (self._layouts.draw(random).redraws,)

    def _context_problems(self) -> list[str]:
        layouts, config = self._layouts, self.config
        if layouts.share >= MIN_SHARE:
            return []
        if layouts.largest:
            return [
                f"masking.context_tokens: {layouts.share:.1%} of the layouts on a grid of {self.grid} leave "
                f"{layouts.budget} context tokens, and {MIN_SHARE:.0%} must. Allowed: 1 to {layouts.largest}."
            ]
        (low, high), blocks = config.scale, f"{config.num_blocks} block{'s' * (config.num_blocks > 1)}"
        return [
            f"masking.num_blocks: the rows and columns of {blocks} of scale {low:g} to {high:g} leave no context on a "
            f"grid of {self.grid}. Allowed: {self._ways_out()}."
        ]

    def _ways_out(self) -> str:
        """Which single changes would do, found by bisection (every trial is a few thousand layouts)."""
        low, high = self.config.scale

        def works(update: dict[str, object]) -> bool:
            sampler = Sampler(self.config.model_copy(update=update), self.grid.shape)
            return Layouts(sampler.propose, sampler.visible).share >= MIN_SHARE

        blocks = last_that(lambda count: works({"num_blocks": count}), self.config.num_blocks)
        percent = last_that(lambda end: works({"scale": (min(low, end / 100), end / 100)}), round(high * 100))
        ways = [f"num_blocks 1 to {blocks}"] if blocks else []
        ways += [f"scale up to {percent / 100:g}"] if percent else []
        return " or ".join(ways) or "a larger grid"


class InverseBlock(Split):
    """`inverse_block`: blocks are laid one after the other, anywhere, until the context is full; the last one in part.

    In place of a loop, every place that a block can have gets a random number, its turn: a cell's turn is then the
    first of the blocks that hold it, and the cells whose turn comes first are the context.
    """

    def __init__(self, config: InverseBlockConfig, grid: TokenGrid) -> None:
        """Raises ConfigError with the feasible range where a side would be empty, or a block larger than the grid."""
        problems: list[str] = []
        if any(side > length for side, length in zip(config.block, grid.shape, strict=True)):
            allowed = " and ".join(f"1 to {length}" for length in grid.shape)
            problems.append(
                f"masking.block: {list(config.block)} is larger than the grid of {grid}. Allowed: {allowed}."
            )
        self._context = round(grid.num_tokens * (1 - config.ratio))
        if not 0 < self._context < grid.num_tokens:
            most = (grid.num_tokens - 1) / grid.num_tokens
            problems.append(
                f"masking.ratio: {config.ratio:g} leaves {self._context} of {grid.num_tokens} tokens visible on a grid "
                f"of {grid}. Allowed: {up_to(most)}, in steps of a token."
            )
        if problems:
            raise ConfigError(problems)
        self._block = config.block
        super().__init__(config, grid, self._context)

    def visible(self, random: SampleRandom) -> Bool[np.ndarray, "batch tokens"]:
        """As many cells as the ratio leaves: the blocks, and a random subset of the last one."""
        turn = self._turns(random)
        order = (turn << np.uint64(32)) | random.words(self.grid.num_tokens)
        first = np.argpartition(order, self._context - 1, axis=1)[:, : self._context]
        visible = np.zeros(order.shape, dtype=np.bool_)
        np.put_along_axis(visible, first, values=True, axis=1)
        return visible

    def unlimited(self, random: SampleRandom) -> tuple[Bool[np.ndarray, "batch tokens"], ...]:
        """The same blocks, the last one whole too; see `jepa_core.masking.inspect.Unlimited`."""
        turn = self._turns(random)
        last = np.partition(turn, self._context - 1, axis=1)[:, self._context - 1, None]
        return (turn <= last,)

    def _turns(self, random: SampleRandom) -> UInt64[np.ndarray, "batch tokens"]:
        turn = random.words(*self.grid.shape)
        for axis, side in enumerate(self._block, start=1):
            # As if the ends of an axis met: every cell lies in equally many blocks, and all blocks are of one size.
            ring = np.concatenate([turn, turn.take(range(side - 1), axis)], axis)
            turn = sliding_window_view(ring, side, axis=axis).min(-1)
        return turn.reshape(len(random), -1).astype(np.uint64)
