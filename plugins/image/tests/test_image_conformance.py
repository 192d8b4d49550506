"""The plugin keeps every promise that `jepa plugins check` tries, without exceptions."""

from __future__ import annotations

from jepa_core.testing import BoundCheck, parametrize_with_checks


@parametrize_with_checks("modality", "image")
def test_the_modality_keeps_its_promises(check: BoundCheck):
    check()


@parametrize_with_checks("masking", "block", "multiblock", "quadrant")
def test_its_masking_strategies_keep_theirs(check: BoundCheck):
    check()
