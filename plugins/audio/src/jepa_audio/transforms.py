"""From an opened file to a signal: a random clip for training, evenly spaced clips for evaluation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from jepa_audio.decoding import Sound
from jepa_audio.frontend import standardise
from jepa_core.errors import UnreadableSample

Level = Literal["as_is", "centre", "peak"]


@dataclass(frozen=True)
class Clip:
    """How long a clip is, where it comes from, and what becomes of a file that is too short for it."""

    samples: int
    """At the rate of the sounds."""
    short: Literal["pad", "loop", "skip"]
    """Silence after the end, start again, or raise UnreadableSample."""

    def take(self, sound: Sound, position: float) -> Float[Tensor, "content"]:
        """Samples of the clip, or all of a file that is shorter.

        Args:
            sound: the file.
            position: in [0, 1], where among the places where a clip fits: 0 is the earliest, 1 the latest.

        Raises:
            UnreadableSample: as `Sound.read`, and for a short file under `skip`.
        """
        room = self._room(sound)
        start = min(int(position * (room + 1)), room) if room > 0 else 0
        return sound.read(start, min(self.samples, sound.num_samples))

    def take_cyclic(self, sound: Sound, position: float) -> Float[Tensor, "content"]:
        """As `take`, of a file whose end goes over into its beginning: any sample may be the first, as `position` says.

        So the end of a file is as often in the middle of a clip as any other part (A-JEPA's cyclic crops, as we read
        them).
        """
        self._room(sound)
        start = min(int(position * sound.num_samples), sound.num_samples - 1)
        count = min(self.samples, sound.num_samples)
        before = min(count, sound.num_samples - start)
        parts = [sound.read(start, before)]
        if before < count:
            parts.append(sound.read(0, count - before))
        return torch.cat(parts)

    def _room(self, sound: Sound) -> int:
        room = sound.num_samples - self.samples
        if room < 0 and self.short == "skip":
            has, needs = sound.num_samples / sound.rate, self.samples / sound.rate
            reason = f"lasts {has:.2f} s, a clip needs {needs:.2f}; modality.short=pad or loop reads it"
            raise UnreadableSample(sound.path, reason)
        return room

    def fill(self, content: Float[Tensor, "content"]) -> Float[Tensor, "samples"]:
        """As many samples as a clip has."""
        if len(content) == self.samples:
            return content
        if self.short == "loop":
            return content.repeat(-(-self.samples // len(content)))[: self.samples]
        return F.pad(content, (0, self.samples - len(content)))


@dataclass(frozen=True)
class Finish:
    """What both transforms end with."""

    clip: Clip
    level: Level
    """See `levelled`."""
    front_end: nn.Module | None
    """From samples (batch, samples) to a normalised spectrogram; None gives waveforms."""
    standardised: bool
    """Whether waveforms get mean 0 and deviation 1."""

    @torch.no_grad()
    def __call__(self, content: Float[Tensor, "content"], gain: float = 1.0) -> Float[Tensor, "1 *axes"]:
        """(1, mels, frames) or (1, samples)."""
        samples = self.clip.fill(levelled(content, self.level) * gain)
        if self.front_end is not None:
            return self.front_end(samples[None])
        return (standardise(samples) if self.standardised else samples)[None]


def levelled(content: Float[Tensor, "content"], level: Level) -> Float[Tensor, "content"]:
    """The samples as they are; around 0; or around 0 and at most 1, where silence stays silence."""
    if level == "as_is":
        return content
    content = content - content.mean()
    if level == "centre":
        return content
    return content / content.abs().max().clamp(min=torch.finfo(torch.float32).tiny)


@dataclass(frozen=True)
class TrainingTransform:
    """A random clip at a random loudness."""

    finish: Finish
    gain: float
    """Decibels, up or down."""
    cyclic: bool

    def __call__(self, raw: Sound, generator: Generator) -> Float[Tensor, "1 *axes"]:
        """Decodes the clip and closes the file; all draws come from `generator`, in one call.

        Raises:
            UnreadableSample: as `Clip.take`.
        """
        position, loudness = torch.rand(2, generator=generator).tolist()
        clip = self.finish.clip
        with raw as sound:
            content = clip.take_cyclic(sound, position) if self.cyclic else clip.take(sound, position)
        return self.finish(content, math.pow(10.0, self.gain * (2 * loudness - 1) / 20))


@dataclass(frozen=True)
class EvaluationTransform:
    """Evenly spaced clips, or the one in the middle or at the start; draws nothing."""

    finish: Finish
    clips: int
    crop: Literal["centre", "start"]
    """Which clip, where it is only one."""

    def __call__(self, raw: Sound, generator: Generator) -> Float[Tensor, "*views 1 *axes"]:
        """One signal, or (clips, *signal); raises as the training transform does."""
        first = self.clips == 1 and self.crop == "start"
        positions = [0.0] if first else [(number + 0.5) / self.clips for number in range(self.clips)]
        with raw as sound:
            views = [self.finish(self.finish.clip.take(sound, position)) for position in positions]
        return torch.stack(views) if self.clips > 1 else views[0]
