"""What the kit of jepa-core asks of every objective."""

from __future__ import annotations

from jepa_core.testing import BoundCheck, parametrize_with_checks


@parametrize_with_checks("objective", "angle")
def test_it_keeps_the_promises_of_an_objective(check: BoundCheck) -> None:
    check()
