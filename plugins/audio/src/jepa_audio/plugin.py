"""What jepa-audio registers. Importing this module imports no torch, NumPy or decoder: methods import their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from jepa_audio.config import AudioConfig
from jepa_audio.presets import DEFAULTS, PRESETS
from jepa_core.config import Section
from jepa_core.plugin import Modality, Source, Split, Transform
from jepa_core.types import Finding, Player, TokenGrid

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from jepa_audio.decoding import Sound


class AudioModality(Modality):
    """Clips of sounds as a grid of patches of their spectrograms, or as a line of patches of their samples."""

    name: ClassVar[str] = "audio"
    summary: ClassVar[str] = "clips of sound files as log-mel spectrograms or waveforms (A-JEPA, M2D, EAT)"
    Config: ClassVar[type[Section]] = AudioConfig
    defaults: ClassVar[Mapping[str, Any]] = DEFAULTS
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    # Statistics are those of spectrograms, so these must be the signals that are measured.
    unnormalised: ClassVar[Mapping[str, Any]] = {"mean": 0.0, "std": 1.0, "divisor": 1.0, "frontend_on": "worker"}
    upward: ClassVar[Sequence[str]] = ("frequency",)

    def grid(self, config: AudioConfig) -> TokenGrid:
        """One token per patch, for example 5 x 13; row 0 holds the lowest frequencies."""
        axes = ("time",) if config.frontend == "waveform" else ("frequency", "time")
        return TokenGrid(config.grid_shape, axes)

    def signal_shape(self, config: AudioConfig) -> tuple[int, ...]:
        """(1, mels, frames), or (1, samples)."""
        if config.frontend == "waveform" or config.on_device:
            return (1, config.clip_samples)
        return (1, config.mels, config.frames)

    def views(self, config: AudioConfig) -> int:
        """Evaluation looks at this many clips of each file."""
        return config.clips

    def source(self, config: AudioConfig, split: Split) -> Source:
        """Files as `split_source` finds them, or the built-in syllables."""
        from jepa_audio.decoding import SOUNDS
        from jepa_core.sources import remembered, split_source

        if config.builtin:
            from jepa_audio import builtin

            return builtin.source(split == "probe_test", remembered(_reader(config), config.keep_gib))
        return split_source(config, split, SOUNDS, _reader(config))

    def open(self, config: AudioConfig, path: str) -> Source:
        """A folder, a manifest or one sound file."""
        from jepa_audio.decoding import SOUNDS
        from jepa_core.sources import open_path

        return open_path(path, SOUNDS, _reader(config), config.labels)

    def suffixes(self) -> Sequence[str]:
        """Of sound files."""
        from jepa_audio.decoding import SOUNDS

        return SOUNDS.suffixes

    def transform(self, config: AudioConfig, train: bool) -> Transform:
        """A random clip at a random loudness; or evenly spaced clips as they are."""
        from jepa_audio.frontend import Spectrogram
        from jepa_audio.transforms import Clip, EvaluationTransform, Finish, TrainingTransform

        waveform = config.frontend == "waveform"
        front_end = None if waveform or config.on_device else Spectrogram(config)
        finish = Finish(Clip(config.clip_samples, config.short), config.level, front_end, standardised=waveform)
        if train:
            return TrainingTransform(finish, config.gain, config.cyclic)
        return EvaluationTransform(finish, config.clips, config.crop)

    def tokenizer(self, config: AudioConfig, width: int) -> nn.Module:
        """Patches and one matrix product; the front end before it where `frontend_on` says so."""
        from jepa_audio.tokens import SpectrogramTokenizer
        from jepa_core.nn.patches import PatchTokenizer

        if config.on_device:
            return SpectrogramTokenizer(config, width)
        return PatchTokenizer(1, (config.patch_samples,) if config.frontend == "waveform" else config.patch, width)

    def baseline(self, config: AudioConfig, signal: Tensor) -> Tensor:
        """(B, mels): the log-mel spectrogram's mean over time, also of waveforms."""
        from jepa_audio.frontend import spectrogram_of

        return spectrogram_of(config, signal).mean((1, 3))

    def picture(self, config: AudioConfig, signal: Tensor) -> np.ndarray:
        """The spectrogram, time to the right and frequency downwards as on the grid; or the waveform's outline."""
        from jepa_audio.frontend import spectrogram_of
        from jepa_audio.pictures import draw_spectrogram, draw_waveform

        if config.frontend == "waveform":
            return draw_waveform(signal[0].detach().float().cpu().numpy(), config.grid_shape[0])
        return draw_spectrogram(spectrogram_of(config, signal[None])[0, 0].detach().float().cpu().numpy())

    def player(self, config: AudioConfig, raw: Sound, max_bytes: int) -> Player:
        """The clip as a WAV file."""
        from jepa_audio.players import play

        return play(config, raw, max_bytes)

    def demo(self) -> str:
        """`jepa demo audio`."""
        from importlib import resources

        return resources.files("jepa_audio").joinpath("demo.yaml").read_text(encoding="utf-8")

    def doctor(self) -> Sequence[Finding]:
        """Which formats decode here, and why others do not."""
        from jepa_audio.doctor import findings

        return tuple(findings())


def _reader(config: AudioConfig) -> Callable[[str], Sound]:
    """What opens a file."""
    from jepa_audio.decoding import open_sound

    return partial(open_sound, rate=config.sample_rate)


audio = AudioModality()

__all__ = ["AudioModality", "audio"]
