from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from jepa_audio.config import AudioConfig
from jepa_audio.decoding import open_sound
from jepa_audio.plugin import audio
from jepa_audio.transforms import Clip, levelled
from jepa_core.errors import UnreadableSample

WriteSound = Callable[..., str]
RATE = 1000
MEL: dict[str, Any] = {"frontend": "mel", "mels": 4, "patch": (4, 1), "window": 20.0, "hop": 10.0, "f_min": 0.0}


@pytest.fixture
def ramp(write_sound: WriteSound) -> str:
    """1,000 samples, each of which says where it is."""
    return write_sound("ramp.wav", values=np.arange(1000) / 1000, rate=RATE, subtype="FLOAT")


def numbers(samples: Tensor) -> list[int]:
    return (samples * 1000).round().int().tolist()


def taken(path: str, clip: Clip, position: float, cyclic: bool = False) -> list[int]:
    with open_sound(path, RATE) as sound:
        return numbers(clip.take_cyclic(sound, position) if cyclic else clip.take(sound, position))


class TestClip:
    @pytest.mark.parametrize(("position", "first"), [(0.0, 0), (0.5, 450), (0.998, 899), (1.0, 900)])
    def test_it_lies_in_the_file_wherever_it_is_drawn(self, ramp: str, position: float, first: int):
        assert taken(ramp, Clip(100, "pad"), position) == list(range(first, first + 100))

    def test_all_places_are_equally_likely(self, ramp: str):
        clip = Clip(996, "pad")
        first = [taken(ramp, clip, position)[0] for position in torch.linspace(0, 0.9999, 50).tolist()]
        assert [first.count(place) for place in range(5)] == [10] * 5

    def test_a_cyclic_one_goes_on_at_the_beginning(self, ramp: str):
        assert taken(ramp, Clip(100, "pad"), 0.95, cyclic=True) == [*range(950, 1000), *range(50)]
        assert taken(ramp, Clip(100, "pad"), 0.2, cyclic=True) == list(range(200, 300))
        assert taken(ramp, Clip(2000, "pad"), 0.3, cyclic=True) == [*range(300, 1000), *range(300)]
        assert taken(ramp, Clip(100, "pad"), 1.0, cyclic=True)[0] == 999

    def test_a_short_file_is_padded_with_silence_or_repeated_or_refused(self, ramp: str):
        content = torch.tensor([1.0, 2.0, 3.0])
        assert Clip(7, "pad").fill(content).tolist() == [1, 2, 3, 0, 0, 0, 0]
        assert Clip(7, "loop").fill(content).tolist() == [1, 2, 3, 1, 2, 3, 1]
        for cyclic in (False, True):
            assert len(taken(ramp, Clip(1001, "pad"), 0.0, cyclic)) == 1000
            with pytest.raises(UnreadableSample, match=r"lasts 1\.00 s, a clip needs 2\.00; modality\.short=pad or"):
                taken(ramp, Clip(2000, "skip"), 0.0, cyclic)


def config_of(**values: Any) -> AudioConfig:
    return AudioConfig.model_validate(
        {"frontend": "waveform", "sample_rate": RATE, "seconds": 0.1, "patch_samples": 10, **values}
    )


def signal_of(path: str, train: bool = False, seed: int = 0, **values: Any) -> Tensor:
    config = config_of(**values)
    return audio.transform(config, train)(audio.open(config, path).read(0), Generator().manual_seed(seed))


class TestSignals:
    def test_training_takes_random_clips_and_evaluation_the_middle(self, ramp: str):
        assert not torch.equal(
            *(signal_of(ramp, train=True, seed=seed, frontend_on="device", **MEL) for seed in (0, 1))
        )
        assert torch.equal(*(signal_of(ramp, seed=seed, **MEL) for seed in (0, 1)))
        assert numbers(signal_of(ramp, frontend_on="device", **MEL)[0])[:2] == [450, 451]
        assert numbers(signal_of(ramp, frontend_on="device", crop="start", **MEL)[0])[:2] == [0, 1]

    def test_several_clips_are_spread_evenly(self, ramp: str):
        views = signal_of(ramp, clips=3, frontend_on="device", **MEL)
        assert views.shape == (3, 1, 100)
        assert [numbers(view[0])[0] for view in views] == [150, 450, 750]

    def test_gain_is_in_decibels_and_for_training_alone(self, write_sound: WriteSound):
        path = write_sound("flat.wav", values=np.full(1000, 0.1), rate=RATE, subtype="FLOAT")
        drawn = [signal_of(path, True, seed, gain=6.0, frontend_on="device", **MEL) for seed in range(200)]
        decibels = [20 * math.log10(signal.mean() / 0.1) for signal in drawn]
        assert -6 <= min(decibels) < -5.5
        assert 5.5 < max(decibels) <= 6
        assert signal_of(path, gain=6.0, frontend_on="device", **MEL).mean().item() == pytest.approx(0.1)

    def test_levels(self):
        content = torch.tensor([1.0, 2.0, 3.0, 6.0])
        assert levelled(content, "as_is") is content
        assert levelled(content, "centre").tolist() == [-2, -1, 0, 3]
        assert levelled(content, "peak").tolist() == pytest.approx([-2 / 3, -1 / 3, 0, 1])
        assert levelled(torch.full((4,), 0.5), "peak").tolist() == [0, 0, 0, 0]

    def test_padding_is_silence_in_the_waveform_whatever_the_level(self, write_sound: WriteSound):
        path = write_sound("short.wav", values=np.full(50, 0.5), rate=RATE, subtype="FLOAT")
        for level in ("as_is", "centre", "peak"):
            assert not signal_of(path, level=level, frontend_on="device", **MEL)[0, 50:].any()
        spectrogram = signal_of(path, level="as_is", **MEL)
        assert spectrogram[0, :, -1].unique().tolist() == pytest.approx([math.log(2.0**-23)])

    def test_waveforms_are_standardised_clip_by_clip(self, ramp: str):
        views = signal_of(ramp, clips=2)
        assert views.shape == (2, 1, 100)
        assert views.mean(2).abs().max() < 1e-5
        assert views.std(2, correction=0).flatten().tolist() == pytest.approx([1, 1])

    def test_a_file_is_closed_when_its_signal_is_made(self, ramp: str):
        config = config_of()
        for train in (True, False):
            sound = audio.open(config, ramp).read(0)
            audio.transform(config, train)(sound, Generator())
            with pytest.raises(RuntimeError, match="closed"):
                sound.read(0, 1)
