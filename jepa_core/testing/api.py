"""From a registered name to the outcomes of its checks."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import get_args

from jepa_core.config.loading import parse_overrides
from jepa_core.errors import PluginNotFound, UsageError
from jepa_core.registry import REGISTRIES
from jepa_core.supply import Kind
from jepa_core.testing.checks import Case, Check, NotApplicable, Outcome, checks_in, run

KINDS: tuple[Kind, ...] = get_args(Kind)
_MODULES: Mapping[Kind, tuple[str, ...]] = {
    "modality": ("modality", "modality_data", "modality_shown", "modality_training"),
    "masking": ("masking", "masking_shares"),
    "objective": ("objective",),
    "encoder": ("encoder",),
    "probe": ("probe",),
}
"""Where the checks of a kind are, in the order in which they run; the first module also has the kind's case."""


def checks_for(kind: Kind) -> tuple[Check, ...]:
    """All checks of a kind of plugin, cheap ones first."""
    modules = [import_module(f"jepa_core.testing.{name}") for name in ("common", *_MODULES[kind])]
    return tuple(check for module in modules for check in checks_in(module, kind))


def case_of(kind: Kind, name: str, *, text: str | None = None, overrides: Sequence[str] = ()) -> Case:
    """What the checks of a registered name are given.

    Args:
        kind: what it is.
        name: the registered name.
        text: the YAML of a configuration to check it with, instead of the smallest one that the plugin comes with.
        overrides: as `--set`, such as "masking.ratio=0.5"; a probe's are under "probe".

    Raises:
        PluginError: the name is unknown, or cannot be used.
        ConfigError: what is given is no configuration of it.
    """
    registry = REGISTRIES[kind]
    plugin = registry.get(name)
    (supplier,) = registry.suppliers(name)
    case = getattr(import_module(f"jepa_core.testing.{_MODULES[kind][0]}"), f"{kind.capitalize()}Case")
    values = parse_overrides(overrides)
    found = case(kind=kind, name=name, plugin=plugin, target=supplier.target, text=text, overrides=values)
    if text is not None or values:
        with contextlib.suppress(NotApplicable):  # which every check that needs it says
            found.section  # noqa: B018 - a mistake of the user is no failure of the plugin
    return found


def check_plugin(kind: Kind, name: str, *, text: str | None = None, overrides: Sequence[str] = ()) -> Iterator[Outcome]:
    """Run all checks of a registered name, one after the other; see `case_of` for the arguments."""
    case = case_of(kind, name, text=text, overrides=overrides)
    for check in checks_for(kind):
        yield run(check, case)


def kinds_of(name: str | None = None, kind: str | None = None) -> tuple[Kind, ...]:
    """The kinds in which a name is registered, the wanted one alone, or all.

    Raises:
        UsageError: there is no such kind.
        PluginNotFound: nobody supplies the name.
    """
    wanted: list[Kind] = [each for each in KINDS if kind in (None, str(each))]
    if not wanted:
        raise UsageError(f"--kind {kind}: expected one of {', '.join(KINDS)}")
    found: list[Kind] = [each for each in wanted if name is None or name in REGISTRIES[each].names()]
    if found:
        return tuple(found)
    if len(wanted) == 1:
        REGISTRIES[wanted[0]].get(name or "")  # raises, and says what is installed
    known = [each for registry in REGISTRIES.values() for each in registry.names()]
    near = difflib.get_close_matches(name or "", known, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise PluginNotFound(f"no plugin of any kind is called '{name}'.{hint} Installed names: jepa plugins list")
