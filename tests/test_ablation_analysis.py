from __future__ import annotations

import re
from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
from answered import facts_of, renamed, results_of, study_of

from jepa_core.ablation.analysis import Analysis, Difference, Row, analyse
from jepa_core.ablation.results import CellFacts, Measurement, StudyResults
from jepa_core.collapse import Verdict
from jepa_core.errors import ConfigError, DataError

pytestmark = pytest.mark.usefixtures("toy")

LEVELS = {"plain": 0.6, "good": 0.9, "same": 0.6, "bad": 0.3, "random": 0.5}
ARMS = ("plain", "good", "same", "bad")


def row(analysis: Analysis, arm: str, base: str = "waves", metric: str = "side/linear") -> Row:
    (found,) = [row for row in analysis.rows if (row.base, row.arm, row.metric) == (base, arm, metric)]
    return found


def difference(analysis: Analysis, arm: str, base: str = "waves", metric: str = "side/linear") -> Difference:
    found = row(analysis, arm, base, metric).difference
    assert found is not None
    return found


@pytest.fixture
def results() -> StudyResults:
    return results_of(study_of(ARMS), LEVELS)


@pytest.fixture
def analysis(results: StudyResults) -> Analysis:
    return analyse(results)


def test_rows_stand_by_base_metric_and_arm_in_the_studys_order() -> None:
    study = study_of(("plain", "good"), bases=("tides", "waves"))
    found = analyse(results_of(study, LEVELS, metrics=("side/knn", "direction/linear")))
    assert [(row.base, row.metric, row.arm) for row in found.rows] == [
        (base, metric, arm)
        for base in ("tides", "waves")
        for metric in ("side/knn", "direction/linear")
        for arm in ("plain", "good")
    ]
    assert found.primary == {"tides": "side/knn", "waves": "side/knn"}


def test_an_arm_is_its_mean_and_standard_deviation_over_seeds(results: StudyResults, analysis: Analysis) -> None:
    own = [each.accuracy for each in results.measurements if (each.arm, each.representation) == ("good", "target")]
    found = row(analysis, "good")
    assert found.accuracies == dict(zip((0, 1, 2), own, strict=True))
    assert found.mean == pytest.approx(np.mean(own))
    assert found.std == pytest.approx(np.std(own, ddof=1))


def test_only_differences_that_are_large_beside_chance_stand(analysis: Analysis) -> None:
    assert row(analysis, "plain").difference is None
    assert [difference(analysis, arm).stands for arm in ARMS[1:]] == [True, False, True]
    for arm in ARMS[1:]:
        found = difference(analysis, arm)
        assert found.adjusted_low < found.low < found.value < found.high < found.adjusted_high
        assert found.bootstrap_low < found.value < found.bootstrap_high
        assert found.value == pytest.approx(row(analysis, arm).mean - row(analysis, "plain").mean)


def test_the_finding_names_what_stands_and_nothing_else(analysis: Analysis) -> None:
    good, bad = difference(analysis, "good"), difference(analysis, "bad")
    low, high = 100 * good.adjusted_low, 100 * good.adjusted_high
    assert f"good (+{100 * good.value:.1f} points, +{low:.1f} to +{high:.1f}) is above plain" in analysis.finding
    assert f"bad (−{-100 * bad.value:.1f} points" in analysis.finding
    assert "1 other arm cannot be told from it" in analysis.finding
    assert "same" not in analysis.finding
    assert "hold for all 3 comparisons at once" in analysis.finding


def test_where_all_intervals_hold_zero_no_arm_is_named() -> None:
    finding = analyse(results_of(study_of(("plain", "same", "equal")), LEVELS | {"equal": 0.6})).finding
    assert "no arm can be told from plain by side/linear: all 2 intervals contain zero" in finding
    assert "same" not in finding
    assert "equal" not in finding


def test_two_identical_arms_report_exactly_no_difference(results: StudyResults) -> None:
    copies = {
        each.seed: each for each in results.measurements if (each.arm, each.representation) == ("plain", "target")
    }
    measurements = tuple(
        replace(copies[each.seed], arm="same") if each.arm == "same" else each for each in results.measurements
    )
    found = difference(analyse(replace(results, measurements=measurements)), "same")
    assert (found.value, found.p, found.adjusted_p, found.same_answers) == (0.0, 1.0, 1.0, True)
    assert not found.stands


SWAP = {"good": "same", "same": "good"}


def test_swapping_the_names_of_two_arms_swaps_their_rows_and_nothing_else(results: StudyResults) -> None:
    there, back = analyse(results), analyse(renamed(results, SWAP))
    assert back.rows == tuple(replace(row, arm=SWAP.get(row.arm, row.arm)) for row in there.rows)
    assert back.facts == tuple(replace(each, arm=SWAP.get(each.arm, each.arm)) for each in there.facts)
    assert (back.primary, back.differed) == (there.primary, there.differed)
    words = there.finding.replace("good", "\0").replace("same", "good").replace("\0", "same")
    assert back.finding == words


