from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from jaxtyping import Bool
from scipy import stats
from scipy.special import polygamma

from jepa_core.ablation.intervals import Contrast, bootstrap, contrast, holm, moderated

Answers = Bool[np.ndarray, "seeds items"]


def answers(seeds: int = 3, items: int = 300, left: float = 0.8, right: float = 0.7) -> tuple[Answers, Answers]:
    """Some items are easier for the one, the others for the other."""
    random, tilt = np.random.default_rng(7), np.where(np.arange(items) % 2, 0.2, -0.2)
    return random.random((seeds, items)) < left + tilt, random.random((seeds, items)) < right - tilt


def test_the_value_is_the_difference_of_mean_accuracies() -> None:
    left, right = answers()
    assert contrast(left, right).value == pytest.approx(left.mean() - right.mean())


def test_variances_are_those_of_a_table_of_seeds_by_items() -> None:
    left, right = answers(seeds=4)
    differences = left.astype(float) - right
    seeds, items = differences.shape
    by_item, by_seed, mean = differences.mean(0), differences.mean(1), differences.mean()
    rest = differences - by_item[None, :] - by_seed[:, None] + mean
    shared = (rest**2).sum() / ((seeds - 1) * (items - 1)) / (seeds * items)
    smoothed = np.append(by_item, [1, -1]).var(ddof=1) / (items + 2)
    found = contrast(left, right)
    assert smoothed > shared
    assert found.seed_variance == pytest.approx(by_seed.var(ddof=1) / seeds)
    assert found.item_variance == pytest.approx(smoothed - shared)


def test_the_variance_over_seeds_is_that_of_an_unbiased_bootstrap() -> None:
    left, right = answers(seeds=3)
    by_seed = (left.astype(float) - right).mean(1)
    drawn = np.random.default_rng(0).integers(0, 3, (100_000, 2))  # one fewer than there are (Rao and Wu, 1988)
    assert contrast(left, right).seed_variance == pytest.approx(by_seed[drawn].mean(1).var(), rel=0.02)


def test_the_variance_over_items_and_the_shared_part_are_that_of_a_bootstrap_over_items() -> None:
    left, right = answers(items=1000)
    differences = left.astype(float) - right
    drawn = np.random.default_rng(0).multinomial(1000, [1e-3] * 1000, 20_000)
    rest = differences - differences.mean(0) - differences.mean(1, keepdims=True) + differences.mean()
    shared = (rest**2).sum() / (2 * 999) / 3000
    resampled = (drawn @ differences.mean(0) / 1000).var()
    assert contrast(left, right).item_variance + shared == pytest.approx(resampled, rel=0.04)


def test_the_bootstrap_is_that_of_drawing_seeds_and_items() -> None:
    left, right = answers(items=60)
    differences, random = left.astype(int) - right, np.random.default_rng(0)
    drawn = [differences[np.ix_(random.integers(0, 3, 3), random.integers(0, 60, 60))].mean() for _ in range(20_000)]
    found = bootstrap(left, right, 0.05)
    assert found == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.02)
    assert bootstrap(left, right, 0.5)[1] < found[1]


def test_the_bootstrap_is_the_same_every_time_in_any_order_of_items_and_mirrored_for_exchanged_sides() -> None:
    left, right = answers(seeds=4, items=50)
    assert left.sum() != right.sum()
    low, high = bootstrap(left, right, 0.05)
    assert bootstrap(left[:, ::-1], right[:, ::-1], 0.05) == (low, high)
    assert bootstrap(right, left, 0.05) == (-high, -low)
    low, high = bootstrap(left, even := left[::-1, ::-1], 0.05)  # as many right answers on both sides
    assert bootstrap(even, left, 0.05) == (-high, -low) != (low, high)


def test_the_bootstrap_knows_nothing_of_one_seed_and_of_equal_answers_that_they_are_equal() -> None:
    left, _ = answers(items=40)
    assert bootstrap(left[:1], ~left[:1], 0.05) == (-1.0, 1.0)
    assert bootstrap(left, left, 0.05) == (0.0, 0.0)


def test_with_seeds_alone_the_test_is_students() -> None:
    by_seed = np.array([0.03, 0.05, 0.01, 0.04])
    found = Contrast(by_seed.mean(), 4, 500, 90, seed_variance=by_seed.var(ddof=1) / 4, item_variance=0.0)
    _, p = stats.ttest_1samp(by_seed, 0)
    assert found.p_value() == pytest.approx(p, rel=1e-9)
    assert found.interval(0.05) == pytest.approx(stats.t.interval(0.95, 3, by_seed.mean(), stats.sem(by_seed)))


