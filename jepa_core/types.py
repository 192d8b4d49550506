"""Words of the field as plain types; standard library only."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

_PLAYED = tuple(mime.partition("/")[0] for mime in ("image/webp", "audio/wav", "video/webm"))


@dataclass(frozen=True)
class TokenGrid:
    """The N-dimensional lattice on which tokens live; tokens are its cells in row-major order.

    >>> TokenGrid(shape=(8, 14, 14), axes=("time", "height", "width")).num_tokens
    1568
    """

    shape: tuple[int, ...]
    """Cells per axis, each at least 1."""
    axes: tuple[str, ...]
    """One name per axis, for example ("height", "width")."""

    def __post_init__(self) -> None:
        """Refuse a grid without cells or with an unnamed axis (a plugin's bug, not a user's)."""
        if not self.shape or len(self.shape) != len(self.axes) or min(self.shape) < 1:
            raise ValueError(f"a token grid needs one positive extent and one name per axis, got {self}")

    @property
    def num_axes(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def num_tokens(self) -> int:
        """Number of cells, that is of tokens."""
        return math.prod(self.shape)

    def __str__(self) -> str:
        """For messages: "14 x 14 (height, width)"."""
        return f"{' x '.join(map(str, self.shape))} ({', '.join(self.axes)})"


@dataclass(frozen=True)
class Player:
    """A sample as a browser plays it: a moving picture, or something with a start button."""

    mime: str
    """MIME type of a picture, a sound or a film, such as "image/webp" or "audio/wav"."""
    content: bytes

    def __post_init__(self) -> None:
        """Refuse what no browser plays (a plugin's bug, not a user's)."""
        if self.kind not in _PLAYED or "/" not in self.mime or not self.content:
            raise ValueError(f"a player needs content of type {', '.join(_PLAYED)}, got {self.mime!r}")

    @property
    def kind(self) -> str:
        """The first part of the MIME type; for sounds and films this is also the name of their HTML element."""
        return self.mime.partition("/")[0]

    @property
    def is_picture(self) -> bool:
        """Whether it moves by itself, in place of a still picture."""
        return self.kind == _PLAYED[0]


@dataclass(frozen=True)
class TokenBudget:
    """How many tokens every sample has in one mask view, whatever the batch (promise 2)."""

    context: int
    """Context tokens per sample."""
    num_targets: int
    """Target blocks per sample, K."""
    target: int
    """Tokens in each target block, M."""


@dataclass(frozen=True)
class SampleKey:
    """Names one draw of one sample: all randomness that touches a sample is a function of (seed, epoch, index)."""

    epoch: int
    """How often the whole data set that the sample belongs to was passed before, from 0."""
    index: int
    """Position of the sample in its source."""
    progress: float = 0.0
    """Share of the run's steps that come before the one it is drawn for, in [0, 1]; 0 outside training. No random
    number depends on it, but what a masking strategy makes of them may."""


@dataclass(frozen=True)
class Portion:
    """One data set of a source: its samples follow those of the data set before it."""

    size: int
    """Samples, at least 1."""
    weight: float = 1.0
    """Share of a run's samples that are taken from it, relative to the weights of the others."""


@dataclass(frozen=True)
class Provenance:
    """Where a registered name comes from."""

    distribution: str
    """The distribution's name, or "(this process)" for one registered by a decorator."""
    version: str
    """The distribution's version, or "" where it has none."""
    target: str = field(default="")
    """What the entry point refers to, for example "jepa_core.builtin:vit"."""


@dataclass(frozen=True)
class Finding:
    """One line of `jepa doctor`."""

    what: str
    """What was looked at, in a word or two."""
    state: Literal["ok", "warn", "fail"]
    """`fail`: something that every run needs does not work here."""
    detail: str
    """What was found, with numbers."""
    remedy: str = ""
    """The command or the step that mends it; empty where nothing is wrong."""
