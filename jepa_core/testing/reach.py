"""How far a token reaches: which cells of the grid have values of the signal in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from jepa_core.testing.checks import NotApplicable
from jepa_core.testing.modality_case import CLOSE, ModalityCase

APART = 2
"""Cells that are so far apart along an axis are no neighbours: windows may overlap by half a cell on both sides."""


def sharing(case: ModalityCase, cell: int, training: bool) -> list[int]:
    """The cells whose tokens change with the values that the token of one cell reacts to, that one among them.

    Raises NotApplicable where no gradient leads from its token to the signal.
    """
    case.tokens  # noqa: B018 - it raises
    signal = case.noise.clone().requires_grad_(True)
    keep = torch.full((len(signal), 1), cell)
    token = case.tokens_of(signal, training, keep)[0]
    gradient: Tensor | None = None
    if token.requires_grad:
        (gradient,) = torch.autograd.grad(token.square().sum(), signal, allow_unused=True)
    if gradient is None:
        raise NotApplicable("no gradient leads from its tokens to the signal")
    with torch.no_grad():
        other = torch.where(gradient[:1] != 0, 1 - 2 * case.noise[:1], case.noise[:1])
        before, after = (
            case.tokens_of(torch.cat([first, case.noise[1:]]), training)[0] for first in (case.noise[:1], other)
        )
    changed = (after - before).abs().amax(1) > CLOSE * before.abs().max()
    return changed.nonzero()[:, 0].tolist()


def unlaid_axes(grid: Sequence[int], signal: Sequence[int]) -> int:
    """How many axes of the grid cannot be laid out along one of the signal, such as the frequencies of a waveform."""
    long = [length for length in grid if length > 1]
    return max(0, len(long) - sum(length >= min(long, default=1) for length in signal))


def is_far(cell: int, centre: int, reached: Sequence[int], grid: Sequence[int], free: int) -> bool:
    """Whether a cell is no neighbour of the centre along an axis, other than those that may be free.

    An axis is free where all of its cells are reached from the centre: they see the same values of the signal.
    """
    places, middle = np.array(np.unravel_index(reached, grid)), np.array(np.unravel_index(centre, grid))
    steps = np.abs(np.array(np.unravel_index(cell, grid)) - middle)
    whole = [axis for axis, length in enumerate(grid) if length > 1 and len(set(places[axis].tolist())) == length]
    return bool((np.delete(steps, whole[:free]) >= APART).any())
