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
        """For people: "predictor.depth: 6 -> 2", "masking: block -> tube {ratio: 0.6}"."""
        return f"{self.path}: {_shown(self.old)} -> {_shown(self.new)}"


def changes(old: Mapping[str, Any], new: Mapping[str, Any], path: str = "") -> Iterator[Change]:
    """The dotted paths at which two dumped configurations differ, in the order of the first."""
    for key in dict.fromkeys([*old, *new]):
        before, after, here = old.get(key), new.get(key), f"{path}{key}"
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from changes(before, after, f"{here}.")
        elif before != after:
            yield Change(here, before, after)


def choices(old: Frozen, new: Frozen, path: str = "") -> Iterator[Change]:
    """As `changes`, but a section of another name is one change: its name, and what it states besides defaults.

    >>> from jepa_core.config.tree import PredictorConfig
    >>> [str(change) for change in choices(PredictorConfig(), PredictorConfig(depth=2))]
    ['depth: 6 -> 2']
    """
    for key in type(old).model_fields:
        yield from _choices(getattr(old, key), getattr(new, key), f"{path}{key}")


def _choices(old: Any, new: Any, path: str) -> Iterator[Change]:
    if old == new:
        return
    if _alike(old, new):
        yield from choices(old, new, f"{path}.")
    elif _is_pair_of_lists(old, new):
        for number, pair in enumerate(zip(old, new, strict=True)):
            yield from _choices(*pair, f"{path}.{number}")
    else:
        yield Change(path, _stated(old), _stated(new))


def _is_pair_of_lists(old: Any, new: Any) -> bool:
    """Whether both hold the same kinds of sections, one by one."""
    sequences = isinstance(old, tuple) and isinstance(new, tuple) and len(old) == len(new)
    return sequences and all(map(_alike, old, new))


def _alike(old: Any, new: Any) -> bool:
    """Whether both are the same kind of section."""
    return isinstance(old, Frozen) and type(old) is type(new) and getattr(old, "name", "") == getattr(new, "name", "")


def _stated(value: Any) -> Any:
    """Plain values; of sections what is not their default, and their names."""
    if isinstance(value, tuple):
        return [_stated(each) for each in value]
    if not isinstance(value, Frozen):
        return value
    fields = {key: field.get_default(call_default_factory=True) for key, field in type(value).model_fields.items()}
    named = {"name": value.name} if isinstance(value, Section) else {}
    return named | {key: _stated(getattr(value, key)) for key in fields if getattr(value, key) != fields[key]}


def _shown(value: Any) -> str:
    """In one line; a section begins with its name."""
    if not isinstance(value, Mapping) or "name" not in value:
        return inline(value)
    rest = {key: each for key, each in value.items() if key != "name"}
    return f"{value['name']} {inline(rest)}" if rest else str(value["name"])
