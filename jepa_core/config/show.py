"""A configuration as YAML with a comment over every field; what is printed can be read back."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from jepa_core.config.base import Frozen, Section
from jepa_core.config.schema import Place, SectionClass
from jepa_core.config.text import inline
from jepa_core.config.tree import RunConfig

_WIDTH = 110


def commented_yaml(config: RunConfig, section_class: SectionClass) -> str:
    """The whole configuration; a comment says what a field means and, in brackets, which values are allowed."""
    root = Place.of(RunConfig, section_class, config.model_dump())
    return "\n".join(_model(config, root, "")) + "\n"


def example(place: Place) -> Any:
    """The simplest value that a place accepts, to stand where a value is required and only the user knows it."""
    option = place.options()[0]
    node = option.node
    if "const" in node or "enum" in node:
        return node.get("const", node.get("enum", [None])[0])
    match node.get("type"):
        case "string":
            return "CHANGE-ME"
        case "integer" | "number":
            return node.get("minimum", node.get("maximum", node.get("exclusiveMinimum", 0) + 1))
        case "boolean":
            return False
        case "array":
            return tuple(example(below) for key in range(node.get("minItems", 0)) if (below := option.at(key)))
        case "object":
            return {key: example(below) for key in node.get("required", ()) if (below := option.at(key))}
        case _:
            return None


def _model(model: Frozen, place: Place, indent: str) -> Iterator[str]:
    plain = model.model_dump(mode="json")
    for number, key in enumerate(type(model).model_fields):
        value, below = getattr(model, key), place.at(key)
        assert below is not None, key
        if not indent and number:
            yield ""
        if isinstance(value, Frozen):
            yield from _comment(below.description(), indent)
            yield from _section_comment(value, indent)
            yield f"{indent}{key}:"
            yield from _model(value, below, indent + "  ")
        elif isinstance(value, tuple) and value and all(isinstance(each, Frozen) for each in value):
            yield from _comment(below.description(), indent)
            yield f"{indent}{key}:"
            for position, each in enumerate(value):
                yield from _entry(each, below.at(position), indent + "  ")
        else:
            if not (isinstance(model, Section) and key == "name"):
                yield from _comment(f"{below.description()} [{below.expected()}]", indent)
            yield f"{indent}{key}: {inline(plain[key])}"


def _entry(model: Frozen, place: Place | None, indent: str) -> Iterator[str]:
    """One entry of a sequence: a dash before its first key."""
    assert place is not None
    yield from _section_comment(model, indent)
    lines = list(_model(model, place, indent + "  "))
    first = next(number for number, line in enumerate(lines) if not line.lstrip().startswith("#"))
    lines[first] = f"{indent}- {lines[first].lstrip()}"
    yield from lines


def _section_comment(value: Frozen, indent: str) -> Iterator[str]:
    if isinstance(value, Section) and (meaning := type(value).__doc__):
        summary, _, _ = meaning.partition("\n\n")
        yield from _comment(f"{value.name}: {summary}", indent)


def _comment(text: str, indent: str) -> Iterator[str]:
    for line in textwrap.wrap(" ".join(text.split()), _WIDTH - len(indent) - 2, break_on_hyphens=False):
        yield f"{indent}# {line}"
