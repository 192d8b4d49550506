from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchaudio.compliance.kaldi import fbank
from torchaudio.transforms import MelSpectrogram

from jepa_audio.config import AudioConfig
from jepa_audio.frontend import KaldiFbank, LogMel, Spectrogram, standardise
from jepa_audio.plugin import audio
from jepa_audio.presets import PRESETS
from jepa_audio.tokens import SpectrogramTokenizer
from jepa_core.nn.patches import PatchTokenizer


def section(**values: Any) -> AudioConfig:
    return AudioConfig.model_validate(values)


def of_preset(name: str, **values: Any) -> AudioConfig:
    return section(**PRESETS[name].get("modality", {}) | values)


def waveform(config: AudioConfig, count: int = 1) -> Tensor:
    """Louder and quieter tones and noise, so that bands differ by several orders of magnitude."""
    time = np.arange(config.clip_samples) / config.sample_rate
    random = np.random.default_rng(0)
    rows = [
        0.3 * np.sin(2 * np.pi * (300 + 200 * row) * time * (1 + time / 10)) * np.exp(-time)
        + 0.01 * random.standard_normal(len(time)) * np.sin(5 * time) ** 2
        + 0.05
        for row in range(count)
    ]
    return torch.from_numpy(np.stack(rows)).float()


def torchaudio_mel(samples: Tensor, rate: int, **options: Any) -> Tensor:
    """(frames, mels)."""
    return (MelSpectrogram(rate, power=2.0, **options)(samples) + torch.finfo(torch.float32).eps).log().T


def torchaudio_kaldi(samples: Tensor, rate: int, **options: Any) -> Tensor:
    """(frames, mels)."""
    return fbank(samples[None], sample_frequency=float(rate), window_type="hanning", dither=0.0, **options)


SLANEY: dict[str, Any] = {
    "n_fft": 400,
    "hop_length": 160,
    "f_min": 50.0,
    "f_max": 8000.0,
    "n_mels": 80,
    "norm": "slaney",
    "mel_scale": "slaney",
}
KALDI: dict[str, Any] = {"num_mel_bins": 128, "htk_compat": True, "use_energy": False, "frame_shift": 10.0}
REFERENCES = {  # what the public code of each calls, in torchaudio's words
    "sony": (208, 80, lambda samples: torchaudio_mel(samples, 16_000, **SLANEY)),
    "m2d": (608, 80, lambda samples: torchaudio_mel(samples, 16_000, **SLANEY)),
    "ajepa": (1024, 128, lambda samples: torchaudio_kaldi(samples, 16_000, **KALDI)),
    "eat": (1024, 128, lambda samples: torchaudio_kaldi(samples, 16_000, **KALDI)),
    "audio-jepa": (
        512,
        96,
        lambda samples: torchaudio_kaldi(
            samples,
            32_000,
            num_mel_bins=96,
            frame_length=48.828125,
            frame_shift=19.53125,
            low_freq=20.0,
            high_freq=16e3,
        ),
    ),
}


