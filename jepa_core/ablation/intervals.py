"""Paired differences over seeds and test items, with intervals that hold with three seeds.

Seeds and items are crossed: every seed's networks answer the same items. A difference varies with the seed, which is
chance of training, and with the items, which are a sample of all that could be asked. The variances that a bootstrap
over seeds and one over items estimate have closed forms, so nothing that decides is resampled; a bootstrap over both at
once counts what seed and item share up to three times (Owen, 2007, "The pigeonhole bootstrap"), and is there to be read
beside it. How the two become an interval is where three seeds are treacherous, and where comparisons with one
reference help each other: docs/ablation-statistics.md has reasons, formulas and the measured coverage.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import digamma, stdtrit, zeta

_LEAST_LOG_P = math.log(1e-300)
_HALVINGS = 80  # of that range: the bounds then are one float apart
_FEWEST = 3  # comparisons that tell what is typical: of two, either may be the odd one
_MOST_TYPICAL = 20  # times the median a variance may count in the typical one, lest one arm widen all intervals
_DRAWS, _DRAWS_AT_ONCE = 2000, 100  # of the bootstrap
_STEPS = 20  # of Newton's method; 6 are enough


@dataclass(frozen=True)
class Contrast:
    """The mean of paired differences of accuracies, and how far chance moves it."""

    value: float
    """Mean over seeds and items, in [-1, 1]."""
    seeds: int
    items: int
    disagreements: int
    """Pairs of answers, of seeds x items, of which one is right."""
    seed_variance: float
    """Of `value`, from one set of seeds to another; the share of seed and item together is in it. 0 with one seed,
    which cannot show it."""
    item_variance: float
    """Of `value`, from one set of items to another, beyond that share."""
    borrowed: float = 0.0
    """Degrees of freedom of `seed_variance` beyond seeds - 1, from other comparisons (`moderated`)."""

    def half_width(self, error: float) -> float:
        """Half of the interval that misses the truth in a share `error` of all studies; in (0, 1).

        The square is t(seeds - 1 + borrowed)^2 times the one variance plus t(items - 1)^2 times the other (Banerjee,
        1960): for normal means with separate estimates of variance, the error is at most the nominal one whatever the
        ratio of the variances. Infinite with one seed or one item.
        """
        if min(self.seeds, self.items) < 2:
            return math.inf
        return math.hypot(
            _quantile(self.seeds - 1 + self.borrowed, error) * math.sqrt(self.seed_variance),
            _quantile(self.items - 1, error) * math.sqrt(self.item_variance),
        )

    def interval(self, error: float) -> tuple[float, float]:
        """`value` plus and minus the half width, within [-1, 1]."""
        half = self.half_width(error)
        return max(-1.0, self.value - half), min(1.0, self.value + half)

    def p_value(self) -> float:
        """The largest error for which the interval does not reach zero; 1 for no difference and with one seed."""
        size = abs(self.value)
        if size == 0 or min(self.seeds, self.items) < 2:
            return 1.0
        low, high = _LEAST_LOG_P, 0.0  # the half width falls from infinity to 0 between them
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if self.half_width(math.exp(middle)) < size:
                high = middle
            else:
                low = middle
        return math.exp(high)


def contrast(left: Bool[np.ndarray, "seeds items"], right: Bool[np.ndarray, "seeds items"]) -> Contrast:
    """`left` minus `right`: which answers were right, by seed and item, each pair of rows from the same seed.

    Two items more, one that `left` alone and one that `right` alone answers, count for the variance over items, as in
    the interval for a single pair of networks (Bonett and Price, 2012): a few items on which nothing differs do not
    prove that nothing ever will.
    """
    differences: Int[np.ndarray, "seeds items"] = left.astype(np.int64) - right
    seeds, items = differences.shape
    by_seed, by_item = differences.sum(1), differences.sum(0)  # integers: exact in any order
    total = int(by_seed.sum())
    count, disagreements = seeds * items, int((differences**2).sum())
    if min(seeds, items) < 2:
        return Contrast(total / count, seeds, items, disagreements, 0.0, 0.0)
    over_seeds = (int((by_seed**2).sum()) - total**2 / seeds) / items  # sums of squares, as in a two-way table
    over_items = (int((by_item**2).sum()) - total**2 / items) / seeds
    interaction = max(0.0, disagreements - total**2 / count - over_seeds - over_items) / ((seeds - 1) * (items - 1))
    smoothed = (int((by_item**2).sum()) + 2 * seeds**2 - total**2 / (items + 2)) / seeds**2
    item_variance = smoothed / ((items + 1) * (items + 2)) - interaction / count
    return Contrast(
        value=total / count,
        seeds=seeds,
        items=items,
        disagreements=disagreements,
        seed_variance=max(0.0, over_seeds) / (seeds - 1) / count,
        item_variance=max(0.0, item_variance),
    )


def bootstrap(
    left: Bool[np.ndarray, "seeds items"], right: Bool[np.ndarray, "seeds items"], error: float
) -> tuple[float, float]:
    """The percentile interval of the paired bootstrap: seeds and items drawn with replacement, both at once.

    For readers who expect it; nothing is decided by it, because with three seeds that differ it misses the truth three
    times as often as `error` says (docs/ablation-statistics.md). [-1, 1] with one seed or one item.

    Args:
        left: which answers were right.
        right: those of the other arm, each row of the same seed.
        error: share of the draws outside, half on each side.
    """
    differences = left.astype(np.int64) - right
    seeds, items = differences.shape
    if min(seeds, items) < 2:
        return -1.0, 1.0
    kinds, counts, sign = _kinds(differences)
    random = np.random.RandomState(0)  # its stream is frozen between releases: the same tables bit for bit
    drawn = np.empty(_DRAWS)
    for part in np.split(drawn, _DRAWS // _DRAWS_AT_ONCE):  # of many seeds there are as many kinds as items
        asked = random.multinomial(items, counts / items, len(part))
        trained = random.multinomial(seeds, np.full(seeds, 1 / seeds), len(part))
        part[:] = np.einsum("ds,ds->d", asked @ kinds.T, trained)  # whole numbers, in any order
    drawn = np.sort(drawn) / (sign * seeds * items)
    outside = int(_DRAWS * error / 2)
    low, high = sorted((drawn[outside], drawn[-1 - outside]))
    return float(low), float(high)


def _kinds(
    differences: Int[np.ndarray, "seeds items"],
) -> tuple[Float[np.ndarray, "seeds kinds"], Int[np.ndarray, "kinds"], int]:
    """Items that are alike for all seeds are one kind: which there are, how many of each, and a sign.

    With the sides exchanged, the kinds are the same and the sign is the other one.
    """
    ways = []
    for sign in (1, -1):
        kinds, counts = np.unique(sign * differences, axis=1, return_counts=True)
        ways.append((kinds.ravel().tolist(), counts.tolist(), kinds.astype(float), counts, sign))
    _, _, kinds, counts, sign = min(ways, key=lambda way: way[:2])
    return kinds, counts, sign


def moderated(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """Comparisons with one reference by one metric, each with what the others say of the variance over seeds.

    As in a moderated t-test (Smyth, 2004) a variance is drawn towards the typical one of all, as firmly as the spread
    of their logarithms leaves room for, and has more degrees of freedom for it. Unlike there it is never drawn
    downwards, so that an arm that varies more than others keeps its own, and the loan has a ceiling. Nothing is
    borrowed by fewer than three comparisons, by one seed, or by an arm whose answers are the reference's.
    """
    told = [each for each in contrasts if _tells(each)]
    if len(told) < _FEWEST:
        return list(contrasts)
    logs = [_log_variance(each) for each in told]
    mean, highest = fmean(logs), median(logs) + math.log(_MOST_TYPICAL)
    typical, freedom = math.exp(fmean(min(each, highest) for each in logs)), fmean(each.seeds - 1 for each in told)
    # Sampling alone spreads a logarithm by trigamma(freedom / 2), which is zeta(2, freedom / 2): the rest is arms.
    sampling = fmean(float(zeta(2, (each.seeds - 1) / 2)) for each in told)
    unlike = math.fsum((each - mean) ** 2 for each in logs) / (len(logs) - 1) - sampling
    # Comparisons that share a reference have 4k / (k + 3) times the degrees of freedom of one between them where arms
    # vary alike, 3(k - 1) / (k + 3) beyond its own. Half of these are lent, as arms may not be alike.
    share = 1.5 * (len(told) - 1) / (len(told) + 3)

    def drawn(one: Contrast) -> Contrast:
        own = one.seeds - 1
        borrowed = _prior_freedom(unlike, share * min(own, freedom))
        missing = max(0.0, typical / one.seeds - one.seed_variance)
        return replace(one, seed_variance=one.seed_variance + borrowed / (own + borrowed) * missing, borrowed=borrowed)

    return [drawn(each) if _tells(each) else each for each in contrasts]


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values of a family, adjusted so that the chance of any false claim is bounded (Holm, 1979); in their order."""
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = least
    return adjusted


