"""The kit as tests: one id per check, and expected failures that must fail, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from jepa_core.supply import Kind
from jepa_core.testing.api import case_of, checks_for
from jepa_core.testing.checks import Case, Check, NotApplicable

if TYPE_CHECKING:
    from _pytest.mark import MarkDecorator, ParameterSet


@dataclass(frozen=True)
class _Subject:
    """A registered name, looked up when its first check runs: a fixture may register it."""

    kind: Kind
    name: str
    text: str | None
    overrides: tuple[str, ...]

    @cached_property
    def case(self) -> Case:
        """Shared by all checks, for what they need in common is computed once."""
        return case_of(self.kind, self.name, text=self.text, overrides=self.overrides)


@dataclass(frozen=True)
class BoundCheck:
    """A check of a registered name; calling it runs it."""

    check: Check
    subject: _Subject
    expected: bool
    """Whether it is listed as an expected failure."""

    def __call__(self) -> None:
        """Run it; skip the test where it does not apply."""
        import pytest

        try:
            self.check(self.subject.case)
        except NotApplicable as reason:
            if self.expected:
                pytest.fail(f"is listed as an expected failure, and does not apply: {reason}")
            pytest.skip(f"does not apply: {reason}")


def parametrize_with_checks(
    kind: Kind,
    *names: str,
    expected_failures: Mapping[str, str] | None = None,
    text: str | None = None,
    overrides: Sequence[str] = (),
) -> MarkDecorator:
    """Decorate a test that takes `check`: it becomes one test per check and registered name.

    Args:
        kind: what is registered.
        names: the registered names; they may be registered by a fixture that the test uses.
        expected_failures: reason by check. Such a check must fail by CheckFailed; once it passes, its test fails until
            it is taken off the list.
        text: the YAML of a configuration to check with, instead of the smallest one that the plugin comes with.
        overrides: as `--set`, such as "masking.ratio=0.5".

    Raises:
        ValueError: `expected_failures` names no check, or gives no reason.

        @parametrize_with_checks("masking", "noise")
        def test_keeps_the_promises_of_a_masking_strategy(check: BoundCheck) -> None:
            check()
    """
    import pytest

    expected = dict(expected_failures or {})
    checks = checks_for(kind)
    _require_reasons(expected, [check.name for check in checks])
    parameters: list[ParameterSet] = []
    for name in names:
        subject = _Subject(kind, name, text, tuple(overrides))
        for check in checks:
            bound = BoundCheck(check, subject, check.name in expected)
            marks = [_must_fail(expected[check.name])] if bound.expected else []
            parameters.append(pytest.param(bound, id=f"{name}-{check.name}", marks=marks))
    return pytest.mark.parametrize("check", parameters)


def _must_fail(reason: str) -> MarkDecorator:
    import pytest

    from jepa_core.testing.checks import CheckFailed

    return pytest.mark.xfail(raises=CheckFailed, reason=reason, strict=True)


def _require_reasons(expected: Mapping[str, str], known: Sequence[str]) -> None:
    for name, reason in expected.items():
        if name not in known:
            raise ValueError(f"expected_failures: there is no check '{name}'. Checks: {', '.join(known)}")
        if not reason.strip():
            raise ValueError(f"expected_failures: '{name}' needs a reason, for whoever reads it later")
