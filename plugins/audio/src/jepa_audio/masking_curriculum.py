"""`curriculum`: masks of two strategies, mixed by the progress of training (A-JEPA).

From the paper: two stages, random blocks and time-frequency blocks; a coin for which one, whose chance is a function of
the step. Our reading, for there is no public code: the coin is tossed for every sample; and as a batch needs one shape,
both strategies are cut to the smaller of their budgets, by random subsets.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from jepa_audio.masking_configs import CurriculumConfig
from jepa_core.errors import ConfigError
from jepa_core.masking import MaskView, SampleRandom
from jepa_core.masking.inspect import directed_axes
from jepa_core.masking.limited import cut, require_steady
from jepa_core.masking.nested import build_nested
from jepa_core.plugin import MaskingStrategy
from jepa_core.types import TokenBudget, TokenGrid

_EASY, _HARD = range(2)


def chance_of_hard(config: CurriculumConfig, progress: float) -> float:
    """f of the schedule at a share of training, in [0, 1]: how likely a sample gets a mask of the hard strategy."""
    start, squared = config.start, config.start**2
    match config.schedule:
        case "a_jepa":
            return min(1.0, math.sqrt(progress * (1 - squared)) + squared)
        case "competence":
            return math.sqrt(progress * (1 - squared) + squared)
        case "linear":
            return progress * (1 - start) + start


class Curriculum:
    """Both strategies with the same numbers of context tokens, target blocks and tokens in each: the smaller ones."""

    def __init__(self, config: CurriculumConfig, grid: TokenGrid) -> None:
        """Raises ConfigError where a strategy cannot serve the grid, or the two cannot be mixed."""
        self.config, self.grid = config, grid
        strategies = build_nested({"easy": config.easy, "hard": config.hard}, grid)
        self._strategies = tuple(strategies.values())
        self.directed = directed_axes(*self._strategies)
        _require_alike(strategies)
        easy, hard = (strategy.budgets for strategy in self._strategies)
        self.budgets = tuple(_smaller(*pair) for pair in zip(easy, hard, strict=True))

    def __call__(self, random: SampleRandom) -> tuple[MaskView, ...]:
        """As many views as each strategy has."""
        is_hard = random.uniform(1)[:, 0] < chance_of_hard(self.config, random.progress)
        views = [
            (
                np.empty((len(random), budget.context), dtype=np.int64),
                np.empty((len(random), budget.num_targets, budget.target), dtype=np.int64),
            )
            for budget in self.budgets
        ]
        for number, rows in ((_EASY, ~is_hard), (_HARD, is_hard)):
            if not rows.any():
                continue
            streams = random.rows(rows).fork(number)
            for place, (view, budget) in enumerate(zip(self._strategies[number](streams), self.budgets, strict=True)):
                context, targets = views[place]
                short = cut(view, budget, streams, place)
                context[rows], targets[rows] = short.context.numpy(), short.targets.numpy()
        return tuple(MaskView.of(*each) for each in views)


def _require_alike(strategies: Mapping[str, MaskingStrategy]) -> None:
    """Raise ConfigError unless the strategies have as many views, and lengths that do not depend on the batch."""
    require_steady(strategies)
    views = {key: len(strategy.budgets) for key, strategy in strategies.items()}
    if len(set(views.values())) > 1:
        counts = " and ".join(f"masking.{key} has {count}" for key, count in views.items())
        raise ConfigError(f"masking.hard: it must have as many mask views as masking.easy, and {counts}.")


def _smaller(one: TokenBudget, other: TokenBudget) -> TokenBudget:
    return TokenBudget(
        min(one.context, other.context), min(one.num_targets, other.num_targets), min(one.target, other.target)
    )
