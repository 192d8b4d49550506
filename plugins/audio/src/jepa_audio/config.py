"""The audio section of a configuration. Importing this module imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from jepa_core.config.fields import Sides
from jepa_core.config.files import FileSection

_TOLERANCE = 1e-6
"""Of a number of samples, so that 25 ms of 16 kHz is 400 of them whatever the floating point says."""


class AudioConfig(FileSection):
    """Clips of sound files as log-mel spectrograms (frequency x time), or as waveforms.

    A path is a folder of sound files (or of one folder per class), or a .csv or .parquet manifest with a header row and
    a column `path`, relative to the manifest; its other columns are labels. Every file is mixed down to one channel and
    resampled from the rate that it has to `sample_rate`. A silent file is read as silence.
    """

    name: Literal["audio"] = "audio"
    """The registered name."""
    builtin: Literal["mandarin-syllables"] | None = None
    """Data that comes with the package, with its own splits, in place of the three paths."""

    sample_rate: int = Field(default=16_000, ge=1000, le=384_000)
    """Samples per second that the encoder sees, whatever the files have."""
    seconds: float = Field(default=2.1, gt=0)
    """Length of a clip, trimmed to whole tokens: 2.1 s are 210 frames of 10 ms, of which patches of 16 keep 208. An
    encoder with computed positions (sincos, rope) takes other lengths than it was trained on."""
    short: Literal["pad", "loop", "skip"] = "pad"
    """A file shorter than a clip: silence after its end, start again, or count it as unreadable. The waveform is filled
    up, never the spectrogram."""
    crop: Literal["centre", "start"] = "centre"
    """Evaluation: which clip of a file; training takes a random one."""
    clips: int = Field(default=1, ge=1)
    """Evaluation: clips per file, evenly spaced over it (then `crop` means nothing); pooled features are their mean, an
    attentive probe sees the tokens of all."""
    gain: float = Field(default=0.0, ge=0, le=60)
    """Training: largest change of loudness, in decibels up or down (A-JEPA: 6)."""
    cyclic: bool = False
    """Training: a clip may start anywhere in the file, and goes on at the file's beginning when it reaches its end."""
    level: Literal["as_is", "centre", "peak"] = "as_is"
    """What is done to the samples of a clip: nothing; subtract their mean; or also divide by the largest."""

    frontend: Literal["mel", "kaldi", "waveform"] = "mel"
    """`mel`: torchaudio's MelSpectrogram, its frames centred on multiples of `hop`; `kaldi`: Kaldi's fbank, its frames
    beginning there, without dither; `waveform`: the samples themselves, each clip with mean 0 and deviation 1. The keys
    from here to `floor` are for spectrograms."""
    frontend_on: Literal["worker", "device"] = "worker"
    """Where spectrograms are computed: by the loader processes, or with the encoder, from waveforms. Same numbers."""
    mels: int = Field(default=80, ge=4)
    """Frequency bands, that is rows of a spectrogram. Where there are too many for the transform, the lowest hold none
    of its frequencies and are constant."""
    window: float = Field(default=25.0, gt=0)
    """Length of a frame, in milliseconds; a fraction of a sample is dropped."""
    hop: float = Field(default=10.0, gt=0)
    """Distance of frames, in milliseconds; a fraction of a sample is dropped."""
    n_fft: Annotated[int, Field(ge=2)] | None = None
    """`mel`: length of the Fourier transform in samples, at least the window's; null takes the window's. Kaldi takes
    the next power of 2."""
    window_shape: Literal["hann", "hamming", "povey", "rectangular"] = "hann"
    """How a frame fades in and out: periodic in `mel`, symmetric in `kaldi`, which alone has povey (hann, to the power
    of .85)."""
    power: Literal[1, 2] = 2
    """1 sums magnitudes in the bands, 2 their squares."""
    f_min: float = Field(default=50.0, ge=0)
    """Lower end of the lowest band, in Hz."""
    f_max: Annotated[float, Field(gt=0)] | None = None
    """Upper end of the highest band, in Hz; null is half of `sample_rate`."""
    mel_scale: Literal["slaney", "htk"] = "slaney"
    """Formula of the mel scale in `mel`; kaldi has HTK's."""
    mel_norm: Literal["slaney"] | None = "slaney"
    """`mel`: slaney gives every band the same area, null the same height, as kaldi does."""
    preemphasis: float = Field(default=0.97, ge=0, le=1)
    """`kaldi`: share of the sample before that is subtracted from each."""
    remove_dc: bool = True
    """`kaldi`: subtract the mean of each frame."""
    floor: float = Field(default=2.0**-23, gt=0)
    """Keeps the logarithm finite: `mel` adds it to the bands, `kaldi` raises them to it. 2^-23 is fp32's epsilon, as in
    Kaldi and M2D."""

    patch: Sides = (16, 16)
    """Rows and frames of a token; rows divide `mels`. One number means both."""
    patch_samples: int = Field(default=160, ge=1)
    """`waveform`: samples of a token; 160 of 16 kHz are 10 ms (WavJEPA's rate)."""

    mean: float | None = None
    """Subtracted from a spectrogram's values. `jepa stats CONFIG` measures it, with `std`; nothing trains without."""
    std: Annotated[float, Field(gt=0)] | None = None
    """Standard deviation of a spectrogram's values, which they are divided by."""
    divisor: float = Field(default=1.0, gt=0)
    """How many standard deviations the values are divided by: 1 (M2D, Sony), or 2 (AST, AudioMAE, EAT)."""

    @field_validator("mean", "std")
    @classmethod
    def _waveforms_need_none(cls, value: float | None, info: ValidationInfo) -> float | None:
        """The clips of `waveform` are standardised one by one."""
        if info.data.get("frontend") != "waveform":
            return value
        if value not in {None, 0.0, 1.0}:
            raise PydanticCustomError(
                "statistics", "frontend: waveform makes each clip's mean 0 and deviation 1: remove mean and std"
            )
        return float(info.field_name == "std")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.frontend != "waveform":
            self._check_bands()
            self._check_frames()
        least = self.patch_samples
        if self.frontend != "waveform":
            token = self.patch[1] * self.hop_samples
            # `mel` reflects half a transform at both ends of a clip, which must be longer than that.
            least = max(token, token * (self.fft_samples // (2 * token) + 1) if self.frontend == "mel" else 0)
        if round(self.seconds * self.sample_rate) < least:
            raise PydanticCustomError(
                "seconds",
                "seconds: {seconds} is too short for a token; at least {least}",
                {"seconds": self.seconds, "least": f"{least / self.sample_rate:.4g}"},
            )
        return self

    def _check_bands(self) -> None:
        if self.mels % self.patch[0]:
            below = self.mels - self.mels % self.patch[0]
            allowed = " or ".join(str(mels) for mels in (below, below + self.patch[0]) if mels)
            raise PydanticCustomError(
                "mels",
                "mels: {mels} does not divide by the patch's {patch}; the nearest that do: {allowed}",
                {"mels": self.mels, "patch": self.patch[0], "allowed": allowed},
            )
        if not self.f_min < self.highest <= self.sample_rate / 2:
            raise PydanticCustomError(
                "f_max",
                "f_min: {low} and f_max: {high} must be ascending and at most half of sample_rate, {half}",
                {"low": self.f_min, "high": self.highest, "half": self.sample_rate / 2},
            )

    def _check_frames(self) -> None:
        if self.hop_samples < 1 or self.window_samples < 2:
            raise PydanticCustomError(
                "window",
                "hop must last at least 1 sample and window 2, of {rate} per second",
                {"rate": self.sample_rate},
            )
        if self.frontend == "mel" and self.fft_samples < self.window_samples:
            raise PydanticCustomError(
                "n_fft", "n_fft must be at least the window's {window} samples", {"window": self.window_samples}
            )
        if self.frontend == "kaldi" and self.n_fft is not None:
            raise PydanticCustomError("n_fft", "frontend: kaldi takes the next power of 2: remove n_fft")
        if self.frontend == "mel" and self.window_shape == "povey":
            raise PydanticCustomError("window_shape", "window_shape: povey is kaldi's; frontend: mel has hann")

    def _whole(self, milliseconds: float) -> int:
        return int(self.sample_rate * milliseconds / 1000 + _TOLERANCE)

    @property
    def highest(self) -> float:
        """Upper end of the highest band, in Hz."""
        return self.f_max or self.sample_rate / 2

    @property
    def hop_samples(self) -> int:
        """Distance of frames."""
        return self._whole(self.hop)

    @property
    def window_samples(self) -> int:
        """Length of a frame."""
        return self._whole(self.window)

    @property
    def fft_samples(self) -> int:
        """Length of the Fourier transform."""
        return (
            1 << (self.window_samples - 1).bit_length()
            if self.frontend == "kaldi"
            else self.n_fft or self.window_samples
        )

    @property
    def frames(self) -> int:
        """Columns of a spectrogram, a multiple of the patch's."""
        return self.grid_shape[-1] * self.patch[1]

    @property
    def clip_samples(self) -> int:
        """Samples that a clip takes from a file: as many as its frames need, so that none of them is made up."""
        if self.frontend == "waveform":
            return self.grid_shape[0] * self.patch_samples
        last = self.hop_samples if self.frontend == "mel" else self.window_samples
        return (self.frames - 1) * self.hop_samples + last

    @property
    def grid_shape(self) -> tuple[int, ...]:
        """Tokens along frequency and time; along time alone for `waveform`."""
        samples = round(self.seconds * self.sample_rate)
        if self.frontend == "waveform":
            return (samples // self.patch_samples,)
        return (self.mels // self.patch[0], samples // self.hop_samples // self.patch[1])

    @property
    def on_device(self) -> bool:
        """Whether signals are waveforms that the tokenizer makes spectrograms of."""
        return self.frontend != "waveform" and self.frontend_on == "device"
