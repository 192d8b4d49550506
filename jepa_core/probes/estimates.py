"""Shares and differences of shares, each with a 95 % confidence interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jaxtyping import Bool
from torch import Tensor

Z = 1.959964
"""Of a two-sided 95 % interval."""


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % confidence interval."""

    value: float
    low: float
    high: float


def wilson(hits: int, total: int) -> Estimate:
    """A share and its 95 % interval (Wilson, 1927): never outside [0, 1], and of sensible width at 0 and 1."""
    share = hits / total
    centre = (share + Z**2 / (2 * total)) / (1 + Z**2 / total)
    half = Z / (1 + Z**2 / total) * math.sqrt(share * (1 - share) / total + Z**2 / (4 * total**2))
    # At 0 and 1 the bound is the share itself, which rounding may miss.
    return Estimate(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))


def paired_difference(left: Bool[Tensor, "test"], right: Bool[Tensor, "test"]) -> Estimate:
    """Accuracy of `left` minus that of `right` on the same samples, with its 95 % interval.

    The adjusted Wald interval for paired shares (Bonett and Price, 2012, equation 5): only samples on which the two
    disagree count, so it is much narrower than two separate intervals suggest.
    """
    total = len(left)
    wins, losses = int((left & ~right).sum()), int((~left & right).sum())
    up, down = (wins + 1) / (total + 2), (losses + 1) / (total + 2)
    half = Z * math.sqrt((up + down - (up - down) ** 2) / (total + 2))
    return Estimate((wins - losses) / total, max(-1.0, up - down - half), min(1.0, up - down + half))
