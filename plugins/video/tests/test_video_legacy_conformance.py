"""What the conformance kit says of masks as the public code draws them, which are there for parity alone."""

from __future__ import annotations

from jepa_core.testing import check_plugin

# It never shows the last places of a large batch, and one size of blocks serves a whole batch.
PREFIX_RULE = {
    "budgets_met",
    "lengths_independent_of_batch",
    "lengths_constant_through_training",
    "no_end_favoured",
    "every_cell_can_be_context",
}
ONE_SIZE_PER_BATCH = {"mask_belongs_to_its_sample"}


def test_the_kit_finds_the_known_faults_of_the_public_code_and_no_others():
    outcomes = list(check_plugin("masking", "multiblock3d", overrides=["masking.preset=official"]))
    assert {outcome.check.name for outcome in outcomes if outcome.state == "fail"} == PREFIX_RULE | ONE_SIZE_PER_BATCH
