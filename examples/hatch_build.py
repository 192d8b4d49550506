"""Puts the plugin template into jepa-core's wheel, for `jepa plugins new`; hatchling calls it (pyproject.toml).

A plain `force-include` would do so in editable installs too, where the copy would hide the package: Python prefers a
folder `jepa_core` among the installed packages to the link that an editable install is.
"""

from __future__ import annotations

from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class WithTemplate(BuildHookInterface[BuilderConfig]):
    """A build hook for wheels."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """`version` is "editable" or "standard"."""
        if version != "editable":
            build_data["force_include"]["examples/plugin_template"] = "jepa_core/plugin_template"
