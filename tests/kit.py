"""Runs the conformance kit's checks of one kind on a plugin that is not registered."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from jepa_core.plugin import EncoderPlugin, Masking, ObjectivePlugin, Plugin, ProbePlugin
from jepa_core.supply import Kind
from jepa_core.testing import Outcome, checks_for, run

KINDS: Mapping[type[Plugin], Kind] = {
    Masking: "masking",
    ObjectivePlugin: "objective",
    EncoderPlugin: "encoder",
    ProbePlugin: "probe",
}


OF_PACKAGES = {"light_import", "import_leaves_the_process_alone"}
"""Checks of what only an installed package has: an entry point that can be imported elsewhere."""


def outcomes(plugin: Plugin, **values: object) -> dict[str, Outcome]:
    """By check; `values` are those of the plugin's section."""
    kind = KINDS[type(plugin)]
    case_class = getattr(import_module(f"jepa_core.testing.{kind}"), f"{kind.capitalize()}Case")
    case = case_class(kind=kind, name=plugin.name, plugin=plugin, overrides={kind: values} if values else {})
    return {check.name: run(check, case) for check in checks_for(kind) if check.name not in OF_PACKAGES}


def failures(found: Mapping[str, Outcome]) -> dict[str, str]:
    """The message of every check that failed."""
    return {name: outcome.message for name, outcome in found.items() if outcome.state == "fail"}


def not_applicable(found: Mapping[str, Outcome]) -> set[str]:
    """The checks that did not apply."""
    return {name for name, outcome in found.items() if outcome.state == "n/a"}


def states(found: Mapping[str, Outcome]) -> set[str]:
    return {outcome.state for outcome in found.values()}
