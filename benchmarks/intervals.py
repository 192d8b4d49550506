"""How often the intervals of an ablation study miss the truth, beside other ways to make them.

    OMP_NUM_THREADS=1 python benchmarks/intervals.py

Two arms answer the same items with the same seeds. An answer is right where a normal score is positive: a level of the
arm, plus an effect of the item on that arm, plus an effect of the seed on that arm, plus noise of its own. So the true
difference is known without simulation. A second table is about whole studies of one reference and seven arms in which
nothing differs: the share of them that claims anything.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.special import stdtrit

from jepa_core.ablation.intervals import Contrast, contrast

LEVELS = (0.78, 0.75)
"""True accuracies of the two arms."""
ARMS = 7
"""Beside the reference, in a whole study."""
ERRORS = (0.05, 0.05 / ARMS)
"""Of one comparison alone, and of each of seven that are to hold at once."""
RESAMPLES, BOOTSTRAPPED = 200, 400
"""Of a bootstrap, and the studies that it is tried on: it takes longer than all the rest."""


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


def bootstrapped(
    left: Bool[np.ndarray, "seeds items"], right: Bool[np.ndarray, "seeds items"], random: np.random.Generator
) -> Float[np.ndarray, "resamples"]:
    """Differences in resamples of seeds and of items."""
    differences = left.astype(float) - right
    seeds, items = differences.shape
    drawn: Int[np.ndarray, "resamples seeds"] = random.multinomial(seeds, [1 / seeds] * seeds, RESAMPLES)
    asked: Int[np.ndarray, "resamples items"] = random.multinomial(items, [1 / items] * items, RESAMPLES)
    return np.einsum("rs,rs->r", drawn, asked @ differences.T) / (seeds * items)


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
            low, high = np.quantile(bootstrapped(left, right, random), [ERRORS[0] / 2, 1 - ERRORS[0] / 2])
            missed.setdefault("percentile bootstrap", []).append(not low <= truth <= high)
    shares = {name: float(np.mean(each)) / ERRORS[name.endswith("*")] for name, each in missed.items()}
    return shares, list(widths)


def claims(seeds: int, spread: Mapping[int, float], studies: int, random: np.random.Generator) -> dict[str, float]:
    """Share of studies without any difference that claim one, with variances per comparison and pooled over arms.

    Only seeds matter here, as with very many test items; `spread` is the standard deviation over seeds of single arms
    (0 is the reference), 1 for the others.
    """
    scale = np.array([spread.get(arm, 1.0) for arm in range(ARMS + 1)])[:, None]
    means = random.normal(0, 1, (studies, ARMS + 1, seeds)) * scale
    differences = means[:, 1:] - means[:, :1]
    own = differences.var(2, ddof=1)
    residuals = means - means.mean(1, keepdims=True) - means.mean(2, keepdims=True) + means.mean((1, 2), keepdims=True)
    pooled = 2 * (residuals**2).sum((1, 2)) / (ARMS * (seeds - 1))
    sizes, error = np.abs(differences.mean(2)), 0.05 / ARMS / 2
    return {
        "here": float((sizes > -stdtrit(seeds - 1, error) * np.sqrt(own / seeds)).any(1).mean()),
        "pooled over arms": float(
            (sizes > -stdtrit(ARMS * (seeds - 1), error) * np.sqrt(pooled[:, None] / seeds)).any(1).mean()
        ),
    }


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--studies", type=int, default=2000, help="simulated studies per row of the first table")
    studies: int = parser.parse_args().studies
    random = np.random.default_rng(0)
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
    print(f"\nShare of studies of {ARMS} arms beside a reference that claim a difference where there is none\n")
    print("| seeds | spread over seeds | here | pooled over arms |\n|---|---|---|---|")
    spreads: Mapping[str, Mapping[int, float]] = {
        "equal": {},
        "one arm 3 times": {ARMS: 3.0},
        "one arm 10 times": {ARMS: 10.0},
        "the reference 3 times": {0: 3.0},
    }
    for seeds, (named, spread) in itertools.product((3, 5), spreads.items()):
        shares = claims(seeds, spread, 100 * studies, random)
        print(f"| {seeds} | {named} | {' | '.join(f'{share:.3f}' for share in shares.values())} |")


if __name__ == "__main__":
    main()
