"""The conformance kit: named checks of plugins, for `jepa plugins check` and for pytest.

Importing it imports no torch and no pytest.
"""

from jepa_core.testing.api import KINDS, case_of, check_plugin, checks_for, kinds_of
from jepa_core.testing.checks import Case, Check, CheckFailed, NotApplicable, Outcome, run
from jepa_core.testing.with_pytest import BoundCheck, parametrize_with_checks

__all__ = [
    "KINDS",
    "BoundCheck",
    "Case",
    "Check",
    "CheckFailed",
    "NotApplicable",
    "Outcome",
    "case_of",
    "check_plugin",
    "checks_for",
    "kinds_of",
    "parametrize_with_checks",
    "run",
]
