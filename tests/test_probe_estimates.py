from __future__ import annotations

import math

import pytest
import torch

from jepa_core.probes.estimates import paired_difference, wilson


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    # Newcombe, 1998, table I, method 3
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals_are_the_published_ones(hits: int, total: int, low: float, high: float) -> None:
    estimate = wilson(hits, total)
    assert estimate.value == hits / total
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=5e-5)


def test_a_paired_interval_counts_only_the_samples_on_which_two_disagree() -> None:
    left = torch.tensor([True] * 60 + [True] * 10 + [False] * 5 + [False] * 25)
    right = torch.tensor([True] * 60 + [False] * 10 + [True] * 5 + [False] * 25)
    estimate = paired_difference(left, right)
    up, down = 11 / 102, 6 / 102
    half = 1.959964 * math.sqrt((up + down - (up - down) ** 2) / 102)
    assert estimate.value == pytest.approx(0.05)
    assert (estimate.low, estimate.high) == pytest.approx((up - down - half, up - down + half))
    separate = wilson(70, 100).high - wilson(70, 100).low
    assert estimate.high - estimate.low < separate


def test_equal_answers_differ_by_zero_with_an_honest_interval() -> None:
    same = torch.tensor([True, False] * 10)
    estimate = paired_difference(same, same)
    assert estimate.value == 0
    assert -0.2 < estimate.low < 0 < estimate.high < 0.2


def test_a_paired_interval_holds_the_truth_in_95_of_100_cases() -> None:
    generator = torch.Generator().manual_seed(0)
    left = torch.rand(2000, 200, generator=generator) < 0.8
    right = torch.where(torch.rand(2000, 200, generator=generator) < 0.7, left, left & False)
    truth = 0.8 - 0.8 * 0.7
    estimates = [paired_difference(a, b) for a, b in zip(left, right, strict=True)]
    share = sum(each.low <= truth <= each.high for each in estimates) / len(estimates)
    assert 0.93 < share < 0.97
