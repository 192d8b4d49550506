"""The two classes that every configuration derives from, and how one layer of values covers another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


def merge(below: Any, above: Any) -> Any:
    """The values of `above` where it has some, else those of `below`, key by key through nested mappings.

    Two rules make it fit configurations. A mapping whose `name` differs from the one below starts afresh, because
    options belong to the name. A mapping with only numbers for keys changes single entries of a sequence.

    >>> merge({"name": "a", "size": 1, "part": {"x": 1, "y": 2}}, {"part": {"y": 3}})
    {'name': 'a', 'size': 1, 'part': {'x': 1, 'y': 3}}
    >>> merge({"name": "a", "size": 1}, {"name": "b"})
    {'name': 'b'}
    >>> merge([{"k": 1}, {"k": 2}], {"1": {"k": 3}})
    ({'k': 1}, {'k': 3})
    """
    if not isinstance(above, Mapping):
        return above
    if isinstance(below, list | tuple) and above and all(_is_position(key, len(below)) for key in above):
        return tuple(merge(entry, above[str(i)]) if str(i) in above else entry for i, entry in enumerate(below))
    if not isinstance(below, Mapping) or below.get("name", above.get("name")) != above.get("name", below.get("name")):
        return dict(above)
    return {**below, **{key: merge(below.get(key), value) for key, value in above.items()}}


def _is_position(key: Any, length: int) -> bool:
    return isinstance(key, str) and key.isdecimal() and int(key) < length


class Frozen(BaseModel):
    """A strict, immutable piece of configuration: unknown keys and wrong types are errors.

    The string under a field is its description; it reaches `jepa config show` and the JSON schema.
    Sequences are tuples, paths are strings: a file holds nothing else.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _complete_parts(cls, data: Any) -> Any:
        """Lay a part of a section over the default of its own field, which may differ from its class's defaults.

        Without it `optim: {lr: {value: 3e-4}}` would turn the default cosine into a constant.
        """
        if not isinstance(data, dict):
            return data
        parts = {key: field.default for key, field in cls.model_fields.items() if isinstance(data.get(key), dict)}
        return {**data, **{key: merge(_plain(default), data[key]) for key, default in parts.items()}}


def _plain(value: Any) -> Any:
    """Parts as mappings, also those in a sequence, so that `merge` can see into them."""
    if isinstance(value, Frozen):
        return value.model_dump()
    return tuple(map(_plain, value)) if isinstance(value, tuple) else value


class Section(Frozen):
    """A part of the configuration that a registered name owns; the name's plugin supplies the subclass."""

    name: str
    """The registered name; `jepa plugins list` prints what is installed."""
