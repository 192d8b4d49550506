"""What a masking strategy does, measured: how often each cell is context and target, lengths, overlap, redraws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from jepa_core.masking.layouts import ROUNDS
from jepa_core.masking.random import SampleRandom
from jepa_core.masking.views import MaskView
from jepa_core.plugin import MaskingStrategy
from jepa_core.types import SampleKey, TokenBudget, TokenGrid


@runtime_checkable
class Unlimited(Protocol):
    """A strategy that can say what would be context if samples need not have equal lengths."""

    def unlimited(self, random: SampleRandom) -> tuple[Bool[np.ndarray, "batch tokens"], ...]:
        """One mask per view: the context as it is drawn first, before redraws and length rule."""
        ...


@runtime_checkable
class Redrawing(Protocol):
    """A strategy that redraws samples (`jepa_core.masking.layouts`)."""

    def redraws(self, random: SampleRandom) -> tuple[Int64[np.ndarray, "batch"], ...]:
        """Per view and sample how often it is redrawn; `layouts.ROUNDS` + 1 where a stored layout is taken."""
        ...


@runtime_checkable
class Directed(Protocol):
    """A strategy that means to treat the two ends of an axis unlike, such as one that predicts what comes later."""

    directed: Sequence[str]
    """Names of such axes of its grid; of the others each end is as good as the other (`jepa_core.testing`)."""


def directed_axes(*strategies: MaskingStrategy) -> tuple[str, ...]:
    """The axes whose ends one of the strategies, or more, treats unlike on purpose."""
    declared = [axis for each in strategies if isinstance(each, Directed) for axis in each.directed]
    return tuple(dict.fromkeys(declared))


@dataclass(frozen=True)
class ViewStatistics:
    """One mask view over many samples."""

    budget: TokenBudget
    """What the strategy promises."""
    context_tokens: tuple[int, int]
    """Fewest and most context tokens of a sample."""
    target_tokens: tuple[int, int]
    """Fewest and most tokens of a target block."""
    context_rate: Float[np.ndarray, "*grid"]
    """Share of the samples in which each cell is context."""
    target_rate: Float[np.ndarray, "*grid"]
    """Share of the samples in which each cell is predicted, by one block or more."""
    unlimited_rate: Float[np.ndarray, "*grid"] | None
    """`context_rate` before redraws and length rule, where the strategy says it (`Unlimited`)."""
    target_overlap: float
    """Share of the predicted tokens that an earlier block of the sample predicts as well."""
    leaking: float
    """Share of the samples with a token that is both context and predicted."""
    unused: float
    """Mean share of the grid that is neither."""
    redrawn: float | None
    """Share of the samples that were redrawn, where the strategy says it (`Redrawing`)."""
    stored: float | None
    """Share of the samples that took a stored layout, likewise."""

    @property
    def unevenness_along(self) -> list[float] | None:
        """Per axis the largest relative deviation of context_rate / unlimited_rate from the mean ratio.

        0 where the length rule takes the same share of every row, column and so on: it then has no bias.
        """
        if self.unlimited_rate is None:
            return None
        ratio = self.context_rate.mean() / self.unlimited_rate.mean()
        pairs = zip(along_axes(self.context_rate), along_axes(self.unlimited_rate), strict=True)
        # Where nothing is visible before the rule (the public code's last row), nothing can be taken.
        return [float(abs(after[before > 0] / before[before > 0] / ratio - 1).max()) for after, before in pairs]

    @property
    def unevenness(self) -> float | None:
        """The largest of `unevenness_along`."""
        return None if self.unevenness_along is None else max(self.unevenness_along)


@dataclass(frozen=True)
class MaskStatistics:
    """A strategy over many samples."""

    grid: TokenGrid
    samples: int
    """How many were drawn."""
    batch_size: int
    """In batches of this many."""
    progress: float
    """Share of training that was done."""
    views: tuple[ViewStatistics, ...]
    """One per mask view."""

    def as_dict(self) -> dict[str, Any]:
        """Plain types, with the rates per cell and along every axis."""
        return {
            "grid": {"shape": list(self.grid.shape), "axes": list(self.grid.axes)},
            "samples": self.samples,
            "batch_size": self.batch_size,
            "progress": self.progress,
            "views": [_as_dict(view, self.grid) for view in self.views],
        }


def along_axes(rate: Float[np.ndarray, "*grid"]) -> list[Float[np.ndarray, "length"]]:
    """The mean rate of every row, column and so on: one array per axis."""
    axes = range(rate.ndim)
    return [rate.mean(tuple(other for other in axes if other != axis)) for axis in axes]


def measure(
    strategy: MaskingStrategy,
    samples: int,
    seed: int = 0,
    purpose: int = 0,
    batch_size: int = 256,
    progress: float = 0.0,
) -> MaskStatistics:
    """Draw the masks of samples 0, 1, ... of epoch 0 and count.

    Args:
        strategy: on its grid.
        samples: how many, at least 1.
        seed: of the run.
        purpose: what the run uses the seed for, see `SampleRandom.of`.
        batch_size: matters only to strategies whose masks depend on the batch (legacy prefixes).
        progress: share of training that is done, in [0, 1]; matters only to strategies that follow it.
    """
    tallies = [_Tally(strategy.grid) for _ in strategy.budgets]
    for start in range(0, samples, batch_size):
        keys = [SampleKey(0, index, progress) for index in range(start, min(start + batch_size, samples))]
        streams = partial(SampleRandom.of, seed, keys, purpose)
        unlimited = strategy.unlimited(streams()) if isinstance(strategy, Unlimited) else (None,) * len(tallies)
        redraws = strategy.redraws(streams()) if isinstance(strategy, Redrawing) else (None,) * len(tallies)
        for tally, view, seen, redrawn in zip(tallies, strategy(streams()), unlimited, redraws, strict=True):
            tally.add(view, seen, redrawn)
    views = [tally.statistics(budget) for tally, budget in zip(tallies, strategy.budgets, strict=True)]
    return MaskStatistics(strategy.grid, samples, batch_size, progress, tuple(views))


class _Tally:
    """Sums over the batches of one view: the masks themselves would fill gigabytes on large grids."""

    def __init__(self, grid: TokenGrid) -> None:
        self._grid = grid
        self._samples = self._predicted = self._leaking = 0
        self._context, self._target, self._used = (np.zeros(grid.num_tokens, dtype=np.int64) for _ in range(3))
        self._unlimited: Int64[np.ndarray, "tokens"] | None = None
        self._redraws: list[Int64[np.ndarray, "batch"]] = []
        self._lengths: list[tuple[int, int]] = []

    def add(
        self,
        view: MaskView,
        unlimited: Bool[np.ndarray, "batch tokens"] | None,
        redraws: Int64[np.ndarray, "batch"] | None,
    ) -> None:
        """Count one batch."""
        context, target = _members(view.context, self._grid), _members(view.targets.flatten(1), self._grid)
        self._samples += len(context)
        self._predicted += view.targets.numel()
        self._leaking += int((context & target).any(1).sum())
        self._context += context.sum(0)
        self._target += target.sum(0)
        self._used += (context | target).sum(0)
        self._lengths.append((view.context.shape[1], view.targets.shape[2]))
        if unlimited is not None:
            self._unlimited = unlimited.sum(0) + (0 if self._unlimited is None else self._unlimited)
        if redraws is not None:
            self._redraws.append(redraws)

    def statistics(self, budget: TokenBudget) -> ViewStatistics:
        """What was counted, as shares."""
        samples, shape = self._samples, self._grid.shape
        (fewest_context, fewest_target), (most_context, most_target) = (
            np.min(self._lengths, 0),
            np.max(self._lengths, 0),
        )
        redraws = np.concatenate(self._redraws) if self._redraws else None
        return ViewStatistics(
            budget=budget,
            context_tokens=(int(fewest_context), int(most_context)),
            target_tokens=(int(fewest_target), int(most_target)),
            context_rate=(self._context / samples).reshape(shape),
            target_rate=(self._target / samples).reshape(shape),
            unlimited_rate=None if self._unlimited is None else (self._unlimited / samples).reshape(shape),
            target_overlap=1 - int(self._target.sum()) / self._predicted,
            leaking=self._leaking / samples,
            unused=1 - float(self._used.mean()) / samples,
            redrawn=None if redraws is None else float((redraws > 0).mean()),
            stored=None if redraws is None else float((redraws > ROUNDS).mean()),
        )


def _members(cells: Int[Tensor, "batch count"], grid: TokenGrid) -> Bool[np.ndarray, "batch tokens"]:
    members = np.zeros((len(cells), grid.num_tokens), dtype=np.bool_)
    np.put_along_axis(members, cells.numpy(), values=True, axis=1)
    return members


def _as_dict(view: ViewStatistics, grid: TokenGrid) -> dict[str, Any]:
    rates = {
        "context_rate": view.context_rate,
        "target_rate": view.target_rate,
        "unlimited_rate": view.unlimited_rate,
    }
    plain = asdict(view) | {"unevenness": view.unevenness}
    if view.unevenness_along is not None:
        plain["unevenness_along"] = dict(zip(grid.axes, view.unevenness_along, strict=True))
    for name, rate in rates.items():
        if rate is not None:
            by_axis = zip(grid.axes, along_axes(rate), strict=True)
            plain[name] = rate.tolist()
            plain[f"{name}_along"] = {axis: values.tolist() for axis, values in by_axis}
    return plain
