"""The masking strategies that jepa-image registers: their sections of the configuration; no torch.

They need a plane, not an image: any grid of two axes will do, such as frequency x time.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from jepa_core.config.base import Section
from jepa_core.config.fields import AspectRange, Auto, ShareRange, Tokens
from jepa_core.plugin import Masking


class MultiBlockConfig(Section):
    """Several target blocks, predicted from one large context block without them (I-JEPA, section 3)."""

    name: Literal["multiblock"] = "multiblock"
    """The registered name."""
    preset: Literal["paper", "article", "official"] = "paper"
    """`paper`: every block of every sample has its own size and place. `article`: the same; summaries of the paper
    repeat its block sampling. `official`: what the public code does (docs/masking.md), for parity only: its last row
    and column are never used, and masks depend on the batch."""
    num_targets: int = Field(default=4, ge=1, le=100)
    """Target blocks per sample."""
    target_scale: ShareRange = (0.15, 0.2)
    """Share of the grid that a target block covers: the range of a uniform draw."""
    target_aspect: AspectRange = (0.75, 1.5)
    """Height over width of a target block: the range of a uniform draw, independent of its scale."""
    context_scale: ShareRange = (0.85, 1.0)
    """Share of the grid that the context block covers before targets are taken out."""
    context_aspect: AspectRange = (1.0, 1.0)
    """Height over width of the context block."""
    disjoint_targets: bool = False
    """Target blocks of a sample share no token; otherwise they may overlap each other (paper)."""
    allow_overlap: bool = False
    """Leave the target blocks in the context: the answer becomes visible, which is of use for studies only."""
    context_tokens: Tokens | Auto = "auto"
    """Context tokens per sample. `auto`: as many as 95 % of the layouts leave; the others are redrawn."""
    target_tokens: Tokens | Auto = "auto"
    """Predicted tokens per target block. `auto`: as many as the smallest block has."""
    min_tokens: Tokens | Auto = "auto"
    """Fewest tokens of the context and of a target block; less is an error. `auto`: 1, and 11 with `official`."""
    equal_length: Literal["auto", "budget", "legacy_prefix"] = "auto"
    """How samples get the same number of tokens. `budget`: a random subset. `legacy_prefix`: the first ones in
    row-major order, as many as the smallest sample of the batch has, so the last rows go; for parity only. `auto`:
    `budget`, and `legacy_prefix` with `official`."""

    @property
    def is_legacy(self) -> bool:
        """Whether equal length comes from the prefix rule."""
        return self.equal_length == "legacy_prefix" or self.preset == "official"

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.preset == "official" and self.equal_length == "budget":
            raise PydanticCustomError("official", "the preset official has no budget; use the preset paper")
        if self.preset == "official" and self.disjoint_targets:
            raise PydanticCustomError("official", "the preset official has no disjoint targets; use the preset paper")
        if self.is_legacy and (self.context_tokens, self.target_tokens) != ("auto", "auto"):
            raise PydanticCustomError(
                "legacy_prefix", "legacy_prefix takes no budgets; remove context_tokens and target_tokens"
            )
        return self


class BlockConfig(Section):
    """One target block, predicted from all the rest (I-JEPA, table 6: "block")."""

    name: Literal["block"] = "block"
    """The registered name."""
    target_scale: ShareRange = (0.6, 0.6)
    """Share of the grid that the target block covers: the range of a uniform draw."""
    target_aspect: AspectRange = (0.75, 1.5)
    """Height over width of the target block: the range of a uniform draw, independent of its scale."""
    context_tokens: Tokens | Auto = "auto"
    """Context tokens per sample. `auto`: as many as 95 % of the layouts leave; the others are redrawn."""
    target_tokens: Tokens | Auto = "auto"
    """Predicted tokens. `auto`: as many as the smallest block has."""


class QuadrantConfig(Section):
    """One quadrant of the grid is the context, the other three are the targets (I-JEPA, table 6: "rasterized")."""

    name: Literal["quadrant"] = "quadrant"
    """The registered name."""


multiblock = Masking(
    "multiblock", MultiBlockConfig, "jepa_image.masking:multiblock", "several target blocks, one context", num_axes=(2,)
)
block = Masking(
    "block", BlockConfig, "jepa_image.masking:block", "one target block, the rest is context", num_axes=(2,)
)
quadrant = Masking(
    "quadrant", QuadrantConfig, "jepa_image.masking:Quadrant", "one quadrant predicts the others", num_axes=(2,)
)
