"""Who supplies a registered name, in words: distributions, the allow-list, and what an error advises."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Literal

from jepa_core.types import Provenance

Kind = Literal["modality", "masking", "objective", "encoder", "probe"]

CORE = "jepa-core"
IN_PROCESS = Provenance("(this process)", "")
HINTS = "jepa.hints"
"""Entry-point group in which a distribution says which one supplies a name: "masking.block" = "their_package"."""


def provenance_of(point: EntryPoint) -> Provenance:
    """The distribution that an entry point belongs to; a hand-made one has none."""
    if point.dist is None:
        return Provenance("(no distribution)", "", point.value)
    return Provenance(point.dist.name, point.dist.version, point.value)


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def allowed(distribution: str) -> bool:
    """Whether JEPA_PLUGINS, where it is set, lets this distribution take part; the core always does."""
    listed = os.environ.get("JEPA_PLUGINS")
    if listed is None:
        return True
    items = {_normal(item.strip()) for item in listed.split(",")}
    return bool({_normal(distribution), _normal(distribution).removeprefix("jepa-")} & items) or distribution == CORE


def named(source: Provenance) -> str:
    """For messages: "their-package 1.2 (their_package.plugin:thing)"."""
    version = f" {source.version}" if source.version else ""
    return f"{source.distribution}{version}" + (f" ({source.target})" if source.target else "")


def described(thing: object) -> str:
    """What something is, for a message that says what it should have been."""
    return f"the class {thing.__name__}" if isinstance(thing, type) else f"of type {type(thing).__name__}"


def conflict(kind: Kind, name: str, sources: Sequence[Provenance]) -> str:
    """Both claimants and the commands that resolve it."""
    who = " and ".join(named(source) for source in sources)
    removable = [each.distribution for each in sources if each.distribution != CORE]
    remedies = [f"pip uninstall {distribution}" for distribution in dict.fromkeys(removable)]
    if IN_PROCESS in sources:
        remedies = ["register yours under another name"]
    return f"{kind} '{name}' is supplied by {who}, and none is picked. Keep one: {', or '.join(remedies)}"


def not_found(kind: Kind, name: str, installed: Sequence[str], hidden: Sequence[Provenance]) -> str:
    """What is installed, the nearest name, and where the others come from; `hidden` suppliers are, by JEPA_PLUGINS."""
    known = _hints(kind)
    parts = [f"{kind} '{name}' is not installed."]
    if hidden:
        who = " and ".join(sorted({each.distribution for each in hidden}))
        parts = [f"{kind} '{name}' comes with {who}, hidden by JEPA_PLUGINS={os.environ['JEPA_PLUGINS']}."]
    elif name in known:
        parts = [f"{kind} '{name}' comes with {known[name]}: {_install(known[name])}."]
    elif near := difflib.get_close_matches(name, [*installed, *known], n=1):
        parts.append(f"Did you mean '{near[0]}'?")
    parts.append(f"Installed: {', '.join(sorted(installed)) or 'none'}.")
    for distribution in sorted(set(known.values())):
        others = [each for each in known if known[each] == distribution and each not in {*installed, name}]
        if others:
            parts.append(f"{distribution} brings {', '.join(sorted(others))}: {_install(distribution)}.")
    return " ".join(parts)


def _hints(kind: Kind) -> dict[str, str]:
    """Name to the distribution that is known to supply it."""
    return {
        point.name.removeprefix(f"{kind}."): point.value.replace("_", "-")
        for point in entry_points(group=HINTS)
        if point.name.startswith(f"{kind}.")
    }


def _install(distribution: str) -> str:
    return f"pip install -e plugins/{distribution.removeprefix('jepa-')} (in a checkout)"