def test_both_parts_add_as_squares_of_their_own_half_widths() -> None:
    both = Contrast(0.02, 3, 200, 90, seed_variance=4e-4, item_variance=9e-4)
    seeds, items = replace(both, item_variance=0.0), replace(both, seed_variance=0.0)
    assert both.half_width(0.05) == pytest.approx(math.hypot(seeds.half_width(0.05), items.half_width(0.05)))
    assert seeds.half_width(0.05) == pytest.approx(4.302653 * 0.02)  # t with 2 degrees of freedom


@pytest.mark.parametrize("value", [0.001, -0.02, 0.08, 0.9])
def test_an_interval_at_its_p_value_ends_at_zero(value: float) -> None:
    found = Contrast(value, 3, 200, 90, seed_variance=1e-4, item_variance=2e-4)
    assert found.half_width(found.p_value()) == pytest.approx(abs(value))


def test_a_p_value_far_out_is_small_and_not_zero() -> None:
    assert 0 < Contrast(1.0, 50, 5000, 250_000, seed_variance=1e-9, item_variance=1e-9).p_value() < 1e-30


def test_one_seed_and_one_item_can_show_nothing() -> None:
    for shape in ((1, 500), (5, 1)):
        found = contrast(np.ones(shape, dtype=bool), np.zeros(shape, dtype=bool))
        assert (found.value, found.p_value(), found.interval(0.05)) == (1.0, 1.0, (-1.0, 1.0))


def test_equal_answers_differ_by_exactly_nothing_within_a_narrow_interval() -> None:
    same, _ = answers(items=200)
    found = contrast(same, same.copy())
    low, high = found.interval(0.05)
    assert (found.value, found.p_value(), found.disagreements) == (0.0, 1.0, 0)
    assert -0.02 < low < 0 < high < 0.02
    assert low == -high


def test_few_items_that_all_agree_on_a_winner_still_leave_doubt() -> None:
    found = contrast(np.ones((3, 4), dtype=bool), np.zeros((3, 4), dtype=bool))
    assert found.value == 1.0
    assert found.p_value() > 0.01


def test_exchanging_sides_exchanges_signs_bit_for_bit() -> None:
    left, right = answers()
    there, back = contrast(left, right), contrast(right, left)
    assert back == replace(there, value=-there.value)
    assert back.interval(0.05) == tuple(-bound for bound in reversed(there.interval(0.05)))


def test_the_order_of_seeds_and_of_items_changes_no_bit() -> None:
    left, right = answers(seeds=5)
    random = np.random.default_rng(1)
    seeds, items = random.permutation(5), random.permutation(300)
    assert contrast(left[seeds][:, items], right[seeds][:, items]) == contrast(left, right)


@pytest.mark.parametrize(("seeds", "spread"), [(3, 0.2), (5, 0.05)])
def test_intervals_miss_the_truth_no_more_often_than_they_say(seeds: int, spread: float) -> None:
    random, items, studies = np.random.default_rng(3), 200, 1500
    missed = {0.05: 0, 0.05 / 7: 0}
    for _ in range(studies):
        scores = random.normal(0.7, 1, (2, seeds, items)) + random.normal(0, spread, (2, seeds, 1))
        found = contrast(scores[0] > 0, scores[1] > 0)
        for error in missed:
            missed[error] += abs(found.value) > found.half_width(error)
    for error, count in missed.items():
        allowed = 3 * math.sqrt(error * (1 - error) / studies)
        assert count / studies < error + allowed
    assert missed[0.05] / studies > 0.01  # an interval that never misses says nothing


def compared(*variances: float, seeds: int = 3, items: int = 1000) -> list[Contrast]:
    """Comparisons with these variances of the per-seed difference."""
    return [Contrast(0.01, seeds, items, 90, seed_variance=each / seeds, item_variance=1e-6) for each in variances]


def test_variances_are_drawn_upwards_to_the_typical_one() -> None:
    low, middle, high = moderated(compared(1e-4, 2e-4, 4e-4))
    # By hand: (log 2)^2 = .48 is less than sampling spreads, trigamma(1) = 1.64, so the ceiling holds: with k = 3 and
    # d = 2, 1.5 * 2 / 6 * 2 = 1. The geometric mean, 2e-4, times exp(-digamma(1)) = 1.781072 is the typical variance.
    assert (low.borrowed, middle.borrowed, high.borrowed) == (1.0, 1.0, 1.0)
    assert 3 * low.seed_variance == pytest.approx((2 * 1e-4 + 3.562145e-4) / 3)
    assert 3 * middle.seed_variance == pytest.approx((2 * 2e-4 + 3.562145e-4) / 3)
    assert 3 * high.seed_variance == pytest.approx(4e-4)
    seeds_alone = replace(high, item_variance=0.0)
    assert seeds_alone.half_width(0.05) == pytest.approx(3.182446 * 0.02 / math.sqrt(3))  # t with 3 degrees of freedom


