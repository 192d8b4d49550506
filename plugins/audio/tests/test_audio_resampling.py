from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchaudio.functional import resample

from jepa_audio.decoding import open_sound
from jepa_audio.decoding.resampling import Rates, resampled

WriteSound = Callable[..., str]
COMMON = (8000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000)


@given(
    source=st.sampled_from(COMMON),
    target=st.sampled_from(COMMON),
    length=st.integers(1, 5000),
    places=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_any_stretch_is_that_of_the_whole_resampled(source: int, target: int, length: int, places: tuple[float, float]):
    rates, samples = Rates(source, target), torch.randn(length, generator=torch.Generator().manual_seed(length))
    whole = resample(samples, source, target)
    assert rates.length(length) == len(whole)
    start, stop = sorted(int(place * (len(whole) - 1)) for place in places)
    stop += 1

    def read(first: int, count: int) -> torch.Tensor:
        assert 0 <= first <= first + count <= length
        return samples[first : first + count]

    part = resampled(rates, length, start, stop - start, read)
    assert len(part) == stop - start
    assert torch.allclose(part, whole[start:stop], atol=1e-5)


def test_a_stretch_costs_what_it_is_long_and_not_what_the_file_is():
    read = list[int]()

    def zeros(first: int, count: int) -> torch.Tensor:
        read.append(count)
        return torch.zeros(count)

    resampled(Rates(48_000, 16_000), 10**9, 10**7, 16_000, zeros)
    assert read[0] < 48_000 * 1.01


@pytest.mark.parametrize("rate", COMMON)
def test_all_common_rates_are_feasible(rate: int):
    assert all(Rates(rate, other).feasible for other in COMMON)


def test_the_same_sound_at_96_khz_and_resampled_beforehand_is_the_same(write_sound: WriteSound):
    high = write_sound("high.wav", rate=96_000, subtype="FLOAT", seconds=2.0)
    with open_sound(high, 96_000) as sound:
        before = resample(sound.read(0, sound.num_samples), 96_000, 16_000)
    low = write_sound("low.wav", values=before.numpy(), subtype="FLOAT")
    with open_sound(high, 16_000) as first, open_sound(low, 16_000) as second:
        assert first.num_samples == second.num_samples
        assert first.file_rate == 96_000
        for start, count in ((0, 32_000), (7777, 4000), (31_000, 1000)):
            assert torch.allclose(first.read(start, count), second.read(start, count), atol=1e-6)