def test_the_order_of_arms_changes_no_number(results: StudyResults, analysis: Analysis) -> None:
    study = replace(results.study, arms=tuple(reversed(ARMS)))
    turned = analyse(replace(results, study=study))
    assert turned.rows == tuple(reversed(analysis.rows))


def test_the_order_of_cells_and_seeds_changes_no_number(results: StudyResults, analysis: Analysis) -> None:
    config = results.study.config.model_copy(update={"seeds": (2, 0, 1)})
    study = replace(results.study, config=config, cells=tuple(reversed(results.study.cells)))
    turned = StudyResults(
        study,
        measurements=tuple(reversed(results.measurements)),
        facts=tuple(reversed(results.facts)),
        unfinished={},
        baselines=dict(reversed(list(results.baselines.items()))),
    )
    found = analyse(turned)
    assert (found.rows, found.facts, found.finding) == (analysis.rows, analysis.facts, analysis.finding)


def test_another_reference_turns_a_difference_round() -> None:
    results = results_of(study_of(("plain", "good")), LEVELS)
    turned = difference(analyse(replace(results, study=replace(results.study, reference="good"))), "plain")
    found = difference(analyse(results), "good")
    assert (turned.value, turned.low, turned.high, turned.p) == (-found.value, -found.high, -found.low, found.p)


def test_arms_lend_degrees_of_freedom_to_each_other_within_a_base_and_metric_alone() -> None:
    study = study_of(ARMS, bases=("waves", "tides"))
    both = results_of(study, LEVELS, metrics=("side/linear", "side/knn"))

    def kept(*arms: str, base: str = "waves", metric: str = "side/linear") -> Difference:
        measured = (
            each for each in both.measurements if each.arm in arms and (each.base, each.metric) == (base, metric)
        )
        return difference(analyse(replace(both, measurements=tuple(measured))), "good", base, metric)

    together, own = difference(analyse(both), "good"), kept("plain", "good")
    assert (together.low, together.high, together.p) == (kept(*ARMS).low, kept(*ARMS).high, kept(*ARMS).p)
    assert (together.low, together.high) != (own.low, own.high)
    assert together.value == own.value


def test_primary_metrics_of_all_bases_are_one_family_and_others_go_by_name() -> None:
    metrics, arms = ("side/linear", "side/knn"), ("plain", "good", "same")
    one = analyse(results_of(study_of(arms[:2]), LEVELS, metrics=metrics))
    study = study_of(arms, bases=("waves", "tides"), primary={"tides": "side/knn"})
    two = analyse(results_of(study, LEVELS, metrics=metrics))
    family = [("waves", "side/linear"), ("tides", "side/knn")]
    primary = [difference(two, arm, *place) for place in family for arm in arms[1:]]
    assert min(each.adjusted_p for each in primary) == pytest.approx(4 * min(each.p for each in primary))
    other = [difference(two, arm, "waves", "side/knn") for arm in arms[1:]]
    assert min(each.adjusted_p for each in other) == pytest.approx(2 * min(each.p for each in other))
    alone = difference(one, "good")
    assert (alone.adjusted_low, alone.adjusted_high, alone.adjusted_p) == (alone.low, alone.high, alone.p)
    assert "all 4 comparisons" in two.finding


def test_a_wider_level_widens_every_interval(results: StudyResults, analysis: Analysis) -> None:
    config = results.study.config.model_copy(update={"confidence": 0.8})
    narrow = difference(analyse(replace(results, study=replace(results.study, config=config))), "same")
    wide = difference(analysis, "same")
    assert wide.low < narrow.low < narrow.high < wide.high
    assert wide.p == narrow.p


def test_one_seed_shows_nothing_however_large_a_difference_is() -> None:
    found = analyse(results_of(study_of(ARMS, seeds=(4,)), LEVELS))
    assert all(row.std is None for row in found.rows)
    assert [difference(found, arm).stands for arm in ARMS[1:]] == [False] * 3
    assert difference(found, "good").value > 0.2
    assert "one seed per arm" in found.finding
    assert "above plain" not in found.finding


def without(results: StudyResults, *cells: str) -> StudyResults:
    """The same with cells that failed."""

    def kept(each: Measurement | CellFacts) -> bool:
        return f"{each.base}/{each.arm}/seed_{each.seed}" not in cells

    return replace(
        results,
        measurements=tuple(filter(kept, results.measurements)),
        facts=tuple(filter(kept, results.facts)),
        unfinished=dict.fromkeys(cells, "failed"),
    )


