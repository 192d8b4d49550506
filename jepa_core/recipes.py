"""Configurations of runs, read with the installed plugins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jepa_core.config import RunConfig
from jepa_core.config.loading import read
from jepa_core.config.tree import owned_sections
from jepa_core.registry import REGISTRIES, modalities, section_class


def read_config(
    path: str | Path | None = None,
    overrides: Sequence[str] = (),
    text: str | None = None,
    layers: Sequence[Mapping[str, Any]] = (),
) -> RunConfig:
    """The configuration of a run: its modality's defaults, its preset, the file, the layers, then the overrides.

    Args:
        path: a YAML file, or None where `text` or the overrides say it all.
        overrides: `--set` texts such as "optim.lr.value=3e-4" or "probes.0.k=10".
        text: the file's content, where it was read already; `path` is then only its name in messages.
        layers: values over the file, each layer over those before it.

    Raises:
        ConfigError: lists every problem of the file and the overrides, each with its dotted path.

    >>> read_config(text="modality: {name: nothing}")
    Traceback (most recent call last):
    jepa_core.errors.ConfigError: modality.name: modality 'nothing' is not installed. ...
    """
    return read(path, overrides, text, layers, section_class=section_class, modality=modalities.get)


def versions(config: RunConfig) -> dict[str, str]:
    """Version by distribution: the core, what it computes with, and whoever supplies a name that the run uses."""
    used = {"jepa-core", "torch", "accelerate"}
    for kind, section in owned_sections(config):
        used |= {each.distribution for each in REGISTRIES[kind].suppliers(section.name)}
    return {name: version(name) for name in sorted(used) if not name.startswith("(")}
