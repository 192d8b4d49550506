"""From waveforms to log-mel spectrograms, in batches and on any device; nothing here is trained or saved."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext

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


class Bands(nn.Module):
    """What both front ends consist of: a window, a Fourier transform and filters."""

    window: Tensor
    filters: Tensor

    def __init__(self, config: AudioConfig, filters: Float[Tensor, "mels frequencies"], periodic: bool) -> None:
        """The parameters are the section's; `periodic` is the window's kind."""
        super().__init__()
        self.config = config
        window = WINDOWS[config.window_shape](config.window_samples, periodic)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    def sums(self, spectrum: Complex[Tensor, "batch frequencies frames"]) -> Float[Tensor, "batch mels frames"]:
        """Magnitudes, or their squares, summed in every band."""
        powers = spectrum.abs() if self.config.power == 1 else spectrum.real.square() + spectrum.imag.square()
        return self.filters @ powers


class LogMel(Bands):
    """As torchaudio's MelSpectrogram (its defaults, reflected ends), with `floor` added before the logarithm.

    Its last frame, centred on the sample after the clip, is left out.
    """

    def __init__(self, config: AudioConfig) -> None:
        """See `Bands`."""
        super().__init__(config, mel_filters(config), periodic=True)

    def forward(self, samples: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch mels frames"]:
        """Natural logarithms; one frame per `hop` samples."""
        n_fft, hop = self.config.fft_samples, self.config.hop_samples
        spectrum = torch.stft(samples, n_fft, hop, len(self.window), self.window, center=True, return_complex=True)
        return (self.sums(spectrum[..., :-1]) + self.config.floor).log()


class KaldiFbank(Bands):
    """As Kaldi's compute-fbank-feats with whole frames only (`snip_edges`), no dither and no energy.

    The same values as torchaudio.compliance.kaldi.fbank, for whole batches, and with its filters made once.
    """

    def __init__(self, config: AudioConfig) -> None:
        """See `Bands`."""
        # Without vocal tract length normalisation; the band of half the sample rate is in no filter.
        filters, _ = get_mel_banks(
            config.mels, config.fft_samples, config.sample_rate, config.f_min, config.highest, 100.0, -500.0, 1.0
        )
        super().__init__(config, F.pad(filters, (0, 1)), periodic=False)

    def forward(self, samples: Float[Tensor, "batch samples"]) -> Float[Tensor, "batch mels frames"]:
        """Natural logarithms; as many frames as fit."""
        frames, share = samples.unfold(-1, len(self.window), self.config.hop_samples), self.config.preemphasis
        # Frame by frame and in torchaudio's roundings, although both steps are linear: in bands near the floor, another
        # order (a fused subtraction is enough) shows by 1e-3.
        if self.config.remove_dc:
            frames = frames - frames.mean(-1, keepdim=True)
        if share:
            frames = torch.cat([(1 - share) * frames[..., :1], frames[..., 1:] - share * frames[..., :-1]], dim=-1)
        spectrum = torch.fft.rfft(frames * self.window, n=self.config.fft_samples)
        return self.sums(spectrum.transpose(-1, -2)).clamp(min=self.config.floor).log()


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
