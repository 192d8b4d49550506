"""Who supplies a registered name: distributions, the allow-list and reserved names; and what an error says of it."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, distributions
from pathlib import Path
from typing import ClassVar, Literal

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


@dataclass(frozen=True)
class Damaged:
    """An installed distribution whose metadata cannot be read: what it supplies is left out, and nobody else's."""

    place: str
    """As `place_of` gives it."""
    reason: str
    """What cannot be read."""

    remedy: ClassVar[str] = "Reinstall the package that it belongs to, or remove this folder"

    def __str__(self) -> str:
        """Place, reason and remedy."""
        return f"{self.place}: left out, for {self.reason}. {self.remedy}"


def installed(group: str) -> Iterable[EntryPoint]:
    """The entry points of every installed distribution whose metadata can be read."""
    return [
        point for found in _distributions() if not isinstance(found, Damaged) for point in found if point.group == group
    ]


def damaged() -> tuple[Damaged, ...]:
    """The installed distributions whose plugins nobody can know of, for `jepa plugins list`."""
    return tuple(found for found in _distributions() if isinstance(found, Damaged))


def first_party() -> frozenset[str]:
    """The distributions of this project: the core, and those that its hints name."""
    ours = (_brought_by(point) for point in installed(HINTS) if _belongs_to_core(point))
    return frozenset({CORE, *ours})


def place_of(distribution: Distribution) -> str:
    """The folder of its metadata; empty where it is in none."""
    return str(getattr(distribution, "_path", ""))  # private, and the only way to it: pip takes it too


def _distributions() -> Iterator[Sequence[EntryPoint] | Damaged]:
    """Of every installed distribution its entry points of our groups, or what is wrong with it.

    Of several of one name the first on the path counts, as for `importlib.metadata.entry_points`. That function raises
    for all distributions together if the metadata of one cannot be read, as after an installation that was cut short.
    """
    seen: set[str] = set()
    for each in distributions():
        try:
            found = _points_of(each, seen)
        except Exception as error:  # noqa: BLE001 - whatever the parsers make of a damaged file
            yield Damaged(place_of(each), f"its metadata cannot be read ({type(error).__name__}: {error})")
        else:
            yield found


def _points_of(distribution: Distribution, seen: set[str]) -> Sequence[EntryPoint] | Damaged:
    """The entry points of our groups; none where the distribution's name was `seen` before, which this one's joins."""
    place = Path(place_of(distribution))
    told = place.stem.partition("-")[0] if place.suffix in {".dist-info", ".egg-info"} else _field(distribution, "Name")
    if _normal(told) in seen:
        return []
    points = [point for point in distribution.entry_points if point.group.startswith("jepa.")]
    if points and not _field(distribution, "Name"):
        return Damaged(place_of(distribution), "its METADATA has no Name")
    seen.add(_normal(told))
    return points


def _field(distribution: Distribution, key: str) -> str:
    """A line of METADATA; empty where there is none."""
    metadata = distribution.metadata
    return (metadata[key] or "") if key in metadata else ""


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
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the plugin border: anything, exit() and a panic of compiled code among it
        raise PluginLoadError(f"{what} cannot be imported: {type(error).__name__}: {error}. {advice}") from error


def provenance_of(point: EntryPoint) -> Provenance:
    """The distribution that an entry point belongs to; a hand-made one has none."""
    if point.dist is None:
        return Provenance("(no distribution)", "", point.value)
    return Provenance(_field(point.dist, "Name"), _field(point.dist, "Version"), point.value)


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
    hints = installed(HINTS)
    return _suppliers(kind, hints) | _reserved(kind, hints)


def _reserved(kind: Kind, hints: Iterable[EntryPoint]) -> dict[str, str]:
    """The names that the core's own hints keep for one distribution each."""
    return _suppliers(kind, [point for point in hints if _belongs_to_core(point)])


def _belongs_to_core(hint: EntryPoint) -> bool:
    return hint.dist is not None and _normal(_field(hint.dist, "Name")) == CORE


def _brought_by(hint: EntryPoint) -> str:
    return hint.value.replace("_", "-")


def _suppliers(kind: Kind, hints: Iterable[EntryPoint]) -> dict[str, str]:
    return {
        point.name.removeprefix(f"{kind}."): _brought_by(point) for point in hints if point.name.startswith(f"{kind}.")
    }


def _install(distribution: str) -> str:
    return f"pip install -e plugins/{distribution.removeprefix('jepa-')} (in a checkout)"
