"""Types and checks of fields that sections of several modalities share, and a base of such sections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from jepa_core.config.base import Section


def _both_sides(value: Any) -> Any:
    """28 means (28, 28)."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value, value)
    return tuple(value) if isinstance(value, list) else value


def _ascending(ends: tuple[float, float]) -> tuple[float, float]:
    if not 0 < ends[0] <= ends[1]:
        raise PydanticCustomError("range", "must be [low, high] with 0 < low <= high")
    return ends


def _ascending_shares(ends: tuple[float, float]) -> tuple[float, float]:
    if not 0 < ends[0] <= ends[1] <= 1:
        raise PydanticCustomError("range", "must be [low, high] with 0 < low <= high <= 1")
    return ends


_Length = Annotated[int, Field(ge=1)]
Sides = Annotated[tuple[_Length, _Length], BeforeValidator(_both_sides, json_schema_input_type=int | tuple[int, int])]
"""(height, width); one number means both."""
Range = Annotated[tuple[float, float], AfterValidator(_ascending)]
"""(low, high) of a draw, above 0."""
ShareRange = Annotated[tuple[float, float], AfterValidator(_ascending_shares)]
"""(low, high) of a draw, above 0 and at most 1."""

_Aspect = Annotated[float, Field(ge=0.1, le=10)]
AspectRange = Annotated[tuple[_Aspect, _Aspect], AfterValidator(_ascending)]
"""(low, high) of a draw of height over width, between 1/10 and 10."""
Tokens = Annotated[int, Field(ge=1)]
"""A number of tokens that must not be none."""
Auto = Literal["auto"]
"""What stands for a number that follows from the others."""


class SplitConfig(Section):
    """What strategies have in common that hide a fixed number of tokens; study budgets may thin out both sides."""

    context_tokens: Tokens | Auto = "auto"
    """Context tokens per sample, a random subset of those that are not hidden. `auto`: all of them."""
    target_tokens: Tokens | Auto = "auto"
    """Predicted tokens per sample, a random subset of those that are hidden. `auto`: all of them."""


def require_multiples(axes: Sequence[str], sizes: Sequence[int], patches: Sequence[int]) -> None:
    """Raise an error of validation where a size does not divide by its patch; it says which sizes do."""
    for axis, size, patch in zip(axes, sizes, patches, strict=True):
        if size % patch:
            allowed = [length for length in (size - size % patch, size + patch - size % patch) if length]
            raise PydanticCustomError(
                "patch",
                "size: the {axis} {size} does not divide by the patch's {patch}; the nearest that does: {allowed}",
                {"axis": axis, "size": size, "patch": patch, "allowed": " or ".join(map(str, allowed))},
            )


def require_statistics(value: tuple[float, ...], field: str, channels: int) -> tuple[float, ...]:
    """`value` itself; raises an error of validation unless it has one number per channel or one for all.

    Deviations (`field` is "std") must be above 0.
    """
    if len(value) not in {1, channels}:
        raise PydanticCustomError(
            "statistics",
            "{field} must hold one number per channel ({channels}) or one for all: `jepa stats CONFIG` measures them",
            {"field": field, "channels": channels},
        )
    if field == "std" and min(value) <= 0:
        raise PydanticCustomError("statistics", "must be above 0")
    return value
