"""The JSON schema of a configuration: as a whole for editors, and place by place for sentences and comments."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from jepa_core.config.base import Section
from jepa_core.config.tree import PLACEHOLDER, RunConfig
from jepa_core.errors import PluginError

SectionClass = Callable[[str, str], type[Section]]
Node = Mapping[str, Any]


def file_schema(sections: Mapping[str, Sequence[type[Section]]]) -> dict[str, Any]:
    """JSON schema of a configuration file; `sections` holds, by kind, the classes that a section may be of.

    Only `modality` is required, and nothing inside the core's own sections: the modality's defaults complete them.
    """
    classes = [cls for kind in sections.values() for cls in kind]
    references, whole = models_json_schema([(cls, "validation") for cls in [RunConfig, *classes]])
    options = {
        kind: {"anyOf": [references[cls, "validation"] for cls in each], "discriminator": {"propertyName": "name"}}
        for kind, each in sections.items()
    }
    owned = {references[cls, "validation"]["$ref"].rpartition("/")[2] for cls in classes}
    definitions = whole["$defs"]
    for name, definition in definitions.items():
        if name not in owned:
            definition.pop("required", None)
    run = definitions.pop(references[RunConfig, "validation"]["$ref"].rpartition("/")[2])
    return _filled({**run, "required": ["modality"], "$defs": definitions}, options)


def _filled(node: Any, options: Mapping[str, Node]) -> Any:
    """A copy in which every placeholder gave way to the classes of its kind."""
    if isinstance(node, dict):
        kind = node.get(PLACEHOLDER)
        own = {key: _filled(value, options) for key, value in node.items() if key != PLACEHOLDER}
        return {**own, **options[kind]} if kind else own
    return [_filled(each, options) for each in node] if isinstance(node, list) else node


@cache
def _schema(model: type[BaseModel]) -> Node:
    return model.model_json_schema()


@dataclass(frozen=True)
class Place:
    """What a schema says of one place in a configuration, and the value that is found there."""

    node: Node
    definitions: Mapping[str, Node]
    section_class: SectionClass
    value: Any

    @classmethod
    def of(cls, model: type[BaseModel], section_class: SectionClass, value: Any) -> Place:
        """The place of a whole model."""
        schema = _schema(model)
        return cls(schema, schema.get("$defs", {}), section_class, value)

    def options(self) -> tuple[Place, ...]:
        """The alternatives with references followed: a section of the name in its value is that plugin's class."""
        if PLACEHOLDER in self.node:
            section = self._section()
            return Place.of(section, self.section_class, self.value).options() if section else (self,)
        if "$ref" in self.node:
            return replace(self, node=self.definitions[self.node["$ref"].rpartition("/")[2]]).options()
        if "anyOf" in self.node:
            return tuple(option for each in self.node["anyOf"] for option in replace(self, node=each).options())
        return (self,)

    def _section(self) -> type[Section] | None:
        # A section inside another one may leave its name to the default.
        given = {**self.node.get("default", {}), **self.value} if isinstance(self.value, dict) else {}
        name = given.get("name")
        try:
            return self.section_class(self.node[PLACEHOLDER], name) if isinstance(name, str) else None
        except PluginError:
            return None

    def at(self, key: str | int) -> Place | None:
        """The place below, or None where the schema has none of this key."""
        for option in self.options():
            node = option._below(key)
            if node is not None:
                return replace(option, node=node, value=inside(self.value, key))
        return None

    def _below(self, key: str | int) -> Node | None:
        if isinstance(key, str):
            others = self.node.get("additionalProperties")  # what a mapping holds whose keys are names
            return self.node.get("properties", {}).get(key) or (others if isinstance(others, dict) else None)
        fixed = self.node.get("prefixItems", ())
        return fixed[key] if key < len(fixed) else self.node.get("items")

    def keys(self) -> list[str]:
        """The keys that are allowed here."""
        return list(dict.fromkeys(key for option in self.options() for key in option.node.get("properties", ())))

    def description(self) -> str:
        """What the place is for."""
        return self.node.get("description") or next((each.node.get("description", "") for each in self.options()), "")

    def expected(self) -> str:
        """In words, what a value may be: "a whole number (at least 1), or null"."""
        words = list(dict.fromkeys(_words(option) for option in self.options()))
        return ", or ".join(sorted(words, key=lambda each: each == "null"))

    def paths(self, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
        """Every path of keys from here downwards."""
        for key in self.keys():
            yield (*before, key)
            if place := self.at(key):
                yield from place.paths((*before, key))


def inside(value: Any, key: str | int) -> Any:
    """The entry of a mapping or sequence, or None."""
    if isinstance(value, dict):
        return value.get(key)
    return value[key] if isinstance(value, tuple) and isinstance(key, int) and key < len(value) else None


_BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
_NOUNS = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "null": "null",
}


def _words(place: Place) -> str:
    """One alternative in words."""
    node = place.node
    if PLACEHOLDER in node:
        return "a section with a name, such as {name: ...} (installed names: jepa plugins list)"
    if "const" in node or "enum" in node:
        values = [json.dumps(each).replace('"', "'") for each in node.get("enum", [node.get("const")])]
        return values[0] if len(values) == 1 else f"one of {', '.join(values)}"
    if node.get("type") == "array":
        if "prefixItems" in node:
            entries = [replace(place, node=each).expected() for each in node["prefixItems"]]
            alike = f", each {entries[0]}" if len(set(entries)) == 1 else f": {'; '.join(entries)}"
            return f"a list of {len(entries)}{alike}"
        fewest = f" of at least {node['minItems']}" if "minItems" in node else ""
        return f"a list{fewest}, each entry {replace(place, node=node.get('items', {})).expected()}"
    if keys := place.keys():
        return f"a section with the keys {', '.join(keys)}"
    bounds = [f"{word} {node[key]}" for key, word in _BOUNDS.items() if key in node]
    noun = _NOUNS.get(node.get("type", ""), "a section" if node.get("type") == "object" else "anything")
    return noun + (f" ({' and '.join(bounds)})" if bounds else "")