class TestParity:
    @pytest.mark.parametrize("name", PRESETS)
    def test_a_presets_spectrogram_is_torchaudios(self, name: str):
        config = of_preset(name, mean=0.0, std=1.0, divisor=1.0)
        frames, mels, reference = REFERENCES[name]
        assert audio.signal_shape(config) == (1, mels, frames)
        samples = waveform(config)
        expected = reference(samples[0])[:frames].T
        ours = Spectrogram(config)(samples)[0]
        assert ours.shape == (mels, frames)
        assert (ours - expected).abs().max() < 1e-4

    @pytest.mark.parametrize(
        "values",
        [
            {"mel_scale": "htk", "mel_norm": None, "f_min": 0.0},
            {"n_fft": 1024, "window": 32.0, "hop": 12.5, "mels": 64, "power": 1, "window_shape": "hamming"},
            {"sample_rate": 44_100, "f_max": 12_000.0, "window_shape": "rectangular"},
        ],
    )
    def test_every_option_of_mel_is_torchaudios(self, values: dict[str, Any]):
        config = section(**values)
        windows = {"hann": torch.hann_window, "hamming": torch.hamming_window, "rectangular": torch.ones}
        module = MelSpectrogram(
            config.sample_rate,
            config.fft_samples,
            config.window_samples,
            config.hop_samples,
            config.f_min,
            config.f_max,
            n_mels=config.mels,
            window_fn=windows[config.window_shape],
            power=float(config.power),
            norm=config.mel_norm,
            mel_scale=config.mel_scale,
        )
        samples = waveform(config)
        expected = (module(samples) + config.floor).log()[..., : config.frames]
        assert (LogMel(config)(samples) - expected).abs().max() < 1e-4

    @pytest.mark.parametrize(
        "values",
        [
            {"window_shape": "povey", "preemphasis": 0.9, "f_max": 7000.0},
            {"window_shape": "hamming", "remove_dc": False, "power": 1},
            {"window_shape": "rectangular", "preemphasis": 0.0, "sample_rate": 11_025, "mels": 32, "window": 23.0},
        ],
    )
    def test_every_option_of_kaldi_is_torchaudios(self, values: dict[str, Any]):
        config = section(**{"frontend": "kaldi", **values})
        samples = waveform(config)
        expected = fbank(
            samples,
            sample_frequency=config.sample_rate,
            frame_length=config.window,
            frame_shift=config.hop,
            num_mel_bins=config.mels,
            low_freq=config.f_min,
            high_freq=config.f_max or 0.0,
            window_type=config.window_shape,
            preemphasis_coefficient=config.preemphasis,
            remove_dc_offset=config.remove_dc,
            use_power=config.power == 2,
        )
        ours = KaldiFbank(config)(samples)[0].T
        assert ours.shape == (config.frames, config.mels)
        assert (ours - expected).abs().max() < 1e-4

    def test_presets_differ_as_documented(self):
        configs = {name: of_preset(name) for name in PRESETS}
        assert {name: config.sample_rate for name, config in configs.items() if config.sample_rate != 16_000} == {
            "audio-jepa": 32_000
        }
        assert [config.mels for config in configs.values()] == [128, 96, 80, 128, 80]
        assert [config.divisor for config in configs.values()] == [1, 1, 1, 2, 1]
        assert [config.frontend for config in configs.values()] == ["kaldi", "kaldi", "mel", "kaldi", "mel"]
        statistics = {"mean": -5.0, "std": 4.0}
        ajepa, eat = (Spectrogram(of_preset(name, **statistics)) for name in ("ajepa", "eat"))
        samples = waveform(configs["eat"])
        assert torch.allclose(ajepa(samples), 2 * eat(samples))
        # The same waveform and band count, but other windows, filters and scales of frequency: more than a constant.
        kaldi, mel = (Spectrogram(section(frontend=name, f_min=50.0))(samples) for name in ("kaldi", "mel"))
        difference = (kaldi - mel[..., : kaldi.shape[-1]])[0]
        assert difference.std() > 0.5


class TestModules:
    @pytest.mark.parametrize("frontend", ["mel", "kaldi"])
    def test_a_batch_is_its_samples(self, frontend: str):
        config = section(frontend=frontend)
        module, samples = Spectrogram(config), waveform(config, 3)
        for row in range(3):
            assert torch.allclose(module(samples)[row], module(samples[row : row + 1])[0], atol=1e-5)

    @pytest.mark.parametrize("frontend", ["mel", "kaldi"])
    def test_silence_is_a_constant(self, frontend: str):
        config = section(frontend=frontend, mean=-7.0, std=4.0, divisor=2.0)
        values = Spectrogram(config)(torch.zeros(1, config.clip_samples))
        assert values.unique().tolist() == pytest.approx([(np.log(2.0**-23) + 7) / 8])

    def test_nothing_of_it_is_trained_or_saved(self):
        for frontend in ("mel", "kaldi"):
            module = Spectrogram(section(frontend=frontend))
            assert not module.state_dict()
            assert not list(module.parameters())

    def test_a_waveform_gets_mean_0_and_deviation_1_and_silence_stays(self):
        values = standardise(torch.randn(1000) * 0.01 + 0.3)
        assert values.mean().item() == pytest.approx(0, abs=1e-5)
        assert values.std(correction=0).item() == pytest.approx(1, abs=1e-3)
        assert not standardise(torch.full((1000,), 0.25)).any()


class TestOnDevice:
    @pytest.mark.parametrize("frontend", ["mel", "kaldi"])
    def test_its_tokens_are_those_of_spectrograms_made_by_workers(self, frontend: str):
        values = {"frontend": frontend, "seconds": 1.0, "mean": -6.0, "std": 3.0}
        there, here = (section(frontend_on=place, **values) for place in ("device", "worker"))
        assert audio.signal_shape(there) == (1, there.clip_samples)
        on_device, in_worker = audio.tokenizer(there, 24), audio.tokenizer(here, 24)
        assert isinstance(on_device, SpectrogramTokenizer)
        assert isinstance(in_worker, PatchTokenizer)
        on_device.load_state_dict(in_worker.state_dict())
        samples = waveform(there, 2)
        signal = Spectrogram(here)(samples)[:, None]
        keep = torch.tensor([[0, 7, 3], [29, 1, 1]])
        for kept in (None, keep):
            assert torch.allclose(on_device(samples[:, None], kept), in_worker(signal, kept), atol=1e-5)
        assert torch.allclose(audio.baseline(there, samples[:, None]), audio.baseline(here, signal), atol=1e-5)
        assert (audio.picture(there, samples[:1]) == audio.picture(here, signal[0])).all()

    def test_mixed_precision_does_not_reach_the_spectrogram(self):
        config = section(seconds=1.0)
        module, samples = Spectrogram(config), waveform(config)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(module(samples.bfloat16().float()), module(samples.bfloat16()))
            assert module(samples).dtype == torch.float32
