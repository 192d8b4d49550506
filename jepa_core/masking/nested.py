"""Strategies made of other strategies, whose sections lie inside their own.

A field of type `jepa_core.config.tree.MaskingSection` takes any registered strategy's section, and its options, errors,
comments and JSON schema follow the name in it, as those of the section `masking` do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from jepa_core.config.base import Section
from jepa_core.errors import ConfigError, PluginIncompatible
from jepa_core.plugin import MaskingStrategy
from jepa_core.registry import maskings
from jepa_core.types import TokenGrid

_PATH = re.compile(r"(?<![\w.])masking\.(?=\w)")


def build_nested(sections: Mapping[str, Section], grid: TokenGrid) -> dict[str, MaskingStrategy]:
    """The strategies of sections that lie under these keys of another strategy's section, by key.

    Raises:
        ConfigError: one or more cannot work on the grid; every problem names its place, such as `masking.easy.ratio`.
        PluginIncompatible: one cannot serve such a grid at all.
    """
    built: dict[str, MaskingStrategy] = {}
    problems: list[str] = []
    for key, section in sections.items():
        try:
            built[key] = maskings.get(section.name).build(section, grid)
        except ConfigError as error:
            problems += [_moved(problem, key) for problem in error.problems]
        except PluginIncompatible as error:
            raise PluginIncompatible(_moved(str(error), key)) from error
    if problems:
        raise ConfigError(problems)
    return built


def _moved(message: str, key: str) -> str:
    """The message of a strategy, which says "masking." for its own section, wherever that is."""
    return _PATH.sub(f"masking.{key}.", message)
