"""What the kit of jepa-core asks of every masking strategy."""

from __future__ import annotations

from jepa_core.testing import BoundCheck, parametrize_with_checks


@parametrize_with_checks("masking", "noise")
def test_it_keeps_the_promises_of_a_masking_strategy(check: BoundCheck) -> None:
    check()
