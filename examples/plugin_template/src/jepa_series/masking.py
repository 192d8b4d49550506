"""The masking strategy `noise`: its options and the grids that it serves. No torch or NumPy here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from jepa_core.config.fields import SplitConfig
from jepa_core.plugin import Masking


class NoiseConfig(SplitConfig):
    """Hides the cells where a smooth random field is highest (such fields make the masks of ColorMAE, 2407.13036)."""

    name: Literal["noise"] = "noise"
    """The registered name."""
    ratio: float = Field(default=0.6, gt=0, lt=1)
    """Share of the grid that is hidden."""
    smoothness: float = Field(default=0.1, ge=0, le=0.25)
    """How far neighbours are alike, as a share of each axis: 0 hides single cells, 0.25 about one blob."""


noise = Masking(
    "noise",
    NoiseConfig,
    "jepa_series.noise:NoiseMasking",
    "hides where a smooth field is high, any grid",
    api_version=1,
)
