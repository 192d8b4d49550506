"""Sections with one option changed: what a user may ask of a plugin besides its defaults."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError

from jepa_core.config import Section
from jepa_core.registry import section_class

_FACTORS = (0.2, 4)
_ENDS = (0.03, 0.97)
"""Of a share, which factors would carry beyond 1."""


def variants(section: Section) -> Iterator[tuple[str, Section]]:
    """The section with one option other than it is, and which one: "ratio=0.97".

    Changed are numbers and tuples of numbers, far down and far up; switches; choices (every other member of a
    `Literal`); and what may be None, to None. Left as they are: text, nested sections, tuples of anything else, and
    whatever is None now but for its choices. Values that the section itself refuses are left out.
    """
    values = section.model_dump()
    for key, value in values.items():
        for other in [*_others(value), *_choices(type(section).model_fields[key].annotation, value)]:
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


def _choices(annotation: Any, value: object) -> list[object]:
    """The members of literals in an annotation, and None where it has it, but for the value itself."""
    if get_origin(annotation) is Literal:
        return [each for each in get_args(annotation) if each != value]
    if get_origin(annotation) in (Union, UnionType):
        return [each for part in get_args(annotation) for each in _choices(part, value)]
    return [None] if annotation is type(None) and value is not None else []
