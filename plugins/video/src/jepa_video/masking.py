"""Masks of V-JEPA: blocks through time, in several mask views, on grids of time x height x width."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int64

from jepa_core.errors import ConfigError
from jepa_core.masking import MaskView, SampleRandom
from jepa_core.masking.blocks import Blocks, BlockSampler, BlockSize, Shape
from jepa_core.masking.budget import legacy_prefix, prefix_budgets, random_subset, rest_of
from jepa_core.masking.layouts import MIN_SHARE, Layout, Layouts, last_that
from jepa_core.plugin import MaskingStrategy
from jepa_core.types import TokenBudget, TokenGrid
from jepa_video.masking_configs import MultiBlock3dConfig, MultiBlockView
from jepa_video.masking_official import BATCH, OfficialMultiBlock3d, first_steps


def multiblock3d(config: MultiBlock3dConfig, grid: TokenGrid) -> MaskingStrategy:
    """`multiblock3d`: the strategy of the preset; raises ConfigError where it cannot serve the grid."""
    if grid.axes[0] != "time":
        raise ConfigError(f"masking.name: multiblock3d needs time as the first axis, and the grid is {grid}.")
    return OfficialMultiBlock3d(config, grid) if config.preset == "official" else MultiBlock3d(config, grid)


class Sampler:
    """What is drawn for one view: blocks; and what the context encoder may see of the grid."""

    def __init__(self, view: MultiBlockView, shape: Shape, inverse: bool) -> None:
        """On a grid of this shape, time first."""
        size = BlockSize(view.spatial_scale, view.aspect, (view.temporal_scale,), at_least=False)
        self._blocks, self._count = BlockSampler([size], shape), view.num_blocks
        self._shape, self._inverse = shape, inverse
        self._early = first_steps(shape, view.max_temporal_keep)

    def propose(self, random: SampleRandom) -> Blocks:
        """A layout per sample: blocks of one size, which is the sample's own."""
        return self._blocks.draw_alike(random, self._count)

    def visible(self, blocks: Blocks) -> Bool[np.ndarray, "batch tokens"]:
        """What lies outside of all blocks (inside of any with `inverse`), in the steps that may be context."""
        inside = blocks.union(self._shape)
        return (inside if self._inverse else ~inside) & self._early


class View:
    """One mask view: its layouts, and the lengths that its samples have."""

    def __init__(self, config: MultiBlock3dConfig, number: int, grid: TokenGrid) -> None:
        """Decide the token budgets of view `number`, from 0; `problems` says what is wrong with them."""
        self._config, self._view, self._grid = config, config.views[number], grid
        self._key = f"masking.views.{number}"
        self._context = _asked(self._view.context_tokens)
        # Every sample hides one token, at least, to predict; with full_complement the budget sees to it.
        self._target = 1 if config.is_legacy or config.full_complement else _asked(self._view.target_tokens)
        self.layouts = self._layouts(self._view)
        context, tokens = self.layouts.budget, grid.num_tokens
        self.budget = TokenBudget(context, 1, tokens - context if config.full_complement else self.layouts.hidden)

    def __call__(self, random: SampleRandom) -> MaskView:
        """Random subsets of what is visible and of what is hidden, or prefixes for parity."""
        layout = self.layouts.draw(random)
        legacy, tokens = self._config.is_legacy, self._grid.num_tokens
        seen = layout.visible
        context = legacy_prefix(seen) if legacy else random_subset(random, seen, self.budget.context)
        if self._config.full_complement:
            target = rest_of(context, tokens)
        else:
            target = legacy_prefix(~seen) if legacy else random_subset(random, ~seen, self.budget.target)
        return MaskView.of(context, target[:, None])

    @property
    def problems(self) -> list[str]:
        """Why these budgets cannot be had on this grid, with what can; empty where they can."""
        layouts = self.layouts
        if layouts.share >= MIN_SHARE:
            return []
        kinds = (
            ("context_tokens", "leave", self._context, layouts.largest, ""),
            ("target_tokens", "hide", self._target, layouts.largest_hidden, f" beside {layouts.budget} of context"),
        )
        for key, verb, asked, largest, beside in kinds:
            if asked and asked > largest > 0:
                return [
                    f"{self._key}.{key}: fewer than {MIN_SHARE:.0%} of the layouts on a grid of {self._grid} {verb} "
                    f"{asked} tokens{beside}. Allowed: 1 to {largest}."
                ]
        return [self._no_room()]

    def _layouts(self, view: MultiBlockView) -> Layouts:
        sampler = Sampler(view, self._grid.shape, self._config.inverse)
        asked = 1 if self._config.is_legacy else self._context
        return Layouts(sampler.propose, sampler.visible, asked, hidden=self._target)

    def _no_room(self) -> str:
        """Which single changes would do, found by bisection (every trial is a few thousand layouts)."""
        view = self._view
        low, high = view.spatial_scale

        def works(update: dict[str, object]) -> bool:
            return self._layouts(view.model_copy(update=update)).share >= MIN_SHARE

        blocks = last_that(lambda count: works({"num_blocks": count}), view.num_blocks)
        percent = last_that(lambda end: works({"spatial_scale": (min(low, end / 100), end / 100)}), round(high * 100))
        ways = [f"num_blocks 1 to {blocks}"] if blocks else []
        ways += [f"spatial_scale up to {percent / 100:g}"] if percent else []
        return (
            f"{self._key}: {view.num_blocks} block{'s' * (view.num_blocks > 1)} of spatial_scale {low:g} to {high:g} "
            f"leave no room for context and target on a grid of {self._grid}. "
            f"Allowed: {' or '.join(ways) or 'a larger grid'}."
        )


class MultiBlock3d:
    """`multiblock3d`: every sample and view has its own size of blocks, and budgets fix the lengths."""

    def __init__(self, config: MultiBlock3dConfig, grid: TokenGrid) -> None:
        """Decide the token budgets; raises ConfigError with the feasible range where there are none."""
        self.config, self.grid = config, grid
        self._views = [View(config, number, grid) for number in range(len(config.views))]
        self.directed = ("time",) if any(view.max_temporal_keep < 1 for view in config.views) else ()
        problems = [problem for view in self._views for problem in view.problems]
        if problems:
            raise ConfigError(problems)
        budgets = tuple(view.budget for view in self._views)
        self.budgets = prefix_budgets(self, BATCH) if config.is_legacy else budgets

    def __call__(self, random: SampleRandom) -> tuple[MaskView, ...]:
        """One view after the other, each from streams of its own."""
        return tuple(view(random.fork(number)) for number, view in enumerate(self._views))

    def unlimited(self, random: SampleRandom) -> tuple[Bool[np.ndarray, "batch tokens"], ...]:
        """See `jepa_core.masking.inspect.Unlimited`."""
        return tuple(layout.visible for layout in self._drawn(random, limited=False))

    def redraws(self, random: SampleRandom) -> tuple[Int64[np.ndarray, "batch"], ...]:
        """See `jepa_core.masking.inspect.Redrawing`."""
        return tuple(layout.redraws for layout in self._drawn(random, limited=True))

    def _drawn(self, random: SampleRandom, limited: bool) -> list[Layout]:
        return [view.layouts.draw(random.fork(number), limited) for number, view in enumerate(self._views)]


def _asked(tokens: int | str) -> int | None:
    """The number in a configuration, or None for "auto"."""
    return None if isinstance(tokens, str) else tokens
