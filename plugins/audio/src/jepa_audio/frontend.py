"""From waveforms to log-mel spectrograms, in batches and on any device; nothing here is trained or saved."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Literal

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio.compliance.kaldi import get_mel_banks

from jepa_audio.config import AudioConfig

WINDOWS: dict[str, Callable[[int, bool], Tensor]] = {
    "hann": torch.hann_window,
    "hamming": torch.hamming_window,
    "povey": lambda length, periodic: torch.hann_window(length, periodic).pow(0.85),
    "rectangular": lambda length, _: torch.ones(length),
}
"""By name: from a length, and whether it is periodic, to (length,)."""


def mel_filters(config: AudioConfig) -> Float[Tensor, "mels frequencies"]:
    """Triangles between equidistant points of the mel scale: torchaudio's `melscale_fbanks`, transposed.

    In fp32 as there. That one looks at its values, which a plan, on tensors without any, cannot.
    """
    htk = config.mel_scale == "htk"
    to_mel, to_hz = (_hz_to_htk, _htk_to_hz) if htk else (_hz_to_slaney, _slaney_to_hz)
    points = to_hz(torch.linspace(to_mel(config.f_min), to_mel(config.highest), config.mels + 2))[:, None]
    left, centre, right = points[:-2], points[1:-1], points[2:]
    frequencies = torch.linspace(0, config.sample_rate / 2, config.fft_samples // 2 + 1)
    rising, falling = (frequencies - left) / (centre - left), (right - frequencies) / (right - centre)
    height = 2 / (right - left) if config.mel_norm == "slaney" else 1.0
    return torch.minimum(rising, falling).clamp(min=0) * height


def _hz_to_htk(frequency: float) -> float:
    return 2595 * math.log10(1 + frequency / 700)


def _htk_to_hz(mels: Float[Tensor, "points"]) -> Float[Tensor, "points"]:
    return 700 * (10 ** (mels / 2595) - 1)


# Slaney's Auditory Toolbox: linear up to 1 kHz, which is 15 mel, and 27 mel for a factor of 6.4 from there on.
_STEP = math.log(6.4) / 27


def _hz_to_slaney(frequency: float) -> float:
    return frequency * 3 / 200 if frequency < 1000 else 15 + math.log(frequency / 1000) / _STEP


def _slaney_to_hz(mels: Float[Tensor, "points"]) -> Float[Tensor, "points"]:
    return torch.where(mels < 15, 200 / 3 * mels, 1000 * torch.exp(_STEP * (mels - 15)))


def powers(spectrum: Complex[Tensor, "*shape"], power: Literal[1, 2]) -> Float[Tensor, "*shape"]:
    """Magnitudes, or their squares without a root in between."""
    return spectrum.abs() if power == 1 else spectrum.real.square() + spectrum.imag.square()


class LogMel(nn.Module):
    """As torchaudio's MelSpectrogram (its defaults, reflected ends), with `floor` added before the logarithm.

    Its last frame, centred on the sample after the clip, is left out.
    """

    window: Tensor
    filters: Tensor
    power: Literal[1, 2]

    def __init__(self, config: AudioConfig) -> None:
        """The parameters are the section's."""
        super().__init__()
        self.hop, self.n_fft, self.power, self.floor = (
            config.hop_samples,
            config.fft_samples,
            config.power,
            config.floor,
        )
        self.register_buffer("window", WINDOWS[config.window_shape](config.window_samples, True), persistent=False)
        self.register_buffer("filters", mel_filters(config), persistent=False)

    def forward(self, samples: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch mels frames"]:
        """Natural logarithms; one frame per `hop` samples."""
        spectrum = torch.stft(
            samples, self.n_fft, self.hop, len(self.window), self.window, center=True, return_complex=True
        )
        return (self.filters @ powers(spectrum[..., :-1], self.power) + self.floor).log()


class KaldiFbank(nn.Module):
    """As Kaldi's compute-fbank-feats with whole frames only (`snip_edges`), no dither and no energy.

    The same values as torchaudio.compliance.kaldi.fbank, for whole batches, and with its filters made once.
    """

    window: Tensor
    filters: Tensor
    power: Literal[1, 2]

    def __init__(self, config: AudioConfig) -> None:
        """The parameters are the section's."""
        super().__init__()
        self.hop, self.n_fft, self.power, self.floor = (
            config.hop_samples,
            config.fft_samples,
            config.power,
            config.floor,
        )
        self.preemphasis, self.remove_dc = config.preemphasis, config.remove_dc
        self.register_buffer("window", WINDOWS[config.window_shape](config.window_samples, False), persistent=False)
        # Without vocal tract length normalisation; the band of half the sample rate is in no filter.
        filters, _ = get_mel_banks(
            config.mels, self.n_fft, config.sample_rate, config.f_min, config.highest, 100.0, -500.0, 1.0
        )
        self.register_buffer("filters", F.pad(filters, (0, 1)), persistent=False)

    def forward(self, samples: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch mels frames"]:
        """Natural logarithms; as many frames as fit."""
        frames = samples.unfold(-1, len(self.window), self.hop)
        # Frame by frame and in torchaudio's roundings, although both steps are linear: in bands near the floor, another
        # order (a fused subtraction is enough) shows by 1e-3.
        if self.remove_dc:
            frames = frames - frames.mean(-1, keepdim=True)
        if self.preemphasis:
            rest = frames[..., 1:] - self.preemphasis * frames[..., :-1]
            frames = torch.cat([(1 - self.preemphasis) * frames[..., :1], rest], dim=-1)
        spectrum = powers(torch.fft.rfft(frames * self.window, n=self.n_fft), self.power)
        return (self.filters @ spectrum.transpose(-1, -2)).clamp(min=self.floor).log()


class Spectrogram(nn.Module):
    """The front end of a configuration, normalised: (value - mean) / (divisor * std); always in fp32."""

    def __init__(self, config: AudioConfig) -> None:
        """Statistics that are not set leave the values as they are; training refuses to begin then."""
        super().__init__()
        self.values = KaldiFbank(config) if config.frontend == "kaldi" else LogMel(config)
        self.mean = 0.0 if config.mean is None else config.mean
        self.scale = config.divisor * (1.0 if config.std is None else config.std)

    def forward(self, samples: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch mels frames"]:
        """Low frequencies first."""
        # A plan runs on the device "meta", which has no autocast to switch off.
        with nullcontext() if samples.is_meta else torch.autocast(samples.device.type, enabled=False):
            return (self.values(samples.float()) - self.mean) / self.scale


def spectrogram_of(config: AudioConfig, signal: Float[Tensor, "batch 1 *axes"]) -> Float[Tensor, "batch 1 mels frames"]:
    """The spectrograms of signals: themselves, or made of them where they are waveforms."""
    if signal.ndim == 4:
        return signal
    made_as = config.model_copy(update={"frontend": "mel"}) if config.frontend == "waveform" else config
    return Spectrogram(made_as).to(signal.device)(signal[:, 0])[:, None]


def standardise(samples: Float[Tensor, "samples"]) -> Float[Tensor, "samples"]:
    """Mean 0 and deviation 1, as WavJEPA's instance norm; silence stays silence."""
    centred = samples - samples.mean()
    return centred / max(math.sqrt(float(centred.square().mean())), 1e-5)
