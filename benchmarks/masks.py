"""The mask samplers beside loops over samples that draw the same masks by the same rules, on one core.

    OMP_NUM_THREADS=1 python benchmarks/masks.py

The loops are written the way such loops are: one NumPy generator per sample (a mask must be a function of the sample,
or resuming and other numbers of workers change it), Python arithmetic for the blocks, slices of a small array for their
cells. `shared` is the same loop with one generator for all samples, which is faster and breaks that promise. Times are
processor time per sample, the best of several repetitions, so they hold on a busy machine too.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from jepa_core.masking import MaskView, SampleRandom
from jepa_core.masking.layouts import ROUNDS
from jepa_core.plugin import MaskingStrategy
from jepa_core.types import SampleKey, TokenBudget, TokenGrid
from jepa_image.masking_configs import MultiBlockConfig, multiblock
from jepa_video.masking_configs import MultiBlock3dConfig, MultiBlockView, multiblock3d

Slices = tuple[slice, slice]


@dataclass(frozen=True)
class Loop:
    """One sample after the other; the budgets are the sampler's own."""

    config: MultiBlockConfig
    grid: TokenGrid
    context: int
    target: int
    shared: bool = False

    def __call__(self, keys: list[SampleKey]) -> MaskView:
        """The masks of a batch."""
        generator = np.random.default_rng(0)
        drawn = [
            self.sample(generator if self.shared else np.random.default_rng((0, key.epoch, key.index))) for key in keys
        ]
        context, targets = zip(*drawn, strict=True)
        return MaskView.of(np.stack(context), np.stack(targets))

    def sample(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Context and target cells of one sample."""
        config = self.config
        targets, cells = list[Slices](), np.empty(0, dtype=np.int64)
        for _ in range(ROUNDS + 1):
            targets = [self.block(generator, config.target_scale, config.target_aspect) for _ in range(4)]
            visible = np.zeros(self.grid.shape, dtype=np.bool_)
            visible[self.block(generator, config.context_scale, config.context_aspect)] = True
            for target in targets:
                visible[target] = False
            cells = np.flatnonzero(visible)
            if len(cells) >= self.context:
                break
        context = np.sort(generator.permutation(cells)[: self.context])
        numbers = np.arange(self.grid.num_tokens).reshape(self.grid.shape)
        predicted = [np.sort(generator.permutation(numbers[target].ravel())[: self.target]) for target in targets]
        return context, np.stack(predicted)

    def block(self, generator: np.random.Generator, scale: tuple[float, float], aspect: tuple[float, float]) -> Slices:
        """A block by the rules of `jepa_core.masking.blocks`."""
        rows, columns = self.grid.shape
        area = (scale[0] + (scale[1] - scale[0]) * generator.random()) * rows * columns
        ratio = aspect[0] + (aspect[1] - aspect[0]) * generator.random()
        least = math.ceil(scale[0] * rows * columns - 1e-4)
        turned = generator.random() < 0.5
        length, across, ratio = (columns, rows, 1 / ratio) if turned else (rows, columns, ratio)
        first = min(max(round(math.sqrt(area * ratio)), math.ceil(least / across), round(area / across)), length)
        second = min(max(round(area / first), math.ceil(least / first)), across)
        height, width = (second, first) if turned else (first, second)
        top = int(generator.random() * (rows - height + 1))
        left = int(generator.random() * (columns - width + 1))
        return slice(top, top + height), slice(left, left + width)


@dataclass(frozen=True)
class VideoLoop:
    """As `Loop`, for the views of `multiblock3d`."""

    config: MultiBlock3dConfig
    grid: TokenGrid
    budgets: tuple[TokenBudget, ...]
    shared: bool = False

    def __call__(self, keys: list[SampleKey]) -> tuple[MaskView, ...]:
        """The masks of a batch, in every view."""
        generator = np.random.default_rng(0)
        drawn = [
            self.sample(generator if self.shared else np.random.default_rng((0, key.epoch, key.index))) for key in keys
        ]
        batches = (zip(*view, strict=True) for view in zip(*drawn, strict=True))
        return tuple(MaskView.of(np.stack(context), np.stack(target)[:, None]) for context, target in batches)

    def sample(self, generator: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
        """Context and target cells of one sample, in every view."""
        return [self.view(generator, *pair) for pair in zip(self.config.views, self.budgets, strict=True)]

    def view(
        self, generator: np.random.Generator, view: MultiBlockView, budget: TokenBudget
    ) -> tuple[np.ndarray, np.ndarray]:
        """Context and target cells of one sample in one view."""
        _, rows, columns = self.grid.shape
        outside = inside = np.empty(0, dtype=np.int64)
        for _ in range(ROUNDS + 1):
            height, width = self.size(generator, view)
            visible = np.ones(self.grid.shape, dtype=np.bool_)
            for _ in range(view.num_blocks):
                top = int(generator.random() * (rows - height + 1))
                left = int(generator.random() * (columns - width + 1))
                visible[:, top : top + height, left : left + width] = False
            outside, inside = np.flatnonzero(visible), np.flatnonzero(~visible)
            if len(outside) >= budget.context and len(inside) >= budget.target:
                break
        context = np.sort(generator.permutation(outside)[: budget.context])
        return context, np.sort(generator.permutation(inside)[: budget.target])

    def size(self, generator: np.random.Generator, view: MultiBlockView) -> tuple[int, int]:
        """Height and width of a sample's blocks by the rules of `jepa_core.masking.blocks`; they last all the time."""
        _, rows, columns = self.grid.shape
        low, high = view.spatial_scale
        area = (low + (high - low) * generator.random()) * rows * columns
        ratio = view.aspect[0] + (view.aspect[1] - view.aspect[0]) * generator.random()
        turned = generator.random() < 0.5
        length, across, ratio = (columns, rows, 1 / ratio) if turned else (rows, columns, ratio)
        first = min(max(round(math.sqrt(area * ratio)), 1, round(area / across)), length)
        second = min(max(round(area / first), 1), across)
        return (second, first) if turned else (first, second)


def seconds_per_sample(draw: Callable[[list[SampleKey]], object], batch: int, repetitions: int) -> float:
    """Processor time per sample, best of `repetitions` over runs of at least 256 samples."""
    calls = max(1, 256 // batch)
    best = math.inf
    for epoch in range(repetitions):
        batches = [[SampleKey(epoch, call * batch + index) for index in range(batch)] for call in range(calls)]
        start = time.process_time()
        for keys in batches:
            draw(keys)
        best = min(best, time.process_time() - start)
    return best / (calls * batch)


def sampler(strategy: MaskingStrategy) -> Callable[[list[SampleKey]], object]:
    """From keys to masks, as the trainer does it."""
    return lambda keys: strategy(SampleRandom.of(0, keys))


def main() -> None:
    """Print the table of benchmarks/README.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=20)
    repetitions = parser.parse_args().repetitions
    torch.set_num_threads(1)
    print("| grid | batch | loop, us | shared, us | sampler, us | loop / sampler | shared / sampler |")
    print("|---|---|---|---|---|---|---|")
    for side in (14, 8):
        grid, config = TokenGrid((side, side), ("height", "width")), MultiBlockConfig()
        strategy = multiblock.build(config, grid)
        (budget,) = strategy.budgets
        loops = [Loop(config, grid, budget.context, budget.target, shared) for shared in (False, True)]
        compare(strategy, loops, repetitions)
    for shape in ((8, 14, 14), (8, 8, 8)):
        grid, video = TokenGrid(shape, ("time", "height", "width")), MultiBlock3dConfig()
        strategy = multiblock3d.build(video, grid)
        compare(strategy, [VideoLoop(video, grid, strategy.budgets, shared) for shared in (False, True)], repetitions)


def compare(strategy: MaskingStrategy, loops: Sequence[Callable[[list[SampleKey]], object]], repetitions: int) -> None:
    """Print a strategy's rows."""
    grid = " x ".join(map(str, strategy.grid.shape))
    for batch in (1, 16, 64, 256):
        times = [1e6 * seconds_per_sample(draw, batch, repetitions) for draw in (*loops, sampler(strategy))]
        own, shared, ours = times
        print(
            f"| {grid} | {batch} | {own:.0f} | {shared:.0f} | {ours:.1f} | {own / ours:.1f} | {shared / ours:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
