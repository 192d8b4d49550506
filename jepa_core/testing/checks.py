"""What a check is, and how the checks of a plugin are found and run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jepa_core.supply import Kind


class CheckFailed(AssertionError):
    """A plugin breaks a promise; the message says what was expected and what was found, with numbers."""


class NotApplicable(Exception):  # noqa: N818 - as `unittest.SkipTest`: it is no error
    """The plugin has nothing that the check is about (no built-in data, no statistics); the message says what."""


@dataclass(frozen=True)
class Check:
    """A named promise; calling it with a subject raises CheckFailed or NotApplicable, or returns."""

    name: str
    """Of the function, without `check_`: what holds, in words joined by `_`."""
    kind: Kind
    """What it is about."""
    function: Callable[[Any], None]

    @property
    def promise(self) -> str:
        """The first sentence of the docstring."""
        return inspect.getdoc(self.function).split("\n\n")[0]  # pyright: ignore[reportOptionalMemberAccess]

    @property
    def remedy(self) -> str:
        """The rest of the docstring: how to mend a plugin that fails."""
        return inspect.getdoc(self.function).partition("\n\n")[2]  # pyright: ignore[reportOptionalMemberAccess]

    def __call__(self, subject: Any) -> None:
        """Run it."""
        self.function(subject)


@dataclass(frozen=True)
class Outcome:
    """What a check said of a plugin."""

    check: Check
    state: Literal["pass", "fail", "n/a"]
    message: str = ""
    """Why it fails, or why it does not apply."""


def checks_in(module: Any, kind: Kind) -> tuple[Check, ...]:
    """The functions of a module that begin with `check_`, in the order of the file."""
    found = [each for name, each in vars(module).items() if name.startswith("check_") and inspect.isfunction(each)]
    return tuple(Check(each.__name__.removeprefix("check_"), kind, each) for each in found)


def run(checks: Iterable[Check], subject: Any) -> Sequence[Outcome]:
    """Run all checks on one subject; a check that raises anything else fails with that error."""
    raise NotImplementedError
