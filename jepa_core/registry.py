"""Names to plugins: five entry-point groups, one generic class.

Nothing happens at import. Metadata of installed packages is read at a registry's first use, and only the plugin that is
asked for is imported. Two environment variables steer it:

JEPA_PLUGINS=these,those
    Only the plugins of these distributions exist, besides the core's own and those registered in this process.
    An item is a distribution's name, with or without a leading "jepa-".
JEPA_STRICT_PLUGINS=1
    The first use of a registry imports all of its plugins and raises the first problem: for continuous integration,
    where a broken plugin must not wait until somebody asks for it.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from typing import Any, Generic, Literal, TypeVar

from jepa_core import plugin as interface
from jepa_core.config.base import Section
from jepa_core.config.text import parse
from jepa_core.errors import PluginConflict, PluginError, PluginIncompatible, PluginLoadError, PluginNotFound
from jepa_core.plugin import EncoderPlugin, Masking, Modality, ObjectivePlugin, Plugin, ProbePlugin
from jepa_core.supply import (
    CORE,
    IN_PROCESS,
    Claims,
    Kind,
    Scan,
    Supply,
    described,
    imports_of_strangers,
    installed,
    named,
    not_found,
    refused,
)
from jepa_core.types import Provenance

State = Literal["available", "loaded", "broken", "conflict", "incompatible"]

P = TypeVar("P", bound=Modality | Plugin)
F = TypeVar("F", bound=Plugin)
Factory = TypeVar("Factory", bound=Callable[..., Any])
Anything = TypeVar("Anything")

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Entry:
    """What is known of a registered name without running its code."""

    name: str
    """The registered name."""
    kind: Kind
    """What it is."""
    state: State
    """`available` was not asked for yet; the last three raise when they are used."""
    provenance: tuple[Provenance, ...]
    """Who supplies it; more than one is a conflict."""
    summary: str = ""
    """The plugin's own line, once it is loaded."""
    error: str = ""
    """Why using it raises."""


class Registry(Generic[P]):
    """Plugins of one kind by name.

    >>> from jepa_core.registry import objectives
    >>> objectives.get("l2").summary
    'squared error'
    """

    def __init__(self, kind: Kind, group: str, type_: type[P], scan: Scan = installed) -> None:
        """Names come from the entry points of `group`; every plugin is an instance of `type_`."""
        self.kind: Kind = kind
        self.group = group
        self._type = type_
        self._supply = Supply(kind, group, scan)
        self._here: dict[str, P] = {}
        self._loaded: dict[tuple[str, Provenance], P] = {}
        self._failed: dict[tuple[str, Provenance], PluginError] = {}

    def get(self, name: str) -> P:
        """The plugin of this name, imported if need be.

        Raises:
            PluginNotFound: nobody supplies the name.
            PluginConflict: more than one distribution does, and none is picked; or one whose name it is not.
            PluginLoadError: its import failed, or what was imported is no such plugin.
            PluginIncompatible: it was written for an API version that this core does not speak.
        """
        found = self._supply.claims(self._here)
        self._insist(found)
        if name not in found:
            raise PluginNotFound(not_found(self.kind, name, tuple(found), self._supply.hidden(name)))
        return self._use(name, found[name])

    def suppliers(self, name: str) -> tuple[Provenance, ...]:
        """Who supplies a name; empty where nobody does."""
        found = self._supply.claims(self._here)
        return tuple(found[name].valid) if name in found else ()

    def names(self) -> tuple[str, ...]:
        """Every name that is installed, healthy or not, in order."""
        return tuple(sorted(self._supply.claims(self._here)))

    def entries(self) -> tuple[Entry, ...]:
        """What is installed, by name, from metadata alone (but see JEPA_STRICT_PLUGINS).

        A claim to a reserved name is an entry of its own, beside that of the name's owner.
        """
        found = self._supply.claims(self._here)
        self._insist(found)
        return tuple(entry for name in sorted(found) for entry in self._entries(name, found[name]))

    def register(self, plugin: Anything) -> Anything:
        """Supply a plugin from this process, and return it; also a decorator of a Modality subclass.

        Registering a name again replaces it, as rerunning a notebook's cell does. A name that an installed package
        supplies too is a conflict when it is used.

        Raises:
            PluginConflict: the name is reserved for a first-party distribution.
            PluginLoadError, PluginIncompatible: as `get` does.
        """
        self._add(plugin)
        return plugin

    @contextmanager
    def temporarily(self, plugin: P | type[P]) -> Generator[P]:
        """`register` for the length of a with block; what the name meant in this process before comes back after it.

        Other names that are registered in the block stay.
        """
        before = dict(self._here)
        added = self._add(plugin)
        name = added.name
        try:
            yield added
        finally:
            self._here.pop(name, None)
            if name in before:
                self._here[name] = before[name]

    def _add(self, plugin: object) -> P:
        instance = plugin() if isinstance(plugin, type) else plugin
        name = getattr(instance, "name", "")
        checked = self._checked(instance, name, IN_PROCESS)
        if owner := self._supply.owner(name):
            raise PluginConflict(refused(self.kind, name, owner, IN_PROCESS))
        self._here[name] = checked
        return checked

    def _insist(self, found: Mapping[str, Claims]) -> None:
        """With JEPA_STRICT_PLUGINS raise the first problem of any plugin."""
        if not _strict():
            return
        for name, claims in found.items():
            for reason in claims.refused.values():
                raise PluginConflict(reason)
            self._use(name, claims)

    def _use(self, name: str, claims: Claims) -> P:
        if claims.problem:
            raise PluginConflict(claims.problem)
        ((source, point),) = claims.valid.items()
        if point is None:
            return self._here[name]
        key = name, source
        if failure := self._failed.get(key):
            raise type(failure)(str(failure)) from failure.__cause__
        if key not in self._loaded:
            try:
                self._loaded[key] = self._load(name, source, point)
            except PluginError as error:
                self._failed[key] = error
                raise
        return self._loaded[key]

    def _load(self, name: str, source: Provenance, point: EntryPoint) -> P:
        advice = f"Mend or reinstall it, or remove it: pip uninstall {source.distribution}"
        with imports_of_strangers(f"{self.kind} '{name}': {named(source)}", advice):
            plugin = point.load()
        return self._checked(plugin, name, source)

    def _checked(self, plugin: object, name: str, source: Provenance) -> P:
        """The plugin, if it is of the right kind and complete, goes by `name` and speaks our API version."""
        what = f"{self.kind} '{name}': {named(source)}"
        if not isinstance(plugin, self._type):
            raise PluginLoadError(f"{what} is {described(plugin)}, and must be an instance of {self._type.__name__}.")
        missing = [each for each in ("name", "summary", "Config") if not hasattr(plugin, each)]
        if missing:
            raise PluginLoadError(f"{what} has no {' and no '.join(missing)}.")
        if plugin.name != name:
            raise PluginLoadError(f"{what} calls itself '{plugin.name}': the two names must be the same.")
        if problem := name_problem(name):
            raise PluginLoadError(f"{what}: {problem}.")
        _check_version(what, plugin.api_version, source)
        return plugin

    def _entries(self, name: str, claims: Claims) -> Iterator[Entry]:
        sources = tuple(claims.valid)
        if len(sources) > 1:
            yield Entry(name, self.kind, "conflict", sources, error=claims.problem)
        elif sources:
            yield self._entry(name, sources[0])
        for source, reason in claims.refused.items():
            yield Entry(name, self.kind, "conflict", (source,), error=reason)

    def _entry(self, name: str, source: Provenance) -> Entry:
        entry, key = Entry(name, self.kind, "available", (source,)), (name, source)
        if failure := self._failed.get(key):
            state: State = "incompatible" if isinstance(failure, PluginIncompatible) else "broken"
            return replace(entry, state=state, error=str(failure))
        plugin = self._here.get(name) or self._loaded.get(key)
        return replace(entry, state="loaded", summary=plugin.summary) if plugin else entry


