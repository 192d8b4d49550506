"""From pydantic's errors to sentences that say what was given, what is allowed and what to do next."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from jepa_core.config.schema import Place, SectionClass, inside
from jepa_core.config.tree import RunConfig

_LONGEST_VALUE = 60
_MOST_PLACES = 3
# Errors that the schema explains: a wrong type, or a value out of range.
_EXPLAINED = {
    *(
        "section",
        "model_type",
        "tuple_type",
        "dict_type",
        "string_type",
        "bool_type",
        "is_instance_of",
        "none_required",
    ),
    *("int_type", "int_from_float", "int_parsing_size", "float_type", "finite_number", "literal_error"),
    *("greater_than", "greater_than_equal", "less_than", "less_than_equal", "too_short", "too_long"),
}


def problems_of(error: ValidationError, data: dict[str, Any], section_class: SectionClass) -> list[str]:
    """One sentence per problem of a run's configuration, each beginning with its dotted path.

    `data` is what was validated.
    """
    name = inside(inside(data, "modality"), "name")
    details = error.errors(include_url=False)
    unusable = {"missing", "plugin", "section"}
    modality_failed = any(each["loc"] == ("modality",) and each["type"] in unusable for each in details)
    if modality_failed:  # which would have brought the strategy
        details = [each for each in details if (each["type"], each["loc"]) != ("missing", ("masking",))]
    see = "jepa plugins list" if modality_failed else f"jepa config show {name}"
    return sentences_of(details, RunConfig, data, section_class, see)


def sentences_of(
    details: Iterable[ErrorDetails],
    model: type[BaseModel],
    data: dict[str, Any],
    section_class: SectionClass,
    see: str,
) -> list[str]:
    """One sentence per error of `data` as a `model`; each ends with the command that shows what is allowed."""
    root = Place.of(model, section_class, data)
    sentences: list[str] = []
    for each in details:
        path = _path(each, data)
        tail = "" if each["type"] == "plugin" else f" See: {see}"
        sentences.append(f"{dotted(path)}: {_sentence(each, path, root)}{tail}")
    return list(dict.fromkeys(sentences))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question that follows a full stop, or nothing where no known name is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean '{near[0]}'?" if near else ""


def dotted(path: Sequence[str | int]) -> str:
    """For messages: "optim.lr.value"; the whole file has no path of its own."""
    return ".".join(map(str, path)) or "the configuration"


def shown(value: Any) -> str:
    """A value for a message: in the notation of the file, cut where it is long."""
    text = f"'{value}'" if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 4]} ..."


def _path(error: ErrorDetails, data: Any) -> tuple[str | int, ...]:
    """The place in the file; pydantic also names the alternative of a union that it tried, which nobody wrote."""
    path: list[str | int] = []
    for part in error["loc"]:
        present = part in data if isinstance(data, dict) else isinstance(data, tuple) and isinstance(part, int)
        # A section that the file leaves to its default can name what is not installed.
        absent = error["type"] in {"missing", "plugin"} and part == error["loc"][-1]
        if present or absent:
            path.append(part)
            data = inside(data, part)
    about_name = error["type"] == "plugin" or (error["type"] == "section" and inside(data, "name") is not None)
    return (*path, "name") if about_name else tuple(path)


def _place(path: Sequence[str | int], root: Place) -> Place | None:
    place: Place | None = root
    for part in path:
        place = place.at(part) if place else None
    return place


def _sentence(error: ErrorDetails, path: tuple[str | int, ...], root: Place) -> str:
    place, kind = _place(path, root), error["type"]
    if kind == "extra_forbidden":
        return _unknown_key(str(path[-1]), path[:-1], root)
    if kind == "plugin":
        return error["msg"]
    if kind == "section" and path[-1] == "name":
        return f"expected text, an installed name; got {shown(error['input']['name'])}."
    if place and kind == "missing":
        return " ".join(f"is required: {place.expected()}. {place.description()}".split())
    if place and kind in _EXPLAINED:
        return f"expected {place.expected()}; got {shown(error['input'])}."
    message = error["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ").removesuffix(".")
    given = "" if isinstance(error["input"], dict) or " got " in message else f"; got {shown(error['input'])}"
    return f"{message}{given}."


def _unknown_key(key: str, parent: tuple[str | int, ...], root: Place) -> str:
    place = _place(parent, root)
    keys = place.keys() if place else []
    elsewhere = [dotted(path) for path in root.paths() if path[-1] == key]
    if elsewhere:
        return f"unknown key here. Did you mean {' or '.join(elsewhere[:_MOST_PLACES])}?"
    if near := did_you_mean(key, keys):
        return f"unknown key.{near}"
    return f"unknown key. Allowed: {', '.join(keys)}."
