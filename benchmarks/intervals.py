"""How often the intervals of an ablation study miss the truth, beside other ways to make them.

    OMP_NUM_THREADS=1 python benchmarks/intervals.py

Two arms answer the same items with the same seeds. An answer is right where a normal score is positive: a level of the
arm, plus an effect of the item on that arm, plus an effect of the seed on that arm, plus noise of its own. So the true
difference is known without simulation. The other tables are about whole studies of a reference and some arms in which
nothing differs: how often they claim anything, and how large a difference has to be to be found. Only seeds matter in
them, as with very many test items.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import digamma, stdtrit, zeta

from jepa_core.ablation.intervals import Contrast, bootstrap, contrast, moderated

LEVELS = (0.78, 0.75)
"""True accuracies of the two arms."""
ARMS = 7
"""Beside the reference: so many comparisons hold at once in the first table."""
ERRORS = (0.05, 0.05 / ARMS)
"""Of one comparison alone, and of each of seven that are to hold at once."""
BOOTSTRAPPED = 400
"""Studies that the bootstrap is tried on: it takes longer than all the rest."""


@dataclass(frozen=True)
class Setting:
    """What is simulated."""

    seeds: int
    items: int
    seed_effect: float
    """Standard deviation of an arm's accuracy over seeds."""
    item_effect: float
    """Of an item's score on one arm, the noise of the score having 1."""

    def answers(self, random: np.random.Generator, levels: tuple[float, ...]) -> Bool[np.ndarray, "arms seeds items"]:
        """Who answers what rightly, for arms of these true accuracies."""
        arms, normal = len(levels), NormalDist()
        # d(accuracy) / d(score) at the usual level turns a spread of accuracies into one of scores.
        scale = (1 + self.item_effect**2) ** 0.5
        seed_scores = self.seed_effect * scale / normal.pdf(normal.inv_cdf(levels[0]))
        total = (1 + self.item_effect**2 + seed_scores**2) ** 0.5
        level = np.array([normal.inv_cdf(share) * total for share in levels])[:, None, None]
        by_seed = random.normal(0, seed_scores, (arms, self.seeds, 1)) if seed_scores else 0
        by_item = random.normal(0, 1, (arms, 1, self.items)) * self.item_effect
        return level + by_seed + by_item + random.normal(0, 1, (arms, self.seeds, self.items)) > 0


def halves(found: Contrast, error: float) -> dict[str, float]:
    """Half widths by formula."""
    over_seeds, over_items, rest = found.seed_variance, found.item_variance, found.items - 1
    together = over_seeds + over_items
    freedom = together**2 / (over_seeds**2 / (found.seeds - 1) + over_items**2 / rest) if together else 1.0
    return {
        "here": found.half_width(error),
        "Satterthwaite": -stdtrit(freedom, error / 2) * together**0.5,
        "t over seeds": -stdtrit(found.seeds - 1, error / 2) * over_seeds**0.5,
    }


def misses(setting: Setting, studies: int, random: np.random.Generator) -> tuple[dict[str, float], list[float]]:
    """How often intervals miss the true difference, by method, in multiples of what they should.

    Also the mean half width here for both of `ERRORS`, in points.
    """
    truth, missed, widths = LEVELS[0] - LEVELS[1], dict[str, list[bool]](), np.zeros(len(ERRORS))
    for study in range(studies):
        left, right = setting.answers(random, LEVELS)
        found = contrast(left, right)
        for place, error in enumerate(ERRORS):
            for name, half in halves(found, error).items():
                missed.setdefault(f"{name}{'*' * place}", []).append(abs(found.value - truth) > half)
            widths[place] += 100 * found.half_width(error) / studies
        if study < BOOTSTRAPPED:
            low, high = bootstrap(left, right, ERRORS[0])
            missed.setdefault("percentile bootstrap", []).append(not low <= truth <= high)
    shares = {name: float(np.mean(each)) / ERRORS[name.endswith("*")] for name, each in missed.items()}
    return shares, list(widths)


