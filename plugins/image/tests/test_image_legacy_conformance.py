"""What the conformance kit says of masks as the public code draws them, which are there for parity alone."""

from __future__ import annotations

from jepa_core.testing import check_plugin

# The shortest sample of a batch decides how many tokens all have, and gets its first ones.
PREFIX_RULE = {
    "budgets_met",
    "lengths_independent_of_batch",
    "lengths_constant_through_training",
    "no_end_favoured",
}
ONE_SIZE_PER_BATCH = {"mask_belongs_to_its_sample"}
EXCLUSIVE_BOUND = {"every_cell_can_be_context", "every_cell_can_be_target"}
GIVES_UP = {"context_without_targets"}  # after twenty draws of a context that is too small beside its targets


def test_the_kit_finds_the_known_faults_of_the_public_code_and_no_others():
    outcomes = list(check_plugin("masking", "multiblock", overrides=["masking.preset=official"]))
    faults = {outcome.check.name for outcome in outcomes if outcome.state == "fail"}
    assert faults == PREFIX_RULE | ONE_SIZE_PER_BATCH | EXCLUSIVE_BOUND | GIVES_UP
