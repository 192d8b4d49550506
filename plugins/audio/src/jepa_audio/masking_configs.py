"""The masking strategies that jepa-audio registers: their sections of the configuration; no torch.

They need no spectrogram: `time` and `frequency` serve every grid with an axis of that name, `time_frequency` and
`inverse_block` every grid of two axes, `curriculum` what the two strategies in it serve.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from jepa_core.config.base import Section
from jepa_core.config.fields import AspectRange, Auto, ShareRange, Sides, SplitConfig, Tokens
from jepa_core.config.tree import MaskingSection
from jepa_core.plugin import Masking


class SpanConfig(SplitConfig):
    """What `time` and `frequency` have in common."""

    ratio: float = Field(default=0.6, gt=0, lt=1)
    """Share that is hidden, rounded to whole ones; .6 leaves as much context as `random` does."""
    span: int = Field(default=4, ge=1)
    """How many neighbours are hidden together, but for one shorter remainder; 1 hides each on its own, at random. Spans
    may touch, and one that reaches the end goes on at the start, so that no place is hidden more often than others."""


class TimeConfig(SpanConfig):
    """Time steps are hidden at all frequencies, in spans or at random; the others are the context."""

    name: Literal["time"] = "time"
    """The registered name."""


class FrequencyConfig(SpanConfig):
    """Frequency bands are hidden at all times, in spans or at random; the others are the context."""

    name: Literal["frequency"] = "frequency"
    """The registered name."""


class TimeFrequencyConfig(Section):
    """Small target blocks; the context shares neither a time step nor a band with any of them (A-JEPA's hard masks)."""

    name: Literal["time_frequency"] = "time_frequency"
    """The registered name."""
    num_blocks: int = Field(default=3, ge=1, le=100)
    """Target blocks per sample; they may overlap."""
    scale: ShareRange = (0.05, 0.075)
    """Share of the grid that a target block covers: the range of a uniform draw."""
    aspect: AspectRange | Auto = "auto"
    """Rows over columns of a target block, in cells: the range of a uniform draw, independent of its scale. `auto`: .75
    to 1.5 times the grid's own, so that a block covers about the same share of both axes, however unlike they are."""
    context_scale: ShareRange = (0.85, 1.0)
    """Share of the grid that the context block covers before the blocks' rows and columns are taken out."""
    context_tokens: Tokens | Auto = "auto"
    """Context tokens per sample. `auto`: as many as 95 % of the layouts with a context leave; others are redrawn."""
    target_tokens: Tokens | Auto = "auto"
    """Predicted tokens per target block. `auto`: as many as the smallest block has."""


class InverseBlockConfig(SplitConfig):
    """A few blocks are the context, and all the rest is predicted (data2vec 2.0; EAT)."""

    name: Literal["inverse_block"] = "inverse_block"
    """The registered name."""
    ratio: float = Field(default=0.8, gt=0, lt=1)
    """Share of the grid that is hidden."""
    block: Sides = (5, 5)
    """Rows and columns of a block, in cells. Blocks are laid until the rest of the share is full; they may overlap, and
    one that reaches an end of an axis goes on at the other, so that no place is seen more often than others."""


class CurriculumConfig(Section):
    """Each sample's masks come from one of two strategies: from the hard one with a chance that grows (A-JEPA)."""

    name: Literal["curriculum"] = "curriculum"
    """The registered name."""
    easy: MaskingSection = Field(default={"name": "multiblock"})  # pyright: ignore[reportAssignmentType]  (is validated)
    """A masking section: the strategy that training begins with (A-JEPA: random blocks, jepa-image's `multiblock`)."""
    hard: MaskingSection = TimeFrequencyConfig()
    """A masking section: the strategy that training ends with."""
    schedule: Literal["a_jepa", "competence", "linear"] = "a_jepa"
    """The chance f of the hard strategy at a share s of training; c is `start`. `a_jepa`: sqrt(s (1 - c^2)) + c^2, as
    A-JEPA prints it. `competence`: sqrt(s (1 - c^2) + c^2), the form that it follows (Platanios et al., 2019).
    `linear`: s (1 - c) + c."""
    start: float = Field(default=0.01, ge=0, lt=1)
    """c of the schedule: the chance at the start (`a_jepa`: its square root)."""


time = Masking(
    "time", TimeConfig, "jepa_audio.masking_spans:time", "whole time steps, in spans or at random", needs_axes=("time",)
)
frequency = Masking(
    "frequency",
    FrequencyConfig,
    "jepa_audio.masking_spans:frequency",
    "whole frequency bands, in spans or at random",
    needs_axes=("frequency",),
)
time_frequency = Masking(
    "time_frequency",
    TimeFrequencyConfig,
    "jepa_audio.masking:TimeFrequency",
    "target blocks, whose rows and columns leave the context",
    num_axes=(2,),
)
inverse_block = Masking(
    "inverse_block",
    InverseBlockConfig,
    "jepa_audio.masking:InverseBlock",
    "a few blocks are the context, the rest is predicted",
    num_axes=(2,),
)
curriculum = Masking(
    "curriculum",
    CurriculumConfig,
    "jepa_audio.masking_curriculum:Curriculum",
    "two strategies, mixed by the progress of training",
)