class FactoryRegistry(Registry[F]):
    """Plugins that build one object from a section of the configuration."""

    def define(self, config: type[Section], summary: str = "", **traits: Any) -> Callable[[Factory], Factory]:
        """Decorate what builds the object, a class or a function; the name is the default of `config.name`.

        `traits` are the other fields of the plugin class, such as `num_axes` of a masking strategy.

        Raises PluginLoadError where `config` gives no name, and otherwise as `register` does.

        >>> from jepa_core.config import Section
        >>> objectives = FactoryRegistry("objective", "doc.objectives", ObjectivePlugin)
        >>> class CosineConfig(Section):
        ...     name: str = "cosine"
        >>> @objectives.define(CosineConfig, "one minus the cosine")
        ... def cosine(config):
        ...     return lambda predicted, targets: 1 - predicted.cosine_similarity(targets)
        >>> objectives.get("cosine").summary
        'one minus the cosine'
        """

        def decorate(factory: Factory) -> Factory:
            name = getattr(config.model_fields.get("name"), "default", None)
            if not isinstance(name, str):
                raise PluginLoadError(
                    f"{self.kind}: {config.__name__} gives no name: expected a field `name` with a text as default, "
                    "such as name: str = 'mine'."
                )
            self.register(self._type(name, config, factory, summary, **traits))
            return factory

        return decorate


modalities = Registry[Modality]("modality", "jepa.modalities", Modality)
maskings = FactoryRegistry[Masking]("masking", "jepa.maskings", Masking)
objectives = FactoryRegistry[ObjectivePlugin]("objective", "jepa.objectives", ObjectivePlugin)
encoders = FactoryRegistry[EncoderPlugin]("encoder", "jepa.encoders", EncoderPlugin)
probes = FactoryRegistry[ProbePlugin]("probe", "jepa.probes", ProbePlugin)

REGISTRIES: Mapping[str, Registry[Any]] = {
    each.kind: each for each in (modalities, maskings, objectives, encoders, probes)
}


def section_class(kind: str, name: str) -> type[Section]:
    """The class that validates the section of a registered name; raises PluginError as `Registry.get` does."""
    return REGISTRIES[kind].get(name).Config


def name_problem(name: object) -> str:
    """Why this cannot be a registered name; empty where it can.

    Configurations, paths and shells hold such names as they are: "true" would be read as a boolean, "a.b" as two keys.

    >>> name_problem("smooth_l1")
    ''
    """
    if isinstance(name, str) and _NAME.fullmatch(name) and parse(name) == name:
        return ""
    return (
        "expected a name of at most 64 letters (a-z, A-Z), digits, '_' and '-', which begins with a letter and which "
        f"YAML reads as text, found {name!r}"
    )


def _strict() -> bool:
    return os.environ.get("JEPA_STRICT_PLUGINS", "0") not in {"", "0"}


def _check_version(what: str, version: object, source: Provenance) -> None:
    core = interface.API_VERSION
    if version == core:
        return
    if version == core - 1:
        warnings.warn(
            f"{what} was written for plugin API {version}; this core speaks {core} and still accepts it. "
            f"Upgrade it: pip install --upgrade {source.distribution}",
            FutureWarning,
            stacklevel=2,
        )
        return
    newer = isinstance(version, int) and version > core
    raise PluginIncompatible(
        f"{what} was written for plugin API {version!r}, and this core accepts {core - 1} and {core}. "
        f"Upgrade {'the core' if newer else 'it'}: pip install --upgrade {CORE if newer else source.distribution}"
    )
