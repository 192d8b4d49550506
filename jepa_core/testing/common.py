"""Checks of plugins of every kind: what its registration says, its section of the configuration, its import."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from io import StringIO
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from jepa_core.config.problems import dotted
from jepa_core.config.text import dump, parse
from jepa_core.plugin import API_VERSION
from jepa_core.registry import section_class
from jepa_core.testing import fresh
from jepa_core.testing.checks import Case, CheckFailed, NotApplicable, require

UNKNOWN = "no_such_key"
"""A key that no section has."""


def check_current_interface(case: Case) -> None:
    """The plugin is written for the interface that this core speaks.

    To mend: read what changed in docs/write-a-plugin.md, then set api_version to jepa_core.plugin.API_VERSION as it was
    when you tested. The core accepts the version before its own, with a warning, and refuses all others.
    """
    found = case.plugin.api_version
    require(found == API_VERSION, f"expected api_version {API_VERSION}, found {found!r}")


def check_one_line_summary(case: Case) -> None:
    """It says what it is in one line of at most 100 characters.

    To mend: give `summary` a few plain words without a full stop; listings and `jepa plugins list --load` show it.
    """
    summary = case.plugin.summary
    require(isinstance(summary, str) and bool(summary.strip()), f"expected a line of text, found {summary!r}")
    require("\n" not in summary, f"expected one line, found {summary.count(chr(10)) + 1}: {summary!r}")
    require(len(summary) <= 100, f"expected at most 100 characters, found {len(summary)}: {summary!r}")


def check_section_bears_the_name(case: Case) -> None:
    """The section's `name` is the registered name by default, so that a section can be made without it.

    To mend: write `name: Literal["..."] = "..."` in the Config class, with the name of the entry point.
    """
    field = case.plugin.Config.model_fields["name"]
    found = "no default" if field.is_required() else repr(field.default)
    require(field.default == case.name, f"expected name to be {case.name!r} by default, found {found}")


def check_configuration_round_trip(case: Case) -> None:
    """Its section, written into config.yaml and read again, is the same section.

    To mend: let no validator change a value that has passed it once, and let every field be of a type that JSON holds:
    numbers, text, booleans, tuples, nested Frozen classes.
    """
    section = case.section
    text = dump(section.model_dump(mode="json"))
    again = type(section).model_validate(parse(text), context={"section_class": section_class})
    changed = [key for key in type(section).model_fields if getattr(section, key) != getattr(again, key)]
    found = "; ".join(f"{key}: {getattr(section, key)!r} became {getattr(again, key)!r}" for key in changed)
    require(not changed, f"expected the same section from its own text, found {found}")


def check_every_field_is_described(case: Case) -> None:
    """Every field of its section says what it means, in `jepa config show` and in the JSON schema.

    To mend: put a string under the field that says what it is, in which unit, and what null means; where the source is
    not installed with the package, use Field(description=...).
    """
    missing = list(undescribed(case.plugin.Config, case.kind))
    require(not missing, f"expected a description of every field, found none of {', '.join(missing)}")


def undescribed(model: type[BaseModel], path: str) -> Iterator[str]:
    """Dotted paths of the fields of a model, and of the models inside of it, that have no description."""
    for name, field in model.model_fields.items():
        if not field.description:
            yield f"{path}.{name}"
        for inner in _models_in(field.annotation):
            if inner is not model:
                yield from undescribed(inner, f"{path}.{name}")


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def check_unknown_keys_are_refused(case: Case) -> None:
    """A key that its section does not have is an error with its path, also in nested sections.

    To mend: derive sections from jepa_core.config.Section and their parts from jepa_core.config.Frozen, and leave
    model_config alone; a dict of free keys is no section.
    """
    section = case.section
    for path in _mappings(section.model_dump(mode="json")):
        given = parse(dump(section.model_dump(mode="json")))
        inner = given
        for key in path:
            inner = inner[key]
        inner[UNKNOWN] = 1
        place = dotted((case.kind, *path, UNKNOWN))
        require(_refuses(type(section), given), f"expected {place} to be an unknown key, found that it is accepted")


def _mappings(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all mappings in plain values."""
    if isinstance(value, Mapping):
        yield path
    entries = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield from _mappings(inner, (*path, key))


def _refuses(model: type[BaseModel], values: Any) -> bool:
    try:
        model.model_validate(values, context={"section_class": section_class})
    except ValidationError as error:
        return any(each["loc"] and each["loc"][-1] == UNKNOWN for each in error.errors(include_url=False))
    return False


@dataclass(frozen=True)
class Footprint:
    """What an import left in a fresh interpreter."""

    compiled: tuple[str, ...]
    """Packages with compiled modules that were imported, the core's own left out."""
    changed: tuple[str, ...]
    """What it changed of the process, in words."""


def footprint_of(module: str) -> Footprint:
    """Import a module here and see what that did; for `jepa_core.testing.fresh`."""
    modules, before = set(sys.modules), _process()
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        import_module(module)
    after, said = _process(), out.getvalue() + err.getvalue()
    changed = [f"{what}: {after[what]} (before: {before[what]})" for what in before if before[what] != after[what]]
    if said:
        changed.append(f"it printed {said[:60]!r}")
    compiled = {
        name.partition(".")[0]
        for name in set(sys.modules) - modules
        if (getattr(sys.modules[name], "__file__", None) or "").endswith(tuple(EXTENSION_SUFFIXES))
    }
    return Footprint(tuple(sorted(compiled - sys.stdlib_module_names)), tuple(changed))


def _process() -> dict[str, str]:
    """What an import has no business to change, each in words that can be compared."""
    root = logging.getLogger()
    return {
        "environment variables": str(sorted(os.environ.items())),
        "working folder": os.getcwd(),
        "random numbers": str(hash(random.getstate())),
        "logging": f"{root.handlers}, level {root.level}, disabled {root.manager.disable}",
        "warnings": f"{len(warnings.filters)} filters {warnings.filters[:1]}",
        "signal handlers": str([signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]),
        "threads": str(threading.active_count()),
        "exception hook": str(sys.excepthook),
    }


@cache
def _imported(module: str) -> Footprint | fresh.Failure:
    (footprint,) = fresh.call((footprint_of, (module,)))
    return footprint


def _footprint(case: Case) -> Footprint:
    """Raises NotApplicable for what has no entry point, and CheckFailed where the import fails."""
    if not case.target:
        raise NotApplicable("registered in this process, not by a package")
    found = _imported(case.target.partition(":")[0])
    if isinstance(found, fresh.Failure):
        raise CheckFailed(f"expected {case.target} to be imported, found {found.message}")
    return found


def check_light_import(case: Case) -> None:
    """Importing the entry point's module imports no torch, NumPy, decoder or other compiled package.

    To mend: import them inside the methods that use them, and name factories as "package.module:attribute"; for type
    checkers, import under `if TYPE_CHECKING:`. Listing, help and plans then stay instant for every user.
    """
    found = _footprint(case).compiled
    require(not found, f"expected no compiled package, found {', '.join(found)} imported by {case.target}")


def check_import_leaves_the_process_alone(case: Case) -> None:
    """Importing the entry point's module prints nothing and changes nothing outside of it.

    To mend: move to the place that needs it what prints, seeds, starts threads, or sets logging, warnings, signal
    handlers, environment variables or the working folder: every run of every user imports the module.
    """
    footprint = _footprint(case)
    if footprint.compiled:
        raise NotApplicable("what it imports may have effects of its own: see light_import")
    found = "; ".join(footprint.changed)
    require(not found, f"expected no effect of importing {case.target}, found {found}")
