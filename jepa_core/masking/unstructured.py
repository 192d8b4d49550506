"""Unstructured masking: every token alike, whatever its neighbours."""

from __future__ import annotations

import numpy as np

from jepa_core.builtin import RandomMaskingConfig
from jepa_core.errors import ConfigError
from jepa_core.masking.budget import random_partition
from jepa_core.masking.random import SampleRandom
from jepa_core.masking.views import MaskView
from jepa_core.types import TokenBudget, TokenGrid


class RandomMasking:
    """`random`: a share of the grid is hidden, in disjoint groups of equal length; all the rest is context."""

    def __init__(self, config: RandomMaskingConfig, grid: TokenGrid) -> None:
        """Decide the token budget; raises ConfigError where a group or the context would be empty."""
        groups = config.num_targets
        most = (grid.num_tokens - 1) // groups  # tokens per group that leave one for the context
        if not most:
            raise ConfigError(
                f"masking.num_targets: {groups} groups and a context do not fit into {grid.num_tokens} tokens, "
                f"the grid of {grid}. Allowed: 1 to {grid.num_tokens - 1}."
            )
        per_group = max(1, round(config.ratio * grid.num_tokens / groups))
        if per_group > most:
            raise ConfigError(
                f"masking.ratio: {config.ratio:g} leaves no context on a grid of {grid}. "
                f"Allowed: above 0, up to {most * groups / grid.num_tokens:.3g}."
            )
        self.grid = grid
        self.budgets = (TokenBudget(grid.num_tokens - groups * per_group, groups, per_group),)

    def __call__(self, random: SampleRandom) -> tuple[MaskView, ...]:
        """One view: the tokens in a random order, cut into context and groups."""
        (budget,) = self.budgets
        sizes = [budget.context, *[budget.target] * budget.num_targets]
        context, *targets = random_partition(random, self.grid.num_tokens, sizes)
        return (MaskView.of(context, np.stack(targets, 1)),)
