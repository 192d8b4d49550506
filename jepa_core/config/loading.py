"""From a file and overrides to a configuration: layers of values, then one validation that reports every problem."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from jepa_core.config.base import merge
from jepa_core.config.problems import did_you_mean, problems_of
from jepa_core.config.schema import SectionClass, inside
from jepa_core.config.text import parse, parse_mapping, read_text
from jepa_core.config.tree import RunConfig
from jepa_core.errors import ConfigError, PluginError
from jepa_core.plugin import Modality


def read(
    path: str | Path | None,
    overrides: Sequence[str],
    text: str | None,
    layers: Sequence[Mapping[str, Any]] = (),
    *,
    section_class: SectionClass,
    modality: Callable[[str], Modality],
) -> RunConfig:
    """See `jepa_core.recipes.read_config`, which supplies the last two from the registry."""
    where = "" if path is None else str(path)
    if text is None and path is not None:
        text = read_text(path)
    file = {} if text is None else parse_mapping(text, where or "the configuration")
    data, problems = complete([file, *layers, parse_overrides(overrides)], modality)
    try:
        config = RunConfig.model_validate(data, context={"section_class": section_class})
    except ValidationError as error:
        raise ConfigError([*problems, *problems_of(error, data, section_class)], where) from _cause(error)
    if problems:
        raise ConfigError(problems, where)
    return config


def complete(
    given: Sequence[Mapping[str, Any]], modality: Callable[[str], Modality]
) -> tuple[dict[str, Any], list[str]]:
    """The given layers over the modality's preset, its defaults and the tree's own; and problems of the preset.

    A section that names another plugin than the layers below it starts afresh (`jepa_core.config.base.merge`).
    """
    wanted = reduce(merge, given)
    preset = wanted.get("preset")
    plugin = _modality(inside(wanted.get("modality"), "name"), modality)
    below: list[Mapping[str, Any]] = [_named_by_default()]
    problems: list[str] = []
    if plugin:
        below.append(plugin.defaults)
        if isinstance(preset, str) and preset in plugin.presets:
            below.append(plugin.presets[preset])
        elif isinstance(preset, str):
            problems.append(_unknown_preset(preset, plugin))
    return _plain(reduce(merge, [*below, *given])), problems


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """One layer from `a.b=c` texts, later ones winning; a value is YAML, and a number in a path is a position."""
    layer: dict[str, Any] = {}
    problems: list[str] = []
    for override in overrides:
        path, separator, text = override.partition("=")
        keys = path.strip().split(".")
        if not separator or not all(keys):
            problems.append(f"--set '{override}': expected KEY.KEY=VALUE, such as optim.lr.value=3e-4.")
            continue
        try:
            value = parse(text)
        except ValueError as error:
            problems.append(f"--set '{override}': the value is not valid YAML: {error}. Quotes make it text.")
            continue
        layer = merge(layer, expand({path.strip(): value}))
    if problems:
        raise ConfigError(problems)
    return layer


def expand(values: Mapping[str, Any]) -> dict[str, Any]:
    """One layer from values over dotted keys, later ones winning.

    >>> expand({"masking.ratio": 0.7, "train": {"steps": 10}, "train.batch_size": 2})
    {'masking': {'ratio': 0.7}, 'train': {'steps': 10, 'batch_size': 2}}
    """
    layer: dict[str, Any] = {}
    for path, value in values.items():
        layer = merge(layer, reduce(lambda inner, key: {key: inner}, reversed(path.split(".")), value))
    return layer


def _named_by_default() -> dict[str, Any]:
    """The sections that the tree itself fills with a registered name."""
    fields = RunConfig.model_fields.items()
    return {key: field.get_default(call_default_factory=True) for key, field in fields if field.default_factory}


def _modality(name: Any, modality: Callable[[str], Modality]) -> Modality | None:
    """The plugin; a name that cannot be used is reported by the section that holds it, with all other problems."""
    try:
        return modality(name) if isinstance(name, str) else None
    except PluginError:
        return None


def _unknown_preset(preset: str, plugin: Modality) -> str:
    known = ", ".join(plugin.presets) or "none"
    hint = did_you_mean(preset, plugin.presets)
    return (
        f"preset: '{preset}' is no preset of {plugin.name}.{hint} Known: {known}. See: jepa config show {plugin.name}"
    )


def _plain(value: Any) -> Any:
    """A copy in plain mappings and tuples: a file, and a plugin's defaults, may hold other kinds of them."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return tuple(_plain(each) for each in value) if isinstance(value, list | tuple) else value


def _cause(error: ValidationError) -> Exception:
    """The import error behind a plugin that cannot be used, where there is one: `--debug` shows it."""
    errors = (each.get("ctx", {}).get("error") for each in error.errors(include_url=False))
    return next((each for each in errors if isinstance(each, PluginError)), error)
