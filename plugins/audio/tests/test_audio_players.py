from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from jepa_audio.config import AudioConfig
from jepa_audio.decoding import Sound, open_sound
from jepa_audio.players import wav
from jepa_audio.plugin import audio
from jepa_core.errors import UnreadableSample

WriteSound = Callable[..., str]
PLENTY = 1_000_000
PCM_STEP = 2 / 32767


def section(**values: Any) -> AudioConfig:
    return AudioConfig.model_validate({"seconds": 0.4, "mels": 16, "patch": (8, 10), "mean": -7.0, "std": 4.0} | values)


def opened(path: str, config: AudioConfig) -> Sound:
    return open_sound(path, rate=config.sample_rate)


def played(config: AudioConfig, path: str, max_bytes: int = PLENTY) -> tuple[np.ndarray, int]:
    """What a browser hears, and its rate."""
    player = audio.player(config, opened(path, config), max_bytes)
    assert player.mime == "audio/wav"
    assert len(player.content) <= max_bytes
    assert soundfile.info(io.BytesIO(player.content)).subtype == "PCM_16"
    samples, rate = soundfile.read(io.BytesIO(player.content))
    return samples, rate


@pytest.mark.parametrize("values", [{}, {"crop": "start"}, {"clips": 3}, {"level": "peak"}], ids=str)
def test_what_plays_is_the_first_clip_that_evaluation_sees_at_the_loudness_of_the_file(
    write_sound: WriteSound, values: dict[str, Any]
):
    path = write_sound("long.wav", seconds=2.0)
    as_waveform = section(frontend="waveform", mean=None, std=None, **values)
    seen = audio.transform(as_waveform, train=False)(opened(path, as_waveform), torch.Generator()).flatten()
    samples, rate = played(as_waveform, path)
    assert rate == 16_000
    assert len(samples) == as_waveform.clip_samples
    seen = seen[: len(samples)].numpy()
    assert np.corrcoef(samples, seen)[0, 1] > 0.9999  # the encoder sees it standardised
    whole = soundfile.read(path)[0]
    start = np.abs(np.lib.stride_tricks.sliding_window_view(whole, 50) - samples[:50]).max(1).argmin()
    assert np.abs(whole[start : start + len(samples)] - samples).max() < PCM_STEP


def test_a_file_that_is_shorter_than_a_clip_is_filled_up_as_the_encoder_sees_it(write_sound: WriteSound):
    path = write_sound("short.wav", seconds=0.1)
    samples, _ = played(section(), path)
    assert len(samples) == section().clip_samples
    assert np.abs(samples[:1600]).max() > 0.1
    assert not samples[1600:].any()
    with pytest.raises(UnreadableSample, match="a clip needs"):
        played(section(short="skip"), path)


@pytest.mark.parametrize(
    ("max_bytes", "rate", "seconds"),
    [(200_000, 32_000, 3.0), (100_000, 16_000, 3.0), (50_000, 8000, 3.0), (16_044, 8000, 1.0)],
)
def test_what_does_not_fit_is_made_coarser_and_then_shorter(
    write_sound: WriteSound, max_bytes: int, rate: int, seconds: float
):
    path = write_sound("tone.wav", values=np.sin(np.arange(96_000) / 32_000 * 2 * np.pi * 440) / 2, rate=32_000)
    config = section(seconds=3.0, sample_rate=32_000)
    samples, played_rate = played(config, path, max_bytes)
    assert played_rate == rate
    assert len(samples) / rate == pytest.approx(seconds, abs=0.1)
    tone = np.sin(np.arange(len(samples)) / rate * 2 * np.pi * 440) / 2
    assert np.abs(samples - tone)[100:-2000].max() < 0.01


def test_what_is_louder_than_full_scale_is_made_quieter_and_silence_stays_silence():
    loud = torch.tensor([0.0, 2.0, -4.0, 1.0])
    heard = soundfile.read(io.BytesIO(wav(loud, 8000)))[0]
    assert heard == pytest.approx([0, 0.5, -1, 0.25], abs=2 * PCM_STEP)
    assert not soundfile.read(io.BytesIO(wav(torch.zeros(9), 8000)))[0].any()


def test_frequencies_run_upwards_in_reports():
    assert set(audio.upward) == {audio.grid(section()).axes[0]}
