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
    def unevenness(self) -> float | None:
        """Largest relative deviation, over rows of every axis, of context_rate / unlimited_rate from its mean ratio.

        0 where the length rule takes the same share of every row, column and so on: it then has no bias.
        """
        if self.unlimited_rate is None:
            return None
        ratio = self.context_rate.mean() / self.unlimited_rate.mean()
        pairs = zip(along_axes(self.context_rate), along_axes(self.unlimited_rate), strict=True)
        # Where nothing is visible before the rule (the public code's last row), nothing can be taken.
        deviations = [abs(after[before > 0] / before[before > 0] / ratio - 1).max() for after, before in pairs]
        return float(max(deviations))


@dataclass(frozen=True)
class MaskStatistics:
    """A strategy over many samples."""

    grid: TokenGrid
    samples: int
    """How many were drawn."""
    batch_size: int
    """In batches of this many."""
    views: tuple[ViewStatistics, ...]
    """One per mask view."""

    def as_dict(self) -> dict[str, Any]:
        """Plain types, with the rates per cell and along every axis."""
        return {
            "grid": {"shape": list(self.grid.shape), "axes": list(self.grid.axes)},
            "samples": self.samples,
            "batch_size": self.batch_size,
            "views": [_as_dict(view, self.grid) for view in self.views],
        }


def along_axes(rate: Float[np.ndarray, "*grid"]) -> list[Float[np.ndarray, "length"]]:
    """The mean rate of every row, column and so on: one array per axis."""
    axes = range(rate.ndim)
    return [rate.mean(tuple(other for other in axes if other != axis)) for axis in axes]


def measure(
    strategy: MaskingStrategy, samples: int, seed: int = 0, purpose: int = 0, batch_size: int = 256
) -> MaskStatistics:
    """Draw the masks of samples 0, 1, ... of epoch 0 and count.

    Args:
        strategy: on its grid.
        samples: how many, at least 1.
        seed: of the run.
        purpose: what the run uses the seed for, see `SampleRandom.of`.
        batch_size: matters only to strategies whose masks depend on the batch (legacy prefixes).
    """
    batches = [range(start, min(start + batch_size, samples)) for start in range(0, samples, batch_size)]
    keys = [[SampleKey(0, index) for index in batch] for batch in batches]

    def streams() -> list[SampleRandom]:
        return [SampleRandom.of(seed, batch, purpose) for batch in keys]

    views = list(zip(*map(strategy, streams()), strict=True))
    unlimited = redraws = [None] * len(views)
    if isinstance(strategy, Unlimited):
        unlimited = [np.concatenate(each) for each in zip(*map(strategy.unlimited, streams()), strict=True)]
    if isinstance(strategy, Redrawing):
        redraws = [np.concatenate(each) for each in zip(*map(strategy.redraws, streams()), strict=True)]
    statistics = map(partial(_statistics, strategy.grid), strategy.budgets, views, unlimited, redraws)
    return MaskStatistics(strategy.grid, samples, batch_size, tuple(statistics))


def _statistics(
    grid: TokenGrid,
    budget: TokenBudget,
    batches: Sequence[MaskView],
    unlimited: Bool[np.ndarray, "samples tokens"] | None,
    redraws: Int64[np.ndarray, "samples"] | None,
) -> ViewStatistics:
    context = np.concatenate([_members(view.context, grid) for view in batches])
    target = np.concatenate([_members(view.targets.flatten(1), grid) for view in batches])
    lengths = [(view.context.shape[1], view.targets.shape[2]) for view in batches]
    (fewest_context, fewest_target), (most_context, most_target) = np.min(lengths, 0), np.max(lengths, 0)
    return ViewStatistics(
        budget=budget,
        context_tokens=(int(fewest_context), int(most_context)),
        target_tokens=(int(fewest_target), int(most_target)),
        context_rate=context.mean(0).reshape(grid.shape),
        target_rate=target.mean(0).reshape(grid.shape),
        unlimited_rate=None if unlimited is None else unlimited.mean(0).reshape(grid.shape),
        target_overlap=1 - int(target.sum()) / sum(view.targets.numel() for view in batches),
        leaking=float((context & target).any(1).mean()),
        unused=1 - float((context | target).mean()),
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
    for name, rate in rates.items():
        if rate is not None:
            by_axis = zip(grid.axes, along_axes(rate), strict=True)
            plain[name] = rate.tolist()
            plain[f"{name}_along"] = {axis: values.tolist() for axis, values in by_axis}
    return plain