def test_arms_are_compared_on_the_seeds_that_both_have(results: StudyResults) -> None:
    found = analyse(without(results, "waves/good/seed_1"))
    good, plain = row(found, "good"), row(found, "plain")
    assert list(good.accuracies) == [0, 2]
    expected = np.mean([good.accuracies[seed] - plain.accuracies[seed] for seed in (0, 2)])
    assert difference(found, "good").value == pytest.approx(expected)
    assert "1 of 12 cells has no result" in found.finding


def test_arms_without_a_common_seed_are_not_compared(results: StudyResults) -> None:
    gone = [f"waves/plain/seed_{seed}" for seed in (0, 1)] + ["waves/good/seed_2"]
    found = analyse(without(results, *gone))
    assert row(found, "good").difference is None
    assert difference(found, "same").value != 0


def test_without_the_reference_nothing_is_compared(results: StudyResults) -> None:
    found = analyse(without(results, *(f"waves/plain/seed_{seed}" for seed in (0, 1, 2))))
    assert [row.arm for row in found.rows] == ["good", "same", "bad"]
    assert all(row.difference is None for row in found.rows)
    assert "nothing is compared" in found.finding


def test_a_study_without_any_result_says_so(results: StudyResults) -> None:
    found = analyse(replace(results, measurements=(), facts=(), unfinished={"waves/plain/seed_0": "waiting"}))
    assert (found.rows, found.facts, found.primary) == ((), (), {})
    assert "On waves there is no result yet." in found.finding


def test_a_baseline_holds_for_all_arms_that_share_it(results: StudyResults, analysis: Analysis) -> None:
    measured = [each.accuracy for each in results.measurements if each.representation == "random"]
    assert len(measured) == 3
    for arm in ARMS:
        found = row(analysis, arm)
        assert found.random == pytest.approx(np.mean(measured))
        assert found.raw is not None
        assert found.minus_random is not None
        assert found.minus_random.value == pytest.approx(found.mean - np.mean(measured))
    assert "Of 4 arms, 3 are above the network never trained, 1 below." in analysis.finding


def test_a_normalised_gain_is_0_without_training_and_1_for_the_best(analysis: Analysis) -> None:
    gains = {arm: row(analysis, arm).normalised_gain for arm in ARMS}
    random, best, plain = row(analysis, "plain").random, row(analysis, "good").mean, row(analysis, "plain").mean
    assert gains["good"] == 1.0
    assert random is not None
    assert gains["plain"] == pytest.approx((plain - random) / (best - random))
    assert gains["bad"] is not None
    assert gains["bad"] < 0


def test_without_a_baseline_or_an_arm_above_it_there_is_no_gain(results: StudyResults) -> None:
    unmeasured = tuple(each for each in results.measurements if each.representation == "target")
    for found in (
        analyse(replace(results, measurements=unmeasured)),
        analyse(results_of(results.study, LEVELS | {"random": 1})),
    ):
        assert all(row.normalised_gain is None for row in found.rows)
    without_baselines = analyse(replace(results, measurements=unmeasured))
    assert all((row.minus_random, row.random, row.raw) == (None, None, None) for row in without_baselines.rows)


def test_an_arm_is_judged_by_the_worst_of_its_seeds(results: StudyResults) -> None:
    states = {
        0: Verdict("healthy", ()),
        1: Verdict("collapsed", ("low_std",)),
        2: Verdict("suspicious", ("positional",)),
    }
    facts = tuple(
        replace(fact, verdict=states[fact.seed], collapse={"target_rank": 0.1 * fact.seed, "target_std": None})
        if fact.arm == "bad"
        else fact
        for fact in results.facts
    )
    found = analyse(replace(results, facts=facts))
    (bad,) = [each for each in found.facts if each.arm == "bad"]
    assert (bad.verdict, bad.seeds, bad.reasons) == ("collapsed", 3, ("low_std", "positional"))
    assert bad.verdicts == {0: "healthy", 1: "collapsed", 2: "suspicious"}
    assert bad.target_rank == pytest.approx(0.1)
    assert bad.target_std is None
    assert "Collapsed with at least one seed: bad on waves." in found.finding


def test_what_differed_is_said_with_the_arms_at_both_ends(results: StudyResults, analysis: Analysis) -> None:
    assert analysis.differed == {"waves": ()}
    more = {"good": {"flops": 5_000_000, "context_tokens": 27}, "bad": {"flops": 1_000_000}}
    facts = tuple(
        replace(fact, seconds=float(index), **more.get(fact.arm, {})) for index, fact in enumerate(results.facts)
    )  # pyright: ignore[reportArgumentType]
    assert analyse(replace(results, facts=facts)).differed["waves"] == (
        "Context tokens per sample: 18 (plain) to 27 (good), 1.50 times as many.",
        "Compute of a run: 1\u00a0MFLOP (bad) to 5\u00a0MFLOP (good), 5.00 times as many.",
    )