def test_the_spread_of_unlike_variances_says_how_little_is_borrowed() -> None:
    logs = np.log([1e-6, 1e-4, 1e-2])
    first, *_ = moderated(compared(1e-6, 1e-4, 1e-2))
    assert polygamma(1, first.borrowed / 2) == pytest.approx(logs.var(ddof=1) - polygamma(1, 1))
    assert 0 < first.borrowed < 1


def test_one_wild_arm_moves_the_typical_variance_by_no_more_than_twenty_times_the_median() -> None:
    tame, *_ = moderated(compared(1e-4, 1e-4, 1e-4, 1.0))
    typical = 1e-4 * 1.781072 * 20**0.25
    assert 3 * tame.seed_variance == pytest.approx((2 * 1e-4 + tame.borrowed * typical) / (2 + tame.borrowed))


def test_the_less_alike_arms_are_the_nearer_is_each_to_its_own_interval() -> None:
    ratios = []
    for factor in (1e2, 1e4, 1e8, 1e16):
        own = compared(1e-2 / factor**2, 1e-2 / factor, 1e-2, items=10**20)
        ratios.append(moderated(own)[2].half_width(0.01) / own[2].half_width(0.01))
    assert ratios == sorted(ratios)
    assert ratios[0] < 0.8
    assert 0.95 < ratios[-1] < 1


@pytest.mark.parametrize(("number", "borrowed"), [(3, 1.0), (5, 1.5), (9, 2.0), (999, 2.988)])
def test_where_all_vary_alike_half_of_what_they_have_beyond_the_reference_is_lent(number: int, borrowed: float) -> None:
    first, *others = moderated(compared(*[1e-4] * number))
    assert first.borrowed == pytest.approx(borrowed, abs=1e-4)
    assert set(others) == {first}


def test_of_other_numbers_of_seeds_nobody_borrows_for_more_than_there_are() -> None:
    few, *_, many = moderated([*compared(1e-4, 1e-4, seeds=2), *compared(1e-4, 1e-4, seeds=6)])
    share = 1.5 * 3 / 7
    assert few.borrowed == pytest.approx(share * 1)  # its own degrees of freedom
    assert many.borrowed == pytest.approx(share * 3)  # the mean of all


def test_two_comparisons_one_seed_and_equal_answers_borrow_nothing_and_lend_nothing() -> None:
    two, three = compared(1e-4, 2e-4), compared(1e-4, 2e-4, 4e-4)
    same, single = Contrast(0.0, 3, 1000, 0, 0.0, 1e-6), Contrast(0.01, 1, 1000, 5, 0.0, 0.0)
    assert moderated([]) == []
    assert moderated(two) == two
    assert moderated([same, *two, single]) == [same, *two, single]
    assert moderated([same, *three, single]) == [same, *moderated(three), single]


def test_seeds_that_happen_to_agree_to_the_item_have_a_small_variance_and_not_none() -> None:
    exact, *_ = moderated(compared(0.0, 1e-4, 2e-4, 1e-4))
    assert 0 < exact.seed_variance < 1e-4
    assert exact.borrowed > 0


def test_the_order_of_comparisons_changes_no_bit() -> None:
    random = np.random.default_rng(5)
    own = compared(*random.chisquare(2, 8).tolist())
    order = random.permutation(8).tolist()
    there = moderated(own)
    assert moderated([own[place] for place in order]) == [there[place] for place in order]


@pytest.mark.parametrize("odd", [{}, {3: 10.0}, {0: 3.0}])
def test_studies_of_three_seeds_promise_no_less_for_what_they_borrow(odd: dict[int, float]) -> None:
    """No arm differs; `odd` has the standard deviations over seeds of arms (0 is the reference) that are not 1."""
    random, studies, arms = np.random.default_rng(11), 1000, 5
    scales = np.array([odd.get(arm, 1.0) for arm in range(arms + 1)])[:, None]
    means = random.normal(0, 1, (studies, arms + 1, 3)) * scales
    differences = means[:, 1:] - means[:, :1]
    claims, narrower = 0, 0
    for values, variances in zip(np.abs(differences.mean(2)), differences.var(2, ddof=1), strict=True):
        own = [replace(each, item_variance=0.0) for each in compared(*variances.tolist())]
        halves = [each.half_width(0.05 / arms) for each in moderated(own)]
        claims += any(value > half for value, half in zip(values, halves, strict=True))
        narrower += sum(half < each.half_width(0.05 / arms) for half, each in zip(halves, own, strict=True))
    assert claims / studies < 0.05 + 3 * math.sqrt(0.05 * 0.95 / studies)
    assert narrower / studies / arms > 0.75


def test_holms_p_values_are_the_textbook_ones() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.4, 0.6]) == [0.8, 0.8]
    assert holm([0.02, 0.02, 0.9]) == pytest.approx([0.06, 0.06, 0.9])
    assert holm([]) == []
