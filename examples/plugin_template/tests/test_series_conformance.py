"""What the kit of jepa-core asks of every plugin."""

from __future__ import annotations

from jepa_core.testing import BoundCheck, parametrize_with_checks


@parametrize_with_checks("modality", "series")
def test_the_modality_conforms(check: BoundCheck) -> None:
    check()


@parametrize_with_checks("masking", "noise")
def test_the_masking_strategy_conforms(check: BoundCheck) -> None:
    check()


@parametrize_with_checks("objective", "angle")
def test_the_objective_conforms(check: BoundCheck) -> None:
    check()
