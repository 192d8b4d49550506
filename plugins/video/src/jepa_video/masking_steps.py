"""Masks that hide whole places through time, or whole time steps: `tube`, `causal` and `frame_drop`.

They hide the same number of tokens in every sample, so equal length needs no rule. They serve any grid with an axis
named time: on frequency x time, tubes are frequency bands and dropped steps are stretches of time at all frequencies.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Bool, Int64

from jepa_core.errors import ConfigError
from jepa_core.masking import MaskView, SampleRandom
from jepa_core.masking.budget import all_of, random_subset
from jepa_core.types import TokenBudget, TokenGrid
from jepa_video.masking_configs import CausalConfig, FrameDropConfig, SplitConfig, TubeConfig

Config = TypeVar("Config", bound=SplitConfig)


class _Split(ABC, Generic[Config]):
    """The grid as time steps x places: one part is the context, the rest is one target set; both of fixed size."""

    def __init__(self, config: Config, grid: TokenGrid) -> None:
        """Decide the token budget; raises ConfigError with the feasible range where there is none."""
        self.grid = grid
        self._time = grid.axes.index("time")
        self._steps = grid.shape[self._time]
        self._places = grid.num_tokens // self._steps
        context = self._num_visible(config)
        problems, budgets = list[str](), list[int]()
        for key, cells in (("context_tokens", context), ("target_tokens", grid.num_tokens - context)):
            asked = getattr(config, key)
            budgets.append(cells if asked == "auto" else asked)
            if budgets[-1] > cells:
                problems.append(f"masking.{key}: {asked} are too many on a grid of {grid}. Allowed: 1 to {cells}.")
        if problems:
            raise ConfigError(problems)
        self.budgets = (TokenBudget(budgets[0], 1, budgets[1]),)

    def __call__(self, random: SampleRandom) -> tuple[MaskView, ...]:
        """One view: both sides whole, or a random subset where a budget is smaller."""
        (budget,) = self.budgets
        visible = self._on_grid(self._visible(random))
        target = _some(random, ~visible, budget.target)
        return (MaskView.of(_some(random, visible, budget.context), target[:, None]),)

    def unlimited(self, random: SampleRandom) -> tuple[Bool[np.ndarray, "batch tokens"], ...]:
        """See `jepa_core.masking.inspect.Unlimited`."""
        return (self._on_grid(self._visible(random)),)

    @abstractmethod
    def _num_visible(self, config: Config) -> int:
        """Cells on the context's side; raises ConfigError where a side would be empty."""

    @abstractmethod
    def _visible(self, random: SampleRandom) -> Bool[np.ndarray, "batch #steps #places"]:
        """What is on the context's side; an axis of length 1 stands for all of its steps or places."""

    def _on_grid(self, visible: Bool[np.ndarray, "batch #steps #places"]) -> Bool[np.ndarray, "batch tokens"]:
        others = [length for axis, length in enumerate(self.grid.shape) if axis != self._time]
        whole = np.broadcast_to(visible, (len(visible), self._steps, self._places))
        cells = np.moveaxis(whole.reshape(len(visible), self._steps, *others), 1, 1 + self._time)
        return cells.reshape(len(visible), -1)

    def _num_steps(self, key: str, share: float) -> int:
        """The share of the time steps in whole steps, of which one at least stays out."""
        steps = max(1, round(share * self._steps))
        if steps >= self._steps:
            raise ConfigError(
                f"masking.{key}: {share:g} takes all time steps of a grid of {self.grid}. "
                f"Allowed: {_up_to((self._steps - 1) / self._steps)}."
            )
        return steps


class Tube(_Split[TubeConfig]):
    """`tube`: a random set of places is hidden through all time."""

    def _num_visible(self, config: TubeConfig) -> int:
        # As in the public code, the share that stays is rounded down; (1 - .9) * 10 is a little less than 1.
        self._kept = min(math.floor(self._places * (1 - config.ratio) + 1e-9), self._places - 1)
        if not self._kept:
            raise ConfigError(
                f"masking.ratio: {config.ratio:g} leaves no context on a grid of {self.grid}, which has {self._places} "
                f"places at every time step. Allowed: {_up_to((self._places - 1) / self._places)}."
            )
        return self._kept * self._steps

    def _visible(self, random: SampleRandom) -> Bool[np.ndarray, "batch 1 places"]:
        return _drawn(random, self._places, self._kept)[:, None]


class Causal(_Split[CausalConfig]):
    """`causal`: the first time steps are the context, the later ones are predicted."""

    def _num_visible(self, config: CausalConfig) -> int:
        self._seen = self._num_steps("context_share", config.context_share)
        return self._seen * self._places

    def _visible(self, random: SampleRandom) -> Bool[np.ndarray, "batch steps 1"]:
        first = np.arange(self._steps) < self._seen
        return np.tile(first[:, None], (len(random), 1, 1))


class FrameDrop(_Split[FrameDropConfig]):
    """`frame_drop`: a random set of time steps is hidden."""

    def _num_visible(self, config: FrameDropConfig) -> int:
        self._seen = self._steps - self._num_steps("ratio", config.ratio)
        return self._seen * self._places

    def _visible(self, random: SampleRandom) -> Bool[np.ndarray, "batch steps 1"]:
        return _drawn(random, self._steps, self._seen)[:, :, None]


def _drawn(random: SampleRandom, cells: int, count: int) -> Bool[np.ndarray, "batch cells"]:
    """`count` of the cells, each subset equally likely."""
    members = np.zeros((len(random), cells), dtype=np.bool_)
    np.put_along_axis(members, random_subset(random, ~members, count), values=True, axis=1)
    return members


def _some(
    random: SampleRandom, allowed: Bool[np.ndarray, "batch tokens"], count: int
) -> Int64[np.ndarray, "batch {count}"]:
    whole = all_of(allowed)
    return whole if whole.shape[1] == count else random_subset(random, allowed, count)


def _up_to(share: float) -> str:
    """The feasible range of a share, for messages: rounded down, so that its end is allowed."""
    return f"above 0, up to {math.floor(1000 * share) / 1000:g}" if share > 0 else "none; use a larger grid"
