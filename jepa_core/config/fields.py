"""Types and checks of fields that sections of several modalities share, and a base of such sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo
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


Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation, each one number per channel or one for all."""


def complete_statistics(
    value: tuple[float, ...],
    info: ValidationInfo,
    builtin: Mapping[str, Statistics],
    usual: Mapping[int, Statistics],
) -> tuple[float, ...]:
    """For the validator of `mean` and `std`: the numbers that () stands for, so that a checkpoint holds them.

    Args:
        value: of the field.
        info: of its validator; `channels` and `builtin` are fields before it.
        builtin: statistics of built-in data, by name.
        usual: those of other data, by number of channels.

    Raises an error of validation unless there is one number per channel or one for all, of deviations above 0.
    """
    if "channels" not in info.data or "builtin" not in info.data:
        return value  # those fields have their own errors
    channels, is_std = info.data["channels"], info.field_name == "std"
    if not value:
        known = builtin.get(info.data["builtin"] or "") or usual.get(channels)
        value = known[is_std] if known else value
    if len(value) not in {1, channels}:
        raise PydanticCustomError(
            "statistics",
            "{field} must hold one number per channel ({channels}) or one for all: `jepa stats CONFIG` measures them",
            {"field": info.field_name, "channels": channels},
        )
    if is_std and min(value) <= 0:
        raise PydanticCustomError("statistics", "must be above 0")
    return value
