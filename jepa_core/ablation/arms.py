"""The arms of a study: those that have names, and those that axes make."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jepa_core.ablation.study import LONGEST_NAME, StudyConfig, is_name
from jepa_core.config.loading import expand
from jepa_core.config.problems import did_you_mean
from jepa_core.config.text import inline

_UNSAFE = re.compile(r"[^A-Za-z0-9._=+,-]+")


@dataclass(frozen=True)
class Arm:
    """One choice, as every base spells it."""

    name: str
    layers: Mapping[str, Sequence[Mapping[str, Any]] | None]
    """Nested values over a base's configuration, each layer over those before it, by the base's name; None where the
    arm does not exist."""


def arms_of(config: StudyConfig) -> tuple[tuple[Arm, ...], list[str]]:
    """The arms in the order of tables, and what is wrong with them, each problem with its dotted path."""
    named = [_named_arm(name, config) for name in config.arms]
    made, problems = _arms_of_axes(config)
    arms = (*named, *made)
    if not problems:
        problems += _no_reference(config.reference, [arm.name for arm in arms])
    problems += [*_doubles(arms), *_no_bases(config)]
    return arms, problems


def _named_arm(name: str, config: StudyConfig) -> Arm:
    arm = config.arms[name]
    own = {base: arm.bases.get(base, {}) for base in config.bases}
    return Arm(name, {base: None if values is None else (arm.set, values) for base, values in own.items()})


def _arms_of_axes(config: StudyConfig) -> tuple[list[Arm], list[str]]:
    if not config.axes:
        return [], []
    lengths = {key: len(values) for key, values in config.axes.items()}
    if config.combine == "zip" and len(set(lengths.values())) > 1:
        counted = ", ".join(f"{key} has {length}" for key, length in lengths.items())
        return [], [f"axes: `combine: zip` takes lists of one length, and {counted}."]
    lists = config.axes.values()
    combined = itertools.product(*lists) if config.combine == "grid" else zip(*lists, strict=True)
    short, arms, problems = _short(list(config.axes)), list[Arm](), list[str]()
    for values in combined:
        name = ",".join(f"{key}={_word(value)}" for key, value in zip(short, values, strict=True))
        if not is_name(name):
            problems.append(
                f"axes: '{name[:LONGEST_NAME]}' is no name: it is too long, or ends in a dot. Spell such arms under "
                "`arms`, with names."
            )
        over = expand(dict(zip(config.axes, values, strict=True)))
        arms.append(Arm(name, dict.fromkeys(config.bases, (over,))))
    return arms, problems


def _short(keys: Sequence[str]) -> list[str]:
    """The last parts of dotted keys, as many as tell them apart."""
    parts = [key.split(".") for key in keys]
    for count in itertools.count(1):
        short = [".".join(each[-count:]) for each in parts]
        if len(set(short)) == len(keys):
            return short
    raise AssertionError("dotted keys of a mapping differ")


def _word(value: Any) -> str:
    """A value as a part of a file's name: a section is its own name and what else it says."""
    if isinstance(value, Mapping):
        rest = [f"{key}={_word(each)}" for key, each in value.items() if key != "name"]
        return "+".join([str(value["name"])] * ("name" in value) + rest)
    if isinstance(value, list | tuple):
        return "-".join(map(_word, value))
    return _UNSAFE.sub("_", value if isinstance(value, str) else inline(value))


def _doubles(arms: Sequence[Arm]) -> Iterator[str]:
    """Names that are one folder, on file systems that do not tell capitals apart."""
    first: dict[str, str] = {}
    for arm in arms:
        other = first.setdefault(arm.name.casefold(), arm.name)
        if other is not arm.name:
            same = f"'{arm.name}'" if other == arm.name else f"'{other}' and '{arm.name}'"
            yield f"arms: two arms are called {same}. Names differ in more than capitals; give them under `arms`."


def _no_reference(reference: str, arms: Sequence[str]) -> Iterator[str]:
    if not arms:
        yield "arms: a study compares something: give `axes`, or named `arms`."
    elif reference and reference not in arms:
        hint = did_you_mean(reference, arms)
        yield f"reference: '{reference}' is no arm.{hint} Arms: {', '.join(arms)}."


def _no_bases(config: StudyConfig) -> Iterator[str]:
    """Names of bases that there are not."""
    places: dict[str, Mapping[str, Any]] = {f"arms.{name}.bases": arm.bases for name, arm in config.arms.items()}
    places["evaluation.primary"] = config.evaluation.primary
    for place, named in places.items():
        for base in named:
            if base not in config.bases:
                hint = did_you_mean(base, config.bases)
                yield f"{place}.{base}: there is no such base.{hint} Bases: {', '.join(config.bases)}."
