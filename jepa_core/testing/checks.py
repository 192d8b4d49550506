"""What a check is, what it is given, and how checks are run."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import Any, Literal

from pydantic import ValidationError

from jepa_core.config.base import Section, merge
from jepa_core.config.problems import dotted
from jepa_core.config.text import parse_mapping
from jepa_core.errors import ConfigError, JepaError
from jepa_core.plugin import Modality, Plugin
from jepa_core.registry import section_class
from jepa_core.supply import Kind
from jepa_core.testing.origin import Origin, origin_of

OWN_CODE = "look there: its own code raised this"
"""In place of the remedy of a check."""
State = Literal["pass", "fail", "n/a"]


class CheckFailed(AssertionError):
    """A plugin breaks a promise; the message says what was expected and what was found, with numbers."""


class NotApplicable(Exception):
    """The plugin has nothing that the check is about (no built-in data, no statistics); the message says what.

    As `unittest.SkipTest`, it is no error.
    """


@dataclass(frozen=True, kw_only=True)
class Case:
    """A plugin under test: what checks of every kind are given; those of one kind get a subclass that knows more.

    What a subclass adds is computed from these fields when a check first asks for it, so that a plugin which cannot
    give it fails the check that needs it, and no other.
    """

    kind: Kind
    """What it is."""
    name: str
    """The registered name."""
    plugin: Any
    """The registered object."""
    target: str = ""
    """What its entry point refers to, "package.module:attribute"; empty for a plugin registered in this process."""
    text: str | None = None
    """The YAML text of a configuration, where one was given."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """What was given besides, as values in a configuration: {"masking": {"ratio": 0.5}}."""

    @cached_property
    def section(self) -> Section:
        """The plugin's section: its own defaults, but for what the given text and values say under its kind.

        Raises NotApplicable where it needs a value that was not given, and ConfigError for one that cannot be.
        """
        file = parse_mapping(self.text, "the configuration").get(self.kind) if self.text else None
        below = file if isinstance(file, dict) and file.get("name") == self.name else {"name": self.name}
        values = merge(below, self.overrides.get(self.kind, {}))
        missing = [key for key, field in self._fields() if field.is_required() and key not in values]
        if missing:
            keys = ", ".join(f"{self.kind}.{key}" for key in missing)
            raise NotApplicable(f"{keys}: required, and not given. Give a value with --set")
        try:
            return self.plugin.Config.model_validate(values, context={"section_class": section_class})
        except ValidationError as error:
            problems = [f"{dotted((self.kind, *each['loc']))}: {each['msg']}" for each in error.errors()]
            raise ConfigError(problems) from error

    @cached_property
    def failed(self) -> dict[Origin, str]:
        """What failed so far, and in which check: an error that is raised again is reported once."""
        return {}

    @property
    def packages(self) -> set[str]:
        """The top-level packages that its code is in."""
        modules = (self.target.partition(":")[0], type(self.plugin).__module__, self.plugin.Config.__module__)
        factory = getattr(self.plugin, "factory", "")
        module = factory.partition(":")[0] if isinstance(factory, str) else getattr(factory, "__module__", "")
        found = {each.partition(".")[0] for each in (*modules, module) if each}
        return found - {"jepa_core"} or found

    def _fields(self) -> Iterable[tuple[str, Any]]:
        plugin: Modality | Plugin = self.plugin
        return plugin.Config.model_fields.items()


@dataclass(frozen=True)
class Check:
    """A named promise; calling it with a case raises CheckFailed or NotApplicable, or returns."""

    name: str
    """Of the function, without `check_`: what holds, in words joined by `_`."""
    kind: Kind
    """What it is about."""
    function: Any

    @property
    def promise(self) -> str:
        """The first sentence of the docstring."""
        return _told(self.function)[0]

    @property
    def remedy(self) -> str:
        """How to mend a plugin that fails: the docstring after "To mend: "."""
        return _told(self.function)[1]

    def __call__(self, case: Case) -> None:
        """Run it."""
        self.function(case)


def _told(function: Any) -> tuple[str, str]:
    text = inspect.getdoc(function) or ""
    promise, _, remedy = text.partition("\n\nTo mend: ")
    return " ".join(promise.split()), " ".join(remedy.split())


@dataclass(frozen=True)
class Outcome:
    """What a check said of a plugin."""

    check: Check
    state: State
    message: str = ""
    """Why it fails, or why it does not apply."""
    remedy: str = ""
    """How to mend it, where it fails."""


def checks_in(module: ModuleType, kind: Kind) -> tuple[Check, ...]:
    """The functions that a module defines whose names begin with `check_`, in the order of the file."""
    found = [
        each
        for name, each in vars(module).items()
        if name.startswith("check_") and inspect.isfunction(each) and each.__module__ == module.__name__
    ]
    return tuple(Check(each.__name__.removeprefix("check_"), kind, each) for each in found)


def run(check: Check, case: Case) -> Outcome:
    """What one check says; whatever else it raises is a failure too, with that error and its place for a message.

    An error that failed an earlier check of the same case makes this one not applicable.
    """
    try:
        check(case)
    except NotApplicable as reason:
        return Outcome(check, "n/a", str(reason))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the plugin border: a stranger's code may raise anything
        return _failed(check, case, error)
    return Outcome(check, "pass")


def _failed(check: Check, case: Case, error: BaseException) -> Outcome:
    broken = isinstance(error, CheckFailed)
    cause = error.__cause__ if broken and error.__cause__ is not None else error
    origin = origin_of(cause, case.packages)
    first = case.failed.setdefault(origin, check.name)
    if first != check.name:
        return Outcome(check, "n/a", f"as in {first}")
    message = str(error) if broken else f"{type(error).__name__}: {error}"
    own = origin.is_own and not isinstance(cause, CheckFailed | JepaError)
    place = f" ({origin.place})" if origin.place and not isinstance(cause, CheckFailed | JepaError) else ""
    return Outcome(check, "fail", message + place, OWN_CODE if own and not broken else check.remedy)


def require(holds: bool, message: str) -> None:
    """Raise CheckFailed with the message unless it holds."""
    if not holds:
        raise CheckFailed(message)
