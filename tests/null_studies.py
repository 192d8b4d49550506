"""Studies whose arms differ in nothing but chance, made of real runs on the toy modality.

python tests/null_studies.py [--studies 40] [--first 0] trains all the runs of so many studies, each of its own, and
prints how many of them claim a difference; then it deals the same runs anew, again and again, for a closer estimate. A
test does the same with few runs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from answered import study_of
from small_study import small_study

from jepa_core.ablation.analysis import Analysis, analyse
from jepa_core.ablation.folder import StudyFolder
from jepa_core.ablation.results import StudyResults, read_results
from jepa_core.ablation.running import work

SEEDS = (0, 1, 2)
ARMS = ("plain", "again", "once more")
MORE_ARMS = (*ARMS, "and again")
"""So many comparisons with the first that they lend each other degrees of freedom."""
DEALT = 2000
"""Studies that the program makes of the runs that it has."""
QUICK = (
    "optim.lr={value: 0.01, warmup: 0}",
    "ema.momentum.value=0.5",
    "train.steps=4",
    "train.log_every=4",
    "checkpoint.every=4",
    "collapse={every: 4, grace: 0}",
    "encoder.depth=1",
    "modality.train_samples=64",
    "modality.test_samples=200",
    "probes=[{name: knn, k: 5}]",
)


def runs(folder: Path, seeds: Sequence[int]) -> StudyResults:
    """Runs that differ in their seed alone, as the one arm of a study."""
    study = small_study({"plain": ()}, *QUICK, seeds=tuple(seeds), baselines=False, headings=("direction",))
    place = StudyFolder(folder)
    place.open(study, resume=False, threads=1)
    assert work(study, place)
    return read_results(study, folder)


def dealt(results: StudyResults, hand: Sequence[int], arms: Sequence[str] = ARMS) -> StudyResults:
    """A study of `arms` and `SEEDS` in which every cell is one of the runs; `hand` names them, arm by arm."""
    places = [(arm, seed) for arm in arms for seed in SEEDS]
    by_run = {each.seed: each for each in results.measurements}
    measurements = tuple(
        replace(by_run[run], arm=arm, seed=seed) for (arm, seed), run in zip(places, hand, strict=True)
    )
    return StudyResults(study_of(arms, SEEDS), measurements, (), {})


def claims(analysis: Analysis) -> int:
    """Differences that are said to stand."""
    return sum(row.difference is not None and row.difference.stands for row in analysis.rows)


def main() -> None:
    """Train, analyse, and print."""
    from toy import toy_registered

    parser = argparse.ArgumentParser()
    parser.add_argument("--studies", type=int, default=40)
    parser.add_argument("--first", type=int, default=0, help="number of the first study: others have other seeds")
    given = parser.parse_args()
    studies, first = int(given.studies), int(given.first)
    torch.set_num_threads(1)
    cells = len(ARMS) * len(SEEDS)
    with toy_registered(), tempfile.TemporaryDirectory() as folder:
        hands = [range(number * cells, (number + 1) * cells) for number in range(first, first + studies)]
        trained = runs(Path(folder) / "study", range(hands[0].start, hands[-1].stop))
        describe(
            f"{studies} studies of {len(ARMS)} arms and {len(SEEDS)} seeds", [dealt(trained, hand) for hand in hands]
        )
        random, pack = np.random.default_rng(0), [each.seed for each in trained.measurements]
        for arms in (ARMS, MORE_ARMS):
            anew = [random.permutation(pack)[: len(arms) * len(SEEDS)].tolist() for _ in range(DEALT)]
            what = f"{DEALT:,} studies of {len(arms)} arms dealt of their {len(pack)} runs"
            describe(what, [dealt(trained, hand, arms) for hand in anew])


def describe(what: str, studies: Sequence[StudyResults]) -> None:
    """Print what was found where there is nothing to find."""
    found = [analyse(study) for study in studies]
    differences = [row.difference for each in found for row in each.rows if row.difference is not None]
    wrong = sum(claims(each) > 0 for each in found)
    alone = sum(not each.low <= 0 <= each.high for each in differences)
    largest = 100 * max(abs(each.value) for each in differences)
    sys.stdout.write(
        f"{what}, in which nothing differs: {wrong} claim a difference. Of {len(differences):,} intervals that are not "
        f"adjusted, {alone} do not hold zero. Largest difference: {largest:.1f} points.\n"
    )


if __name__ == "__main__":
    main()
