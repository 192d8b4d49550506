"""The endless sequence of samples: passes, weights, resume, slices."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_parts import Waves

from jepa_core.errors import DataError
from jepa_core.order import Order, Share, StepSampler, portions_of
from jepa_core.sources import MixtureSource
from jepa_core.types import Portion, SampleKey

PORTIONS = st.lists(
    st.builds(Portion, st.integers(15, 40), st.floats(0.5, 4.0, allow_nan=False)), min_size=1, max_size=4
)


def plain(seed: int, size: int) -> Order:
    return Order(seed, (Portion(size),))


def keys_of(sampler: StepSampler, passes: int) -> list[SampleKey]:
    return [key for keys in islice(sampler, passes) for key in keys]


def test_every_pass_over_the_data_takes_each_sample_once_in_a_new_order() -> None:
    keys = keys_of(StepSampler(plain(0, 10), Share(4)), 5)
    first, second = keys[:10], keys[10:]
    assert {key.epoch for key in first} == {0}
    assert {key.epoch for key in second} == {1}
    assert Counter(key.index for key in keys) == Counter(dict.fromkeys(range(10), 2))
    assert [key.index for key in first] != [key.index for key in second]


def test_a_data_set_smaller_than_a_batch_is_passed_several_times() -> None:
    keys = keys_of(StepSampler(plain(0, 3), Share(8)), 1)
    assert [key.epoch for key in keys] == [0, 0, 0, 1, 1, 1, 2, 2]


def test_the_order_of_a_plain_source_never_changes() -> None:
    expected = [(0, 1), (0, 2), (0, 0), (0, 4), (0, 3), (1, 2), (1, 3), (1, 4), (1, 1), (1, 0), (2, 2), (2, 4)]
    assert [(key.epoch, key.index) for key in keys_of(StepSampler(plain(7, 5), Share(12)), 1)] == expected


def test_processes_and_passes_divide_a_step_without_overlap() -> None:
    whole = set(keys_of(StepSampler(plain(0, 100), Share(8)), 3))
    assert len(whole) == 24
    for accumulate, world in ((1, 4), (4, 1), (2, 2)):
        parts = [
            keys_of(StepSampler(plain(0, 100), Share(8, accumulate, world, rank)), 3 * accumulate)
            for rank in range(world)
        ]
        assert sorted(key.index for part in parts for key in part) == sorted(key.index for key in whole)


def test_two_processes_and_two_passes_cut_a_step_into_the_same_slices() -> None:
    alone = list(islice(StepSampler(plain(0, 100), Share(8, accumulate=2)), 2))
    ranks = [next(iter(StepSampler(plain(0, 100), Share(8, world=2, rank=rank)))) for rank in range(2)]
    assert alone == ranks


def test_another_seed_is_another_order() -> None:
    one, other = plain(0, 50), plain(1, 50)
    assert [one.key(i) for i in range(50)] != [other.key(i) for i in range(50)]


@given(PORTIONS, st.integers(0, 3))
@settings(deadline=None, max_examples=60)
def test_each_data_set_of_a_mixture_gets_its_share_of_every_pass(portions: list[Portion], number: int) -> None:
    order, total, first = Order(5, portions), sum(each.weight for each in portions), 0
    n = order.num_samples
    indices = [order.key(position).index for position in range(number * n, (number + 1) * n)]
    for portion in portions:
        taken = sum(first <= index < first + portion.size for index in indices)
        assert abs(taken - n * portion.weight / total) < 1
        first += portion.size


@given(PORTIONS)
@settings(deadline=None, max_examples=60)
def test_each_sample_occurs_once_in_every_pass_of_its_own_data_set(portions: list[Portion]) -> None:
    order, first = Order(5, portions), 0
    keys = [order.key(position) for position in range(5 * order.num_samples)]
    assert len(set(keys)) == len(keys)
    for portion in portions:
        own = [key for key in keys if first <= key.index < first + portion.size]
        assert [key.epoch for key in own] == [turn // portion.size for turn in range(len(own))]
        first += portion.size


@given(PORTIONS, st.integers(0, 5), st.sampled_from([(1, 1), (2, 1), (1, 4), (2, 2)]))
@settings(deadline=None, max_examples=60)
def test_a_mixture_resumes_exactly_and_does_not_depend_on_processes(
    portions: list[Portion], start: int, division: tuple[int, int]
) -> None:
    accumulate, world = division
    straight = keys_of(StepSampler(Order(5, portions), Share(8)), start + 3)[8 * start :]
    ranks = [
        list(islice(StepSampler(Order(5, portions), Share(8, accumulate, world, rank), start), 3 * accumulate))
        for rank in range(world)
    ]
    slices = [ranks[rank][number] for number in range(3 * accumulate) for rank in range(world)]
    assert [key for part in slices for key in part] == straight


def test_a_mixture_of_one_is_the_plain_source() -> None:
    mixture = Order(3, (Portion(37, weight=0.2),))
    assert [mixture.key(position) for position in range(100)] == [plain(3, 37).key(position) for position in range(100)]


def test_data_sets_of_a_mixture_take_turns_in_a_new_order_in_every_pass() -> None:
    order = Order(0, (Portion(20), Portion(20)))
    passes = [[order.key(40 * number + place).index < 20 for place in range(40)] for number in range(2)]
    assert passes[0] != passes[1]
    assert all(0 < sum(half) < 20 for each in passes for half in (each[:20], each[20:]))  # neither comes in a block


def test_equal_data_sets_have_orders_of_their_own() -> None:
    order = Order(0, (Portion(30), Portion(30)))
    keys = [order.key(position).index for position in range(60)]
    assert [index for index in keys if index < 30] != [index - 30 for index in keys if index >= 30]


def test_a_mixture_states_its_data_sets_and_another_source_is_one() -> None:
    five, seven = Waves("train", 5, 12, 0.1), Waves("train", 7, 12, 0.1)
    assert portions_of(five) == (Portion(5, 1.0),)
    assert portions_of(MixtureSource([five, seven], [2.0, 0.5])) == (Portion(5, 2.0), Portion(7, 0.5))


def test_a_weight_that_earns_no_turn_is_refused() -> None:
    with pytest.raises(DataError, match=r"data set 2 of the mixture: its weight 0\.001 of 1\.001 earns it none"):
        Order(0, (Portion(10), Portion(10, weight=0.001)))
