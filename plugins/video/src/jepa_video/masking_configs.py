"""The masking strategies that jepa-video registers: their sections of the configuration; no torch.

They need an axis named time, not a video: all but `multiblock3d` serve any grid that has one, such as frequency x time.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from jepa_core.config.base import Frozen, Section
from jepa_core.config.fields import AspectRange, Auto, ShareRange, SplitConfig, Tokens
from jepa_core.plugin import Masking


class MultiBlockView(Frozen):
    """One mask view: several blocks of one size, which is drawn for every sample."""

    num_blocks: int = Field(ge=1, le=100)
    """Blocks per sample; they may overlap, and their union is what is hidden."""
    spatial_scale: ShareRange
    """Share of the plane (height x width) that a block covers: the range of a uniform draw."""
    aspect: AspectRange = (0.75, 1.5)
    """Height over width of a block: the range of a uniform draw, independent of its scale."""
    temporal_scale: ShareRange = (1.0, 1.0)
    """Share of the time steps that a block lasts: the range of a uniform draw."""
    max_temporal_keep: float = Field(default=1.0, gt=0, le=1)
    """Context comes from this first share of the time steps (rounded down, one at least); all later tokens count as
    hidden: "causal multi-block"."""
    context_tokens: Tokens | Auto = "auto"
    """Context tokens per sample. `auto`: as many as 95 % of the layouts leave; the others are redrawn."""
    target_tokens: Tokens | Auto = "auto"
    """Predicted tokens per sample. `auto`: as many as 95 % of the layouts with that context hide."""


SHORT_RANGE = MultiBlockView(num_blocks=8, spatial_scale=(0.15, 0.15))
"""V-JEPA's short-range masks (section 3.2 and table 8)."""
LONG_RANGE = MultiBlockView(num_blocks=2, spatial_scale=(0.7, 0.7))
"""V-JEPA's long-range masks."""


class MultiBlock3dConfig(Section):
    """Blocks through time are predicted, as one target, from what lies outside of them (V-JEPA, section 3.2)."""

    name: Literal["multiblock3d"] = "multiblock3d"
    """The registered name."""
    preset: Literal["paper", "official"] = "paper"
    """`paper`: every view of every sample has its own size of blocks, and token budgets fix the lengths. `official`:
    what the public code does (docs/masking.md), for parity only: masks depend on the batch, late steps are cut off."""
    views: tuple[MultiBlockView, ...] = Field(default=(SHORT_RANGE, LONG_RANGE), min_length=1)
    """Mask views, each with draws of its own; a step predicts under all of them."""
    full_complement: bool = False
    """Predict everything that is not context, so that no token is left out (an option of V-JEPA 2's code)."""
    inverse: bool = False
    """Swap the two: the blocks are the context, and what lies outside of them is predicted."""
    equal_length: Literal["auto", "budget", "legacy_prefix"] = "auto"
    """How samples get the same number of tokens. `budget`: random subsets. `legacy_prefix`: the first ones in row-major
    order, as many as the smallest sample of the batch has, so the last time steps go; for parity only. `auto`:
    `budget`, and `legacy_prefix` with `official`."""

    @property
    def is_legacy(self) -> bool:
        """Whether equal length comes from the prefix rule."""
        return self.equal_length == "legacy_prefix" or self.preset == "official"

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.preset == "official" and self.equal_length == "budget":
            raise PydanticCustomError("official", "the preset official has no budget; use the preset paper")
        targets = {view.target_tokens for view in self.views}
        if self.is_legacy and {view.context_tokens for view in self.views} | targets != {"auto"}:
            raise PydanticCustomError(
                "legacy_prefix", "legacy_prefix takes no budgets; remove context_tokens and target_tokens"
            )
        if self.full_complement and targets != {"auto"}:
            raise PydanticCustomError(
                "full_complement", "full_complement predicts all that is not context; remove target_tokens"
            )
        return self


class TubeConfig(SplitConfig):
    """Places are hidden at random, each through all time (random tubes: V-JEPA, table 4; VideoMAE)."""

    name: Literal["tube"] = "tube"
    """The registered name."""
    ratio: float = Field(default=0.9, gt=0, lt=1)
    """Share of the places that are hidden; rounded so that the context is never larger than what it leaves."""


class CausalConfig(SplitConfig):
    """The first time steps are the context, the later ones are predicted."""

    name: Literal["causal"] = "causal"
    """The registered name."""
    context_share: float = Field(default=0.5, gt=0, lt=1)
    """Share of the time steps that are context, rounded to whole steps."""


class FrameDropConfig(SplitConfig):
    """Whole time steps are hidden at random; the others are the context."""

    name: Literal["frame_drop"] = "frame_drop"
    """The registered name."""
    ratio: float = Field(default=0.5, gt=0, lt=1)
    """Share of the time steps that are hidden, rounded to whole steps."""


multiblock3d = Masking(
    "multiblock3d",
    MultiBlock3dConfig,
    "jepa_video.masking:multiblock3d",
    "blocks through time, several mask views",
    num_axes=(3,),
    needs_axes=("time",),
)
tube = Masking(
    "tube", TubeConfig, "jepa_video.masking_steps:Tube", "random places, hidden through all time", needs_axes=("time",)
)
causal = Masking(
    "causal",
    CausalConfig,
    "jepa_video.masking_steps:Causal",
    "the first time steps predict the later ones",
    needs_axes=("time",),
)
frame_drop = Masking(
    "frame_drop",
    FrameDropConfig,
    "jepa_video.masking_steps:FrameDrop",
    "whole time steps, hidden at random",
    needs_axes=("time",),
)
