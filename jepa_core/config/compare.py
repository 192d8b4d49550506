"""Where two configurations differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jepa_core.config.base import Frozen, Section
from jepa_core.config.text import inline


@dataclass(frozen=True)
class Change:
    """One place that differs."""

    path: str
    """Dotted."""
    old: Any
    """Plain values; None where there was nothing."""
    new: Any

    def __str__(self) -> str:
        """For people: "predictor.depth: 6 -> 2"; a section of another name is said whole."""
        if isinstance(self.new, Mapping) and "name" in self.new:
            return f"{self.path}: {inline(self.new)}"
        return f"{self.path}: {inline(self.old)} -> {inline(self.new)}"


def changes(old: Mapping[str, Any], new: Mapping[str, Any], path: str = "") -> Iterator[Change]:
    """The dotted paths at which two dumped configurations differ, in the order of the first."""
    for key in dict.fromkeys([*old, *new]):
        before, after, here = old.get(key), new.get(key), f"{path}{key}"
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from changes(before, after, f"{here}.")
        elif before != after:
            yield Change(here, before, after)


def choices(old: Frozen, new: Frozen, path: str = "") -> Iterator[Change]:
    """As `changes`, but a section of another name is one change, with what it states besides its defaults.

    >>> from jepa_core.config.tree import PredictorConfig
    >>> [str(change) for change in choices(PredictorConfig(), PredictorConfig(depth=2))]
    ['depth: 6 -> 2']
    """
    for key in type(old).model_fields:
        before, after, here = getattr(old, key), getattr(new, key), f"{path}{key}"
        if before == after:
            continue
        if isinstance(before, Section) and isinstance(after, Section) and before.name != after.name:
            yield Change(here, _stated(before), _stated(after))
        elif isinstance(before, Frozen) and type(before) is type(after):
            yield from choices(before, after, f"{here}.")
        else:
            yield Change(here, _plain(old)[key], _plain(new)[key])


def _stated(section: Section) -> dict[str, Any]:
    """Its name, and what is not its default; sections inside it alike."""
    plain, stated = _plain(section), {"name": section.name}
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        if key != "name" and value != field.get_default(call_default_factory=True):
            stated[key] = _stated(value) if isinstance(value, Section) else plain[key]
    return stated


def _plain(config: Frozen) -> dict[str, Any]:
    return config.model_dump(mode="json")
