"""Checks of masking strategies that count: in which share of many samples each cell is context and target."""

from __future__ import annotations

from typing import Literal

import numpy as np

from jepa_core.masking.inspect import directed_axes
from jepa_core.testing.checks import CheckFailed
from jepa_core.testing.masking_case import SAMPLES, MaskingCase
from jepa_core.testing.rates import lopsided_axis, never
from jepa_core.testing.words import beginning


def check_every_cell_can_be_context(case: MaskingCase) -> None:
    """Every cell is context in some sample, or else it is predicted in nine of ten.

    To mend: a place that is drawn as `integers(length - extent)` never reaches the last row: its bound is exclusive, so
    add 1. A cell that no layout can show, such as the centre under one large block, must be among the targets; along an
    axis that the strategy calls `directed` (`jepa_core.masking.inspect`) it is enough that one cell of each line is
    context.
    """
    _require_reach(case, "context", "predicted")


def check_every_cell_can_be_target(case: MaskingCase) -> None:
    """Every cell is predicted in some sample, or else it is context in nine of ten.

    To mend: let target blocks reach the last place along every axis (an exclusive bound needs 1 more), and be at any
    place: a token that is never predicted is learned from its neighbours alone.
    """
    _require_reach(case, "target", "context")


def check_no_end_favoured(case: MaskingCase) -> None:
    """Both ends of an axis are context, and predicted, equally often, and equal lengths cost no place more than others.

    To mend: cut to the budget by a random subset (`jepa_core.masking.budget.random_subset`), never by the first ones
    of sorted indices, which are the first rows. A strategy that means to treat the ends unlike has an attribute
    `directed` with the names of such axes (`jepa_core.masking.inspect`).
    """
    for served in case.sound:
        for number, view in enumerate(served.statistics.views):
            if found := lopsided_axis(view, served.grid, directed_axes(served.strategy), SAMPLES):
                raise CheckFailed(f"on {served.grid}, view {number}: expected equal shares, found {found}")


def _require_reach(case: MaskingCase, side: Literal["context", "target"], instead: str) -> None:
    for served in case.sound:
        directed = [served.grid.axes.index(axis) for axis in directed_axes(served.strategy)]
        views = served.statistics.views
        context = np.max([view.context_rate for view in views], 0)
        target = np.max([view.target_rate for view in views], 0)
        rate, other = (context, target) if side == "context" else (target, context)
        unreached = never(rate, other, directed, SAMPLES)
        if unreached.any():
            places = [tuple(map(int, place)) for place in np.argwhere(unreached)]
            raise CheckFailed(
                f"on {served.grid}: expected every cell as {side}, or {instead} in nine of ten samples, found "
                f"{len(places)} of {served.grid.num_tokens} as neither in {SAMPLES}: {beginning(places)}"
            )