def test_a_primary_metric_that_was_not_measured_is_an_error_with_those_that_were() -> None:
    study = study_of(("plain", "good"), primary={"waves": "side/lienar"})
    with pytest.raises(
        ConfigError, match=r"evaluation\.primary\.waves: 'side/lienar' was not measured\. Measured: side/linear"
    ):
        analyse(results_of(study, LEVELS))


def test_cells_that_answered_other_samples_cannot_be_paired(results: StudyResults) -> None:
    first, *rest = results.measurements
    short = replace(first, correct=first.correct[:-1])
    with pytest.raises(DataError, match="199 test samples"):
        analyse(replace(results, measurements=(*rest, short)))


def test_the_other_encoder_is_judged_where_the_study_says_so(results: StudyResults) -> None:
    study = study_of(ARMS, encoder="context")
    measurements = tuple(
        replace(each, representation="context", accuracy=0.25) if each.representation == "target" else each
        for each in results.measurements
    )
    found = analyse(replace(results, study=study, measurements=(*results.measurements, *measurements)))
    assert {row.mean for row in found.rows} == {0.25}


def test_studies_in_which_nothing_differs_rarely_claim_anything() -> None:
    study, arms = study_of(("plain", "a", "b", "c")), ("plain", "a", "b", "c")
    levels, studies = dict.fromkeys(arms, 0.7), 400
    claims = 0
    for draw in range(studies):
        found = analyse(results_of(study, levels, items=100, seed_spread=0.03, draw=draw))
        claims += any(row.difference is not None and row.difference.stands for row in found.rows)
    assert claims / studies < 0.05 + 3 * sqrt(0.05 * 0.95 / studies)


def test_facts_of_a_cell_are_what_a_study_reports(results: StudyResults, analysis: Analysis) -> None:
    fact = facts_of(results.study.cells[0])
    assert {(each.seconds, each.flops, each.parameters) for each in analysis.facts} == {
        (fact.seconds, fact.flops, fact.parameters)
    }


def fallen(results: StudyResults, *arms: str) -> StudyResults:
    """The same, but that arms collapsed."""
    verdict = Verdict("collapsed", ("low_std",))
    return replace(
        results, facts=tuple(replace(each, verdict=verdict) if each.arm in arms else each for each in results.facts)
    )


def test_the_finding_marks_arms_that_collapsed_wherever_it_names_them(results: StudyResults) -> None:
    finding = analyse(fallen(results, "good", "bad")).finding
    assert re.search(r"good \(\+[^)]*, but collapsed\) is above plain", finding)
    assert re.search(r"bad \(−[^)]*, collapsed\) is below it", finding)
    assert "3 are above the network never trained (of which good collapsed), 1 below." in finding
    assert "its accuracy does not show that the encoder learned" in finding
    assert "The reference itself" not in finding
    assert "The reference itself collapsed: on waves" in analyse(fallen(results, "plain")).finding


def test_one_seed_says_nothing_of_the_network_never_trained_nor_of_intervals() -> None:
    finding = analyse(results_of(study_of(ARMS, seeds=(4,)), LEVELS)).finding
    assert "never trained" not in finding
    assert "ntervals" not in finding
    assert "contain zero" not in finding


def test_a_single_shared_seed_shows_nothing_whatever_other_arms_have(results: StudyResults) -> None:
    once = analyse(without(results, "waves/plain/seed_1", "waves/plain/seed_2"))
    assert "no arm shares two seeds with plain" in once.finding
    assert "contain zero" not in once.finding
    some = analyse(without(results, "waves/same/seed_1", "waves/same/seed_2"))
    assert "Nothing is shown of same, with a single seed shared with plain." in some.finding
    assert "cannot be told from it" not in some.finding


def test_counts_that_follow_the_batch_are_said_to(results: StudyResults) -> None:
    facts = tuple(
        replace(each, varies=True, context_tokens=27) if each.arm == "good" else each for each in results.facts
    )
    assert analyse(replace(results, facts=facts)).differed["waves"] == (
        "Tokens per sample of good vary by batch: about 27 of context and 18 predicted.",
        "Context tokens per sample: 18 (plain) to about 27 (good), 1.50 times as many.",
    )


def test_arms_keep_the_last_cosine_and_gain_of_the_collapse_monitor(results: StudyResults) -> None:
    collapse = {"sample_cosine": 0.9, "own_gain": 0.0}
    facts = tuple(replace(each, collapse=collapse) if each.arm == "good" else each for each in results.facts)
    found = {each.arm: (each.sample_cosine, each.own_gain) for each in analyse(replace(results, facts=facts)).facts}
    assert found["good"] == pytest.approx((0.9, 0.0))
    assert found["plain"] == (pytest.approx(0.2), None)