def _tells(one: Contrast) -> bool:
    """Whether its answers say anything of the variance over seeds."""
    return min(one.seeds, one.items) > 1 and one.disagreements > 0


def _log_variance(one: Contrast) -> float:
    """Logarithm of the variance of the per-seed difference, unbiased where that is chi-squared."""
    half = (one.seeds - 1) / 2
    least = 1 / (one.seeds * one.items**2)  # of counts that are not all equal: one differs, by one item
    return math.log(max(one.seeds * one.seed_variance, least)) - float(digamma(half)) + math.log(half)


def _prior_freedom(unlike: float, most: float) -> float:
    """Degrees of freedom whose log variance spreads by `unlike`, the solution of trigamma(freedom / 2) = unlike.

    At most `most`, also where nothing is unlike.
    """
    if unlike <= zeta(2, most / 2):
        return most
    half = 0.5 + 1 / unlike  # above 0 and on the side from which Newton's method for 1 / trigamma never overshoots
    for _ in range(_STEPS):
        trigamma = float(zeta(2, half))
        half += trigamma * (1 - trigamma / unlike) / (-2 * float(zeta(3, half)))
    return 2 * half


def _quantile(freedom: float, error: float) -> float:
    """Of Student's t, two-sided; the lower tail, because 1 - error / 2 has no room for small errors."""
    return -float(stdtrit(freedom, error / 2))
