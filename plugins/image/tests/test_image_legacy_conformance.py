"""What the conformance kit says of masks as the public code draws them, which are there for parity alone."""

from __future__ import annotations

from jepa_core.testing import case_of, masking, run
from jepa_core.testing.checks import checks_in

PREFIX_RULE = {"budgets_met", "lengths_independent_of_batch", "no_end_favoured"}
ONE_SIZE_PER_BATCH = {"mask_belongs_to_its_sample"}
EXCLUSIVE_BOUND = {"every_cell_can_be_context", "every_cell_can_be_target"}


def test_the_kit_finds_the_known_faults_of_the_public_code_and_no_others():
    case = case_of("masking", "multiblock", overrides=["masking.preset=official"])
    outcomes = [run(check, case) for check in checks_in(masking, "masking")]
    faults = {outcome.check.name for outcome in outcomes if outcome.state == "fail"}
    assert faults == PREFIX_RULE | ONE_SIZE_PER_BATCH | EXCLUSIVE_BOUND
