"""Sounds that a browser plays."""

from __future__ import annotations

import io
import wave

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torchaudio.functional import resample

from jepa_audio.config import AudioConfig
from jepa_audio.decoding import Sound
from jepa_audio.transforms import Clip, EvaluationTransform, Finish
from jepa_core.types import Player

COARSEST = 8000
"""Samples per second below which a clip is cut short instead: speech is still understood, as in a telephone."""
_HEADER = 44  # bytes of a WAV file before its samples
_FULL_SCALE = 32767


def play(config: AudioConfig, sound: Sound, max_bytes: int) -> Player:
    """The first clip that evaluation takes, at its own loudness, coarser or shorter where it does not fit.

    Raises:
        UnreadableSample: as `Clip.take`.
    """
    finish = Finish(Clip(config.clip_samples, config.short), "as_is", front_end=None, standardised=False)
    samples = EvaluationTransform(finish, config.clips, config.crop)(sound, Generator()).flatten()[
        : config.clip_samples
    ]
    rate, most = config.sample_rate, (max_bytes - _HEADER) // 2
    while len(samples) > most and rate // 2 >= COARSEST:
        samples, rate = resample(samples, 2, 1), rate // 2
    return Player("audio/wav", wav(samples[:most], rate))


def wav(samples: Float[Tensor, "samples"], rate: int) -> bytes:
    """A WAV file of 16-bit PCM; what is louder than full scale, 1, is made quieter as a whole."""
    scaled = samples / samples.abs().max().clamp(min=1.0) * _FULL_SCALE
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(scaled.round().to(torch.int16).numpy().astype("<i2").tobytes())
    return content.getvalue()
