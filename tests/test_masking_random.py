"""Per-sample streams: independent of everything but (seed, purpose, epoch, index), and statistically sound."""

from __future__ import annotations

import numpy as np
import pytest

from jepa_core.masking import SampleRandom, seed_of
from jepa_core.types import SampleKey

MANY = 20_000


def streams(*indices: int, epoch: int = 0, seed: int = 0, purpose: int = 0) -> SampleRandom:
    return SampleRandom.of(seed, [SampleKey(epoch, index) for index in indices], purpose)


def chi_square(counts: np.ndarray) -> float:
    """In standard deviations from what equal probabilities give."""
    expected = counts.sum() / counts.size
    degrees = counts.size - 1
    return float((((counts - expected) ** 2 / expected).sum() - degrees) / np.sqrt(2 * degrees))


def test_a_sample_draws_the_same_in_every_batch() -> None:
    together = streams(5, 6, 7, 8)
    alone, shuffled = streams(7), streams(8, 7)
    for shape in ((3,), (2, 5), ()):  # also after an odd number of words
        ours = together.words(*shape)[2]
        np.testing.assert_array_equal(ours, alone.words(*shape)[0])
        np.testing.assert_array_equal(ours, shuffled.words(*shape)[1])


@pytest.mark.parametrize(
    "other",
    [streams(3, epoch=1), streams(3, seed=1), streams(3, purpose=1), streams(4)],
    ids=["epoch", "seed", "purpose", "index"],
)
def test_epoch_seed_purpose_and_index_each_make_another_stream(other: SampleRandom) -> None:
    assert not np.isin(streams(3).words(500), other.words(500)).any()


def test_successive_draws_share_no_numbers() -> None:
    random = streams(3)
    first, second = random.words(500), random.words(500)
    assert len(np.union1d(first, second)) == 1000


def test_rows_continue_where_the_batch_is() -> None:
    random = streams(1, 2, 3)
    random.words(7)
    part = random.rows(np.array([False, True, True]))
    np.testing.assert_array_equal(part.words(4), random.words(4)[1:])


def test_a_fork_leaves_its_origin_in_place_and_repeats_nothing_of_it() -> None:
    random, untouched = streams(1, 2), streams(1, 2)
    forked = [random.fork(number).words(200) for number in range(3)]
    own = random.words(200)
    np.testing.assert_array_equal(own, untouched.words(200))
    assert len(np.unique(np.stack([own, *forked]))) == 4 * 2 * 200
    np.testing.assert_array_equal(forked[1], streams(1, 2).fork(1).words(200))


def test_words_are_uniform_in_every_byte_and_over_samples() -> None:
    words = streams(*range(MANY)).words(16)
    for byte in range(4):
        counts = np.bincount(((words >> np.uint32(8 * byte)) & np.uint32(255)).ravel(), minlength=256)
        assert abs(chi_square(counts)) < 5
    for position in range(16):  # one draw of consecutive samples, as a batch sees it
        assert abs(chi_square(np.bincount(words[:, position] >> np.uint32(24), minlength=256))) < 5


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (streams(*range(MANY)), streams(*range(1, MANY + 1))),
        (streams(*range(MANY)), streams(*range(MANY), epoch=1)),
        (streams(*range(MANY)), streams(*range(MANY), seed=1)),
        (streams(*range(MANY)), streams(*range(MANY)).fork(0)),
    ],
    ids=["next sample", "next epoch", "next seed", "fork"],
)
def test_neighbouring_streams_are_jointly_uniform(first: SampleRandom, second: SampleRandom) -> None:
    pairs = (first.uniform(4) * 16).astype(int) * 16 + (second.uniform(4) * 16).astype(int)
    assert abs(chi_square(np.bincount(pairs.ravel(), minlength=256))) < 5


def test_successive_numbers_of_a_stream_are_jointly_uniform() -> None:
    cells = (streams(*range(MANY)).uniform(6) * 8).astype(int)
    pairs = cells[:, :-1] * 8 + cells[:, 1:]
    assert abs(chi_square(np.bincount(pairs.ravel(), minlength=64))) < 5


def test_uniform_is_float32_below_one() -> None:
    values = streams(*range(MANY)).uniform(50)
    assert values.dtype == np.float32
    assert 0 <= values.min() < 1e-5
    assert 1 - 1e-5 < values.max() < 1


@pytest.mark.parametrize("high", [1, 2, 3, 7, 14, 196])
def test_integers_reach_both_ends_equally_often(high: int) -> None:
    drawn = streams(*range(MANY)).integers(np.full((MANY, 3), high))
    counts = np.bincount(drawn.ravel(), minlength=high)
    assert len(counts) == high
    assert high == 1 or abs(chi_square(counts)) < 5


def test_integers_take_a_bound_per_entry_up_to_two_to_the_31() -> None:
    high = np.tile(np.array([1, 5, 2**31]), (MANY, 1))
    drawn = streams(*range(MANY)).integers(high)
    assert (drawn >= 0).all()
    assert (drawn < high).all()
    assert drawn[:, 2].max() > 2**31 * 0.999


def test_an_empty_batch_draws_nothing() -> None:
    assert streams().uniform(3).shape == (0, 3)


def test_seeds_differ_for_every_argument_and_its_place() -> None:
    seeds = [seed_of(*parts) for parts in [(), (0,), (1,), (0, 0), (0, 1), (1, 0), (-1,), (2**63,), (0, 0, 0)]]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_streams_stay_what_they_are() -> None:
    # A change here changes the masks of every run that is resumed.
    assert seed_of(1, 2, 3) == 3851293329796251419
    assert streams(7, epoch=2, seed=1, purpose=3).words(3).tolist() == [[193817834, 3203465901, 1177424685]]
