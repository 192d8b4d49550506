"""From training to the table: what must not be found is not found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from null_studies import ARMS, MORE_ARMS, QUICK, SEEDS, claims, dealt, runs
from small_study import small_study
from toy import toy_registered

from jepa_core.ablation.analysis import Analysis, analyse
from jepa_core.ablation.folder import StudyFolder
from jepa_core.ablation.results import StudyResults, read_results
from jepa_core.ablation.running import work
from jepa_core.ablation.tables import write_tables

pytestmark = pytest.mark.usefixtures("toy")

CHOICES = {"plain": (), "most": ("masking.ratio=0.8",), "twin": ()}
SWAP = {"most": "twin", "twin": "most"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    """Real runs that differ in their seed alone."""
    with toy_registered():
        return runs(tmp_path_factory.mktemp("null") / "study", range(12))


def written(folder: Path, choices: dict[str, tuple[str, ...]]) -> tuple[Analysis, dict[str, str]]:
    """Run a study, and its tables but for Parquet and for what depends on the clock."""
    study = small_study(choices, *QUICK, seeds=(0, 1))
    place = StudyFolder(folder)
    place.open(study, resume=False, threads=1)
    assert work(study, place)
    analysis = analyse(read_results(study, folder))
    files = {path.name: path for path in write_tables(analysis, folder)}
    kept = ("results.csv", "comparisons.csv", "table.md", "table.tex")
    return analysis, {name: files[name].read_text() for name in kept}


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> tuple[Analysis, dict[str, str]]:
    with toy_registered():
        return written(tmp_path_factory.mktemp("there") / "study", CHOICES)


def swapped(text: str) -> str:
    return text.replace("most", "\0").replace("twin", "most").replace("\0", "twin")


@pytest.mark.parametrize("arms", [ARMS, MORE_ARMS])
def test_studies_of_real_runs_in_which_nothing_differs_rarely_claim_anything(
    trained: StudyResults, arms: tuple[str, ...]
) -> None:
    random = np.random.default_rng(0)
    hands = [random.permutation(12)[: len(arms) * len(SEEDS)].tolist() for _ in range(40)]
    found = [analyse(dealt(trained, hand, arms)) for hand in hands]
    values = {row.difference.value for each in found for row in each.rows if row.difference}
    assert len(values) > 20  # the runs do differ, by chance
    # Dealt of the same 12 runs, these are no independent trials: runs that lie far apart by luck meet in many of them.
    # An error of 5 % says no more than that 2 of the 40 are expected to claim something, whatever they share; nine or
    # more have a chance of at most 2 in 9 (Markov). Independent studies are counted by tests/null_studies.py.
    assert sum(claims(each) > 0 for each in found) <= 8


def test_two_identical_arms_report_no_difference_from_training_to_table(
    there: tuple[Analysis, dict[str, str]],
) -> None:
    analysis, tables = there
    twins = [row for row in analysis.rows if row.arm == "twin"]
    assert len(twins) == 2
    for row in twins:
        assert row.difference is not None
        assert (row.difference.value, row.difference.p, row.difference.same_answers) == (0.0, 1.0, True)
    (most, *_) = [row.difference for row in analysis.rows if row.arm == "most"]
    assert most is not None
    assert not most.same_answers  # where something differs it is seen, after so few steps too
    lines = [line for line in tables["table.md"].splitlines() if line.startswith("| twin | 2 |")]
    assert len(lines) == 2
    assert all("| +0.0 (" in line for line in lines)


def test_swapping_names_in_a_study_swaps_rows_and_nothing_else(
    there: tuple[Analysis, dict[str, str]], tmp_path: Path
) -> None:
    _, before = there
    _, after = written(tmp_path / "study", {SWAP.get(arm, arm): values for arm, values in CHOICES.items()})
    assert {name: swapped(text) for name, text in after.items()} == before
