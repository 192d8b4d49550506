"""Sections with one option changed: what a user may ask of a plugin besides its defaults."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from jepa_core.config import Section
from jepa_core.registry import section_class

_FACTORS = (0.2, 4)
_ENDS = (0.03, 0.97)
"""Of a share, which factors would carry beyond 1."""


def variants(section: Section) -> Iterator[tuple[str, Section]]:
    """The section with one option other than it is, and which one: "ratio=0.97".

    Numbers, pairs of numbers and switches are changed, far down and far up; values that the section itself refuses
    are left out.
    """
    values = section.model_dump()
    for key, value in values.items():
        for other in _others(value):
            try:
                changed = type(section).model_validate({**values, key: other}, context={"section_class": section_class})
            except ValidationError:
                continue
            yield f"{key}={other}", changed


def _others(value: object) -> list[object]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [
            other for other in dict.fromkeys(max(1, round(value * factor)) for factor in _FACTORS) if other != value
        ]
    if isinstance(value, float):
        return list(_ENDS) if 0 < value < 1 else [value * factor for factor in _FACTORS]
    if isinstance(value, tuple) and value and all(isinstance(each, float) for each in value):
        return [tuple(min(1.0, each * factor) if each <= 1 else each * factor for each in value) for factor in _FACTORS]
    return []