@dataclass(frozen=True)
class Whole:
    """Studies of a reference and arms, in which nothing differs."""

    seeds: int
    arms: int
    """Beside the reference."""
    bases: int = 1
    """With as many arms each; all comparisons are corrected together."""

    @property
    def error(self) -> float:
        """Of one comparison, for all to hold at once."""
        return ERRORS[0] / self.arms / self.bases

    def means(self, spread: str, studies: int, random: np.random.Generator) -> Float[np.ndarray, "bases arms+1 seeds"]:
        """Mean accuracies by seed, the reference's first; standard deviations of single arms as in `SPREADS`."""
        scales = np.ones((studies * self.bases, self.arms + 1, 1))
        if spread == MIXED:  # 1 arm of 100 has 5 times the usual standard deviation, 1 a fifth of it
            scales = np.exp(random.normal(0, 0.7, scales.shape))
        elif spread == HALVED:
            scales[:, : self.arms // 2 + 1] = 0.05
        else:
            for arm, scale in SPREADS[spread].items():
                scales[:, arm] = scale
        return random.normal(0, 1, (studies * self.bases, self.arms + 1, self.seeds)) * scales


SPREADS: Mapping[str, Mapping[int, float]] = {
    "equal": {},
    "one arm 3 times": {-1: 3.0},
    "one arm 10 times": {-1: 10.0},
    "one arm 100 times": {-1: 100.0},
    "two arms 3 times": {-1: 3.0, -2: 3.0},
    "two arms 10 times": {-1: 10.0, -2: 10.0},
    "the reference 3 times": {0: 3.0},
    "the reference 10 times": {0: 10.0},
}
"""Standard deviations over seeds of single arms (0 is the reference); 1 for the others."""
MIXED, HALVED = "all unlike", "half of the arms and the reference a twentieth"


def smyths(own: Float[np.ndarray, "bases arms"], freedom: int) -> tuple[Float[np.ndarray, "bases arms"], ...]:
    """Moderated variances and their degrees of freedom, both estimated as by Smyth (2004), section 6.2."""
    half = freedom / 2
    logs = np.log(own) - digamma(half) + np.log(half)
    excess = np.maximum(logs.var(1, ddof=1, keepdims=True) - zeta(2, half), 1e-6)
    prior = 0.5 + 1 / excess
    for _ in range(20):  # Newton's method for the inverse of the trigamma function, zeta(2, x)
        prior += zeta(2, prior) * (1 - zeta(2, prior) / excess) / (-2 * zeta(3, prior))
    typical = np.exp(logs.mean(1, keepdims=True) + digamma(prior) - np.log(prior))
    return (2 * prior * typical + freedom * own) / (2 * prior + freedom), freedom + 2 * prior + 0 * own


def here(means: Float[np.ndarray, "bases arms+1 seeds"], *errors: float) -> list[Float[np.ndarray, "bases arms"]]:
    """Half widths as studies have them, for each of some errors."""
    seeds = means.shape[2]
    own = (means[:, 1:] - means[:, :1]).var(2, ddof=1) / seeds
    tables = [moderated([Contrast(0, seeds, 10**6, 1, one, 0) for one in table]) for table in own.tolist()]
    return [np.array([[each.half_width(error) for each in table] for table in tables]) for error in errors]


def others(means: Float[np.ndarray, "bases arms+1 seeds"], error: float) -> dict[str, Float[np.ndarray, "bases arms"]]:
    """Half widths with each comparison's own variance, with Smyth's, and with one pooled over arms."""
    arms, seeds = means.shape[1] - 1, means.shape[2]
    own = (means[:, 1:] - means[:, :1]).var(2, ddof=1)
    residuals = means - means.mean(1, keepdims=True) - means.mean(2, keepdims=True) + means.mean((1, 2), keepdims=True)
    pooled = 2 * (residuals**2).sum((1, 2))[:, None] / (arms * (seeds - 1))
    variance, freedom = smyths(own, seeds - 1)
    return {
        "own": -stdtrit(seeds - 1, error / 2) * np.sqrt(own / seeds),
        "Smyth": -stdtrit(freedom, error / 2) * np.sqrt(variance / seeds),
        "pooled": -stdtrit(arms * (seeds - 1), error / 2) * np.sqrt(pooled / seeds) + 0 * own,
    }


def claims(whole: Whole, spread: str, studies: int, random: np.random.Generator) -> dict[str, float]:
    """Share of studies that claim a difference, in multiples of what is promised.

    "worst" is the arm whose interval, made here for one comparison, misses most often.
    """
    means = whole.means(spread, studies, random)
    sizes = np.abs((means[:, 1:] - means[:, :1]).mean(2))
    together, alone = here(means, whole.error, ERRORS[0])
    halves = {"here": together} | others(means, whole.error)
    missed = {name: (sizes > half).reshape(studies, -1).any(1).mean() for name, half in halves.items()}
    missed["worst"] = (sizes > alone).mean(0).max()
    return {name: float(share) / ERRORS[0] for name, share in missed.items()}


def resolved(whole: Whole, spread: str, studies: int, random: np.random.Generator) -> dict[str, float]:
    """The difference of an ordinary arm that is found 80 % of the time, in standard deviations of that difference."""
    means = whole.means(spread, studies, random)
    values = (means[:, 1] - means[:, 0]).mean(1)
    halves = {"here": here(means, whole.error)[0]} | others(means, whole.error)
    return {name: float(np.quantile(half[:, 0] - values, 0.8)) / 2**0.5 for name, half in halves.items()}


def main() -> None:
    """Print the tables that are asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--studies", type=int, default=2000, help="simulated studies per row; 5 times as many for errors"
    )
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    given = parser.parse_args()
    for name in given.tables:
        TABLES[name](given.studies, np.random.default_rng(0))


def comparisons(studies: int, random: np.random.Generator) -> None:
    """Print how often intervals of one comparison miss."""
    print(f"Misses in multiples of the nominal {ERRORS[0]}, or (*) of {ERRORS[1]:.4f}; half widths in points\n")
    rows = itertools.product((3, 5, 10), (100, 1000), (0.0, 0.01, 0.03), (0.0, 0.5))
    for number, setting in enumerate(Setting(*row) for row in rows):
        found, widths = misses(setting, studies, random)
        if number == 0:
            names = ("seeds", "items", "seed sd, points", "item effect", *found, "half width", "half width*")
            print(f"| {' | '.join(names)} |\n{'|---' * len(names)}|")
        given = (setting.seeds, setting.items, f"{100 * setting.seed_effect:g}", setting.item_effect)
        cells = (*given, *(f"{share:.2f}" for share in found.values()), *(f"{width:.1f}" for width in widths))
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


def errors(studies: int, random: np.random.Generator) -> None:
    """Print how often whole studies claim something."""
    print(f"\nStudies that claim a difference where there is none, in multiples of the nominal {ERRORS[0]}\n")
    grid = [Whole(seeds, arms) for seeds in (3, 5) for arms in (3, 5, 8)]
    rows = itertools.product(
        [Whole(2, 3), Whole(2, 8), *grid, Whole(3, 3, bases=3), Whole(3, 8, bases=3)], [*SPREADS, MIXED, HALVED]
    )
    for number, (whole, spread) in enumerate(rows):
        found = claims(whole, spread, 5 * studies, random)
        if number == 0:
            print(f"| seeds | bases | arms | spread | {' | '.join(found)} |\n{'|---' * (4 + len(found))}|")
        shares = " | ".join(f"{share:.2f}" for share in found.values())
        print(f"| {whole.seeds} | {whole.bases} | {whole.arms} | {spread} | {shares} |", flush=True)


def power(studies: int, random: np.random.Generator) -> None:
    """Print which differences are found."""
    print("\nDifferences found 80 % of the time, in standard deviations of the per-seed difference\n")
    grid = itertools.product((3, 4, 5, 8), (3, 5, 8), (1, 3), ("equal", "one arm 10 times", "one arm 100 times"))
    for number, (seeds, arms, bases, spread) in enumerate(grid):
        found = resolved(Whole(seeds, arms, bases), spread, studies, random)
        if number == 0:
            print(f"| seeds | bases | arms | spread | {' | '.join(found)} |\n{'|---' * (4 + len(found))}|")
        sizes = " | ".join(f"{size:.2f}" for size in found.values())
        print(f"| {seeds} | {bases} | {arms} | {spread} | {sizes} |", flush=True)


TABLES = {"comparisons": comparisons, "errors": errors, "power": power}


if __name__ == "__main__":
    main()
