"""Who supplies a registered name: distributions, the allow-list and reserved names; and what an error says of it."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Literal

from jepa_core.errors import PluginLoadError
from jepa_core.types import Provenance

Kind = Literal["modality", "masking", "objective", "encoder", "probe"]
Scan = Callable[[str], Iterable[EntryPoint]]

CORE = "jepa-core"
IN_PROCESS = Provenance("(this process)", "")
HINTS = "jepa.hints"
"""Entry-point group in which a distribution says which one supplies a name: "masking.block" = "their_package".

Those of jepa-core are a right besides: what they name, nobody else may supply. So are the names that jepa-core supplies
itself. Everybody else's are information.
"""


@dataclass(frozen=True)
class Claims:
    """Who says to supply a name."""

    valid: Mapping[Provenance, EntryPoint | None]
    """Those that may; a plugin of this process has no entry point."""
    refused: Mapping[Provenance, str]
    """Those that may not, each with the reason."""
    problem: str
    """Why the name cannot be used: two may supply it, or nobody may; empty where one does."""


def installed(group: str) -> Iterable[EntryPoint]:
    """The entry points of every installed distribution."""
    return entry_points(group=group)


class Supply:
    """Who supplies the names of one kind, from metadata alone, which is read once, at the first use."""

    def __init__(self, kind: Kind, group: str, scan: Scan) -> None:
        """`scan` gives the entry points of a group."""
        self._kind: Kind = kind
        self._group, self._scan = group, scan
        self._scanned: dict[str, dict[Provenance, EntryPoint]] | None = None
        self._reserved: dict[str, str] = {}

    def claims(self, here: Collection[str]) -> dict[str, Claims]:
        """By name, as far as JEPA_PLUGINS lets distributions take part; `here` are the names of this process."""
        found: dict[str, dict[Provenance, EntryPoint | None]] = {}
        for name, points in self._points().items():
            kept = {source: point for source, point in points.items() if allowed(source.distribution)}
            if kept:
                found[name] = dict(kept)
        for name in here:
            found.setdefault(name, {})[IN_PROCESS] = None
        return {name: self._judged(name, sources) for name, sources in found.items()}

    def owner(self, name: str) -> str | None:
        """The distribution that alone may supply a name: the core, where it does, or the one that its hints name."""
        ours = any(_normal(source.distribution) == CORE for source in self._points().get(name, ()))
        return CORE if ours else self._reserved.get(name)

    def hidden(self, name: str) -> tuple[Provenance, ...]:
        """Who would supply a name that JEPA_PLUGINS leaves nobody for."""
        return tuple(self._points().get(name, ()))

    def _points(self) -> dict[str, dict[Provenance, EntryPoint]]:
        if self._scanned is None:
            self._scanned = {}
            found = [(provenance_of(point), point) for point in self._scan(self._group)]
            # A folder lists its distributions in no order; whoever reads of a conflict reads the same everywhere.
            for source, point in sorted(found, key=lambda each: (each[0].distribution, each[0].target)):
                self._scanned.setdefault(point.name, {})[source] = point
            self._reserved = _reserved(self._kind, self._scan(HINTS))
        return self._scanned

    def _judged(self, name: str, sources: Mapping[Provenance, EntryPoint | None]) -> Claims:
        kind, owner = self._kind, self.owner(name)
        if owner is None:
            return Claims(sources, {}, conflict(kind, name, tuple(sources)) if len(sources) > 1 else "")
        valid = {source: point for source, point in sources.items() if _normal(source.distribution) == _normal(owner)}
        reasons = {source: refused(kind, name, owner, source) for source in sources if source not in valid}
        problem = "" if valid else f"{'. '.join(reasons.values())}. {owner} brings it: {_install(owner)}"
        return Claims(valid, reasons, problem)


@contextmanager
def imports_of_strangers(what: str, advice: str) -> Generator[None]:
    """Around an import of code that is not ours: it can neither write to standard output nor end the program.

    What it prints goes to standard error, for the output of a command may be read by another program.

    Raises:
        PluginLoadError: whatever it raised, or its call of exit(), with the advice.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except (Exception, SystemExit) as error:  # the plugin border: a stranger's module may raise anything
        raise PluginLoadError(f"{what} cannot be imported: {type(error).__name__}: {error}. {advice}") from error


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


def refused(kind: Kind, name: str, owner: str, source: Provenance) -> str:
    """Why a claim to a reserved name has no effect, and what its author or its user can do."""
    remedy = "Register yours under another name"
    if source != IN_PROCESS:
        remedy = f"Its author should rename it; to be rid of this: pip uninstall {source.distribution}"
    return f"{kind} '{name}' is reserved for {owner}, and not taken from {named(source)}. {remedy}"


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
    removable = dict.fromkeys(each.distribution for each in sources)
    remedies = [f"pip uninstall {distribution}" for distribution in removable]
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
    hints = entry_points(group=HINTS)
    return _suppliers(kind, hints) | _reserved(kind, hints)


def _reserved(kind: Kind, hints: Iterable[EntryPoint]) -> dict[str, str]:
    """The names that the core's own hints keep for one distribution each."""
    return _suppliers(kind, [point for point in hints if point.dist and _normal(point.dist.name) == CORE])


def _suppliers(kind: Kind, hints: Iterable[EntryPoint]) -> dict[str, str]:
    return {
        point.name.removeprefix(f"{kind}."): point.value.replace("_", "-")
        for point in hints
        if point.name.startswith(f"{kind}.")
    }


def _install(distribution: str) -> str:
    return f"pip install -e plugins/{distribution.removeprefix('jepa-')} (in a checkout)"
