"""The objective `angle`: its options. It imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from jepa_core.builtin import ObjectiveConfig
from jepa_core.plugin import ObjectivePlugin


class AngleConfig(ObjectiveConfig):
    """One minus the cosine between predicted and target tokens: their lengths do not matter (BYOL, 2006.07733)."""

    name: Literal["angle"] = "angle"
    """The registered name."""
    eps: float = Field(default=1e-6, gt=0)
    """Smallest length that a token is divided by."""


angle = ObjectivePlugin(
    "angle",
    AngleConfig,
    "jepa_series.angle:Angle",
    "one minus the cosine",
    api_version=1,
)
